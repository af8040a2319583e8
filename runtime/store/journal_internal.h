/* journal_internal.h - what the files of the journal share: journal.c writes and opens,
 * journal_read.c reads. */
#ifndef PERI_STORE_JOURNAL_INTERNAL_H
#define PERI_STORE_JOURNAL_INTERNAL_H

#include "base/assert.h"
#include "store/backend.h"
#include "store/journal_format.h"
#include "store/table_walk.h"

struct journal {
    struct store base;
    struct table places;   /* values are struct table_place */
    struct table_pin pin;  /* for ever: nodes stay, for those who look meanwhile */
    struct env_file *file; /* NULL: there is none yet */
    const char *kept;      /* directory of files to use again, or NULL */
    struct journal_use use;
    uint32_t batch;           /* the last one */
    uint64_t sectors, length; /* written; bytes of the file */
    bool is_found;            /* the file was there when it was opened: it is complete */
    int failed;               /* code of the write that failed */
    struct peri_buffer bytes; /* of the batch that is written */
    char path[];
};

static inline struct journal *journal_of(struct store *store)
{
    return container_of(store, struct journal, base);
}

/* Appends size bytes of the file to out, or as many as there are. Errors: those of env_file_pread,
 * PERI_ENOMEM. */
int journal_read_file(struct env_file *file, uint64_t offset, size_t size, struct peri_buffer *out,
                      struct peri_error *err);

/* The reading half of struct store_ops (backend.h). */
int journal_get(struct store *base, const struct store_snapshot *snapshot, struct peri_slice key,
                struct peri_buffer *out, struct peri_error *err);
int journal_snapshot_take(struct store *base, struct store_snapshot **out);
void journal_snapshot_release(struct store *base, struct store_snapshot *snapshot);
int journal_iterator_open(struct store *base, const struct store_snapshot *snapshot,
                          struct store_iterator **out);
void journal_iterator_close(struct store_iterator *base);
void journal_iterator_seek(struct store_iterator *base, struct peri_slice key);
void journal_iterator_next(struct store_iterator *base);
struct peri_slice journal_iterator_value(const struct store_iterator *base);
int journal_iterator_status(const struct store_iterator *base, struct peri_error *err);

#endif
