#include "mapreduce/fan.h"

#include <stdlib.h>

#include "base/bits.h"

struct source {
    struct mr_spill_reader *reader;
    struct peri_slice key, value; /* the next record */
    size_t index;                 /* of its file */
};

struct node {
    uint64_t prefix; /* of source->key */
    struct source *source;
};

struct mr_fan {
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

static void sift_down(struct mr_fan *fan, size_t at)
{
    struct node *heap = fan->heap;
    struct node moved = heap[at];
    for (size_t child; (child = 2 * at + 1) < fan->live; at = child) {
        if (child + 1 < fan->live && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Reads the next record of a node's source: 1, 0 at its end, or a code. */
static int advance(struct mr_fan *fan, struct node *node, struct peri_error *err)
{
    struct source *source = node->source;
    int rc = mr_spill_reader_next(source->reader, &source->key, &source->value, err);
    if (rc < 0)
        fan->failed = (int64_t)source->index;
    else if (rc == 1)
        node->prefix = bits_prefix(source->key.data, source->key.size);
    return rc;
}

static int add_source(struct mr_fan *fan, struct mr_spill_file *file, size_t index, uint32_t part,
                      struct peri_error *err)
{
    struct source *source = &fan->sources[fan->opened];
    int rc = mr_spill_reader_open(&source->reader, file, part, err);
    if (rc != 0)
        return rc;
    fan->opened++;
    source->index = index;
    mr_sum_merge(&fan->sum, &mr_spill_file_part(file, part)->sum);
    struct node *node = &fan->heap[fan->live];
    node->source = source;
    rc = advance(fan, node, err);
    if (rc == 1)
        fan->live++;
    return rc < 0 ? rc : 0;
}

static int add_sources(struct mr_fan *fan, struct mr_spill_file *const *files, size_t count,
                       uint32_t part, struct peri_error *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = add_source(fan, files[i], i, part, err);
        if (rc != 0)
            return rc;
    }
    for (size_t i = fan->live / 2; i-- > 0;)
        sift_down(fan, i);
    return 0;
}

int mr_fan_open(struct mr_fan **out, struct mr_spill_file *const *files, size_t count,
                uint32_t part, int64_t *failed, struct peri_error *err)
{
    *failed = -1;
    struct mr_fan *fan = calloc(1, sizeof *fan);
    if (fan == NULL)
        return peri_fail(err, PERI_ENOMEM, "merge");
    fan->failed = -1;
    fan->sources = calloc(count + 1, sizeof *fan->sources);
    fan->heap = calloc(count + 1, sizeof *fan->heap);
    int rc = fan->sources == NULL || fan->heap == NULL ? peri_fail(err, PERI_ENOMEM, "merge")
                                                       : add_sources(fan, files, count, part, err);
    if (rc != 0) {
        *failed = fan->failed;
        mr_fan_close(fan);
        return rc;
    }
    *out = fan;
    return 0;
}

static int drop_given(struct mr_fan *fan, struct peri_error *err)
{
    int rc = advance(fan, &fan->heap[0], err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        fan->heap[0] = fan->heap[--fan->live];
    if (fan->live > 1)
        sift_down(fan, 0);
    fan->has_given = false;
    return 0;
}

int mr_fan_next(struct mr_fan *fan, struct peri_slice *key, struct peri_slice *value,
                struct peri_error *err)
{
    int rc = fan->has_given ? drop_given(fan, err) : 0;
    if (rc != 0 || fan->live == 0)
        return rc;
    *key = fan->heap[0].source->key;
    *value = fan->heap[0].source->value;
    fan->has_given = true;
    return 1;
}

int64_t mr_fan_failed(const struct mr_fan *fan)
{
    return fan->failed;
}

struct mr_sum mr_fan_sum(const struct mr_fan *fan)
{
    return fan->sum;
}

void mr_fan_close(struct mr_fan *fan)
{
    if (fan == NULL)
        return;
    for (size_t i = 0; i < fan->opened; i++)
        mr_spill_reader_close(fan->sources[i].reader);
    free(fan->sources);
    free(fan->heap);
    free(fan);
}
