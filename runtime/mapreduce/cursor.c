#include "mapreduce/cursor.h"

#include <stdlib.h>

#include "mapreduce/bits.h"

struct source {
    struct mr_spill_reader *reader;
    struct peri_slice key, value; /* the next record */
    size_t index;                 /* of its file */
};

struct node {
    uint64_t prefix; /* of source->key */
    struct source *source;
};

struct mr_cursor {
    struct source *sources;
    struct node *heap; /* [live], the least record in front */
    size_t live, opened;
    bool has_given; /* heap[0] is lent to the caller: advance it first */
    int64_t failed;
    struct mr_sum sum; /* of the opened partitions, as their footers say */
};

static bool is_before(const struct node *a, const struct node *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    int order = peri_slice_compare(a->source->key, b->source->key);
    return order != 0 ? order < 0 : a->source->index < b->source->index;
}

static void sift_down(struct mr_cursor *cursor, size_t at)
{
    struct node *heap = cursor->heap;
    struct node moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < cursor->live; at = child) {
        if (child + 1 < cursor->live && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Reads the next record of a node's source: 1, 0 at its end, or a code. */
static int advance(struct mr_cursor *cursor, struct node *node, struct peri_error *err)
{
    struct source *source = node->source;
    int rc = mr_spill_reader_next(source->reader, &source->key, &source->value, err);
    if (rc < 0)
        cursor->failed = (int64_t)source->index;
    else if (rc == 1)
        node->prefix = bits_prefix(source->key.data, source->key.size);
    return rc;
}

static int add_source(struct mr_cursor *cursor, struct mr_spill_file *file, size_t index,
                      uint32_t part, struct peri_error *err)
{
    struct source *source = &cursor->sources[cursor->opened];
    int rc = mr_spill_reader_open(&source->reader, file, part, err);
    if (rc != 0)
        return rc;
    cursor->opened++;
    source->index = index;
    mr_sum_merge(&cursor->sum, &mr_spill_file_part(file, part)->sum);
    struct node *node = &cursor->heap[cursor->live];
    node->source = source;
    rc = advance(cursor, node, err);
    if (rc == 1)
        cursor->live++;
    return rc < 0 ? rc : 0;
}

static int add_sources(struct mr_cursor *cursor, struct mr_spill_file *const *files, size_t count,
                       uint32_t part, struct peri_error *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = add_source(cursor, files[i], i, part, err);
        if (rc != 0)
            return rc;
    }
    for (size_t i = cursor->live / 2; i-- > 0;)
        sift_down(cursor, i);
    return 0;
}

int mr_cursor_open(struct mr_cursor **out, struct mr_spill_file *const *files, size_t count,
                   uint32_t part, int64_t *failed, struct peri_error *err)
{
    *failed = -1;
    struct mr_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL)
        return peri_fail(err, PERI_ENOMEM, "merge");
    cursor->failed = -1;
    cursor->sources = calloc(count + 1, sizeof *cursor->sources);
    cursor->heap = calloc(count + 1, sizeof *cursor->heap);
    int rc = cursor->sources == NULL || cursor->heap == NULL
                 ? peri_fail(err, PERI_ENOMEM, "merge")
                 : add_sources(cursor, files, count, part, err);
    if (rc != 0) {
        *failed = cursor->failed;
        mr_cursor_close(cursor);
        return rc;
    }
    *out = cursor;
    return 0;
}

static int drop_given(struct mr_cursor *cursor, struct peri_error *err)
{
    int rc = advance(cursor, &cursor->heap[0], err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        cursor->heap[0] = cursor->heap[--cursor->live];
    if (cursor->live > 1)
        sift_down(cursor, 0);
    cursor->has_given = false;
    return 0;
}

int mr_cursor_next(struct mr_cursor *cursor, struct peri_slice *key, struct peri_slice *value,
                   struct peri_error *err)
{
    int rc = cursor->has_given ? drop_given(cursor, err) : 0;
    if (rc != 0 || cursor->live == 0)
        return rc;
    *key = cursor->heap[0].source->key;
    *value = cursor->heap[0].source->value;
    cursor->has_given = true;
    return 1;
}

int64_t mr_cursor_failed(const struct mr_cursor *cursor)
{
    return cursor->failed;
}

struct mr_sum mr_cursor_sum(const struct mr_cursor *cursor)
{
    return cursor->sum;
}

void mr_cursor_close(struct mr_cursor *cursor)
{
    if (cursor == NULL)
        return;
    for (size_t i = 0; i < cursor->opened; i++)
        mr_spill_reader_close(cursor->sources[i].reader);
    free(cursor->sources);
    free(cursor->heap);
    free(cursor);
}
