/* journal_read.c - what is in a journal: values by their keys, and all of it in order. */
#include <stdlib.h>

#include "store/journal_internal.h"

struct journal_iterator {
    struct table_iterator walk;
    struct peri_buffer image; /* what is written of the file */
    struct peri_buffer value; /* of the key that it has come to */
    int status;
};

static struct table_place place_of(const struct table_node *node)
{
    struct table_place place;
    memcpy(&place, table_value(node).data, sizeof place);
    return place;
}

int journal_read_file(struct env_file *file, uint64_t offset, size_t size, struct peri_buffer *out,
                      struct peri_error *err)
{
    if (peri_buffer_reserve(out, size) != 0)
        return peri_fail(err, PERI_ENOMEM, "read a journal");
    for (size_t got = 0; got < size;) {
        int64_t part = env_file_pread(file, out->data + out->size, size - got, offset + got, err);
        if (part <= 0)
            return (int)part;
        got += (size_t)part;
        out->size += (size_t)part;
    }
    return 0;
}

static int read_place(struct journal *journal, struct table_place place, struct peri_buffer *out,
                      struct peri_error *err)
{
    struct peri_buffer image = {0};
    uint64_t first = place.position / JOURNAL_ROOM_BYTES;
    uint64_t end = (place.position + place.size) / JOURNAL_ROOM_BYTES + 1;
    int rc = journal_read_file(journal->file, first * JOURNAL_SECTOR_BYTES,
                               (size_t)(end - first) * JOURNAL_SECTOR_BYTES, &image, err);
    if (rc == 0) {
        rc = journal_extract(peri_buffer_slice(&image), first, journal->use.use, place.position,
                             place.size, out);
        if (rc != 0)
            (void)peri_fail(err, rc, "read %s", journal->path);
    }
    peri_buffer_deinit(&image);
    return rc;
}

int journal_get(struct store *base, const struct store_snapshot *snapshot, struct peri_slice key,
                struct peri_buffer *out, struct peri_error *err)
{
    struct journal *journal = journal_of(base);
    uint64_t sequence = snapshot == NULL ? UINT64_MAX : snapshot->pin.sequence;
    const struct table_node *node = table_find(&journal->places, key, sequence, false);
    if (node == NULL || peri_slice_compare(table_key(node), key) != 0)
        return 0;
    int rc = read_place(journal, place_of(node), out, err);
    return rc == 0 ? 1 : rc;
}

int journal_snapshot_take(struct store *base, struct store_snapshot **out)
{
    return table_snapshot_take(&journal_of(base)->places, out);
}

void journal_snapshot_release(struct store *base, struct store_snapshot *snapshot)
{
    table_snapshot_release(&journal_of(base)->places, snapshot);
}

static struct journal_iterator *iterator_of(const struct store_iterator *base)
{
    return container_of(table_iterator_of(base), struct journal_iterator, walk);
}

void journal_iterator_close(struct store_iterator *base)
{
    struct journal_iterator *iterator = iterator_of(base);
    table_iterator_end(&iterator->walk);
    peri_buffer_deinit(&iterator->image);
    peri_buffer_deinit(&iterator->value);
    free(iterator);
}

/* Who walks a journal wants all of it: it is read at once. */
int journal_iterator_open(struct store *base, const struct store_snapshot *snapshot,
                          struct store_iterator **out)
{
    struct journal *journal = journal_of(base);
    struct journal_iterator *iterator = calloc(1, sizeof *iterator);
    if (iterator == NULL)
        return PERI_ENOMEM;
    table_iterator_begin(&iterator->walk, base, &journal->places, snapshot);
    if (journal->file != NULL)
        iterator->status =
            journal_read_file(journal->file, 0, (size_t)journal->sectors * JOURNAL_SECTOR_BYTES,
                              &iterator->image, NULL);
    if (iterator->status == PERI_ENOMEM) {
        journal_iterator_close(&iterator->walk.base);
        return PERI_ENOMEM;
    }
    *out = &iterator->walk.base;
    return 0;
}

/* Takes the value of the key that the iterator has come to, or the next that has one. */
static void load_value(struct store_iterator *base)
{
    struct journal_iterator *iterator = iterator_of(base);
    struct journal *journal = journal_of(base->store);
    while (iterator->walk.node != NULL) {
        struct table_place place = place_of(iterator->walk.node);
        iterator->value.size = 0;
        int rc = journal_extract(peri_buffer_slice(&iterator->image), 0, journal->use.use,
                                 place.position, place.size, &iterator->value);
        if (rc == 0)
            return;
        iterator->status = iterator->status != 0 ? iterator->status : rc;
        table_iterator_next(base);
    }
}

void journal_iterator_seek(struct store_iterator *base, struct peri_slice key)
{
    table_iterator_seek(base, key);
    load_value(base);
}

void journal_iterator_next(struct store_iterator *base)
{
    table_iterator_next(base);
    load_value(base);
}

struct peri_slice journal_iterator_value(const struct store_iterator *base)
{
    return peri_buffer_slice(&iterator_of(base)->value);
}

int journal_iterator_status(const struct store_iterator *base, struct peri_error *err)
{
    int rc = iterator_of(base)->status;
    return rc == 0 ? 0 : peri_fail(err, rc, "read %s", journal_of(base->store)->path);
}
