/* log_witness.h - two files beside the generations that know what must be in them.
 *
 * The witness says which batch was synced last.
 * LevelDB drops the end of its log without a word when a damaged length leads past it, and only
 * somebody else can tell. Made durable when a log is opened; written, without a sync, when the
 * batch that it speaks of has been acknowledged, and synced when the log is quiet or is closed.
 * Two places take turns, each with two copies in blocks of the disk of their own, and one write for
 * both: one that is torn leaves at least one copy of its place, and the other place. So a place
 * without an intact copy, or a witness that is not there, has lost what it knew, and nobody can say
 * how far the log went.
 *
 *      place (batch mod 2): copy | copy
 *      copy, 4096 bytes: size u32, of the summary | batch u64 | generation u64 | a summary of that
 *                        batch | check u64, XXH3-64 of what stands before it | zeros
 *
 * The census is a summary (of batch 0) that names all groups, replaced whenever one comes or goes,
 * before that is acknowledged: a generation that cannot be read must not make groups forgotten. It
 * is there twice, too, each copy in whole blocks: size u32 | the summary | zeros. */
#ifndef PERI_STORE_LOG_WITNESS_H
#define PERI_STORE_LOG_WITNESS_H

#include "base/buffer.h"
#include "env/env.h"

struct log_summary;

/* The witness of a log that is open: its file, and slots. All belongs to the log's lane but the
 * slot of the batch that is under way (log_witness_next), which the loop makes. */
struct log_witness_writer {
    struct env_file *file; /* NULL: not open */
    struct peri_buffer slots[2];
    unsigned newest; /* the slot of what was synced last */
    bool is_due;     /* it was not written yet */
};

/* Replaces out by the slot, both copies of a place, that says what was synced. Of more touches than
 * a copy holds it leaves all out. Errors: PERI_ENOMEM, out is then empty. */
int log_witness_encode(uint64_t generation, const struct log_summary *summary,
                       struct peri_buffer *out);

/* The slot for the batch that is under way, and that it is durable now: the newest is due. */
struct peri_buffer *log_witness_next(struct log_witness_writer *writer);
void log_witness_advance(struct log_witness_writer *writer);

/* Writes the newest slot in its place, if it is due, and makes it durable when asked to. An empty
 * slot: nothing. Errors: errno codes; then it stays due. */
int log_witness_write(struct log_witness_writer *writer, struct env *env, const char *log_path,
                      bool is_synced, struct peri_error *err);

/* Replaces the file durably by one that holds the newest slot in both places. An empty slot:
 * nothing. Errors: errno codes, PERI_ENOMEM. */
int log_witness_begin(struct log_witness_writer *writer, struct env *env, const char *log_path,
                      struct peri_error *err);

/* Closes the file, and frees what the writer holds. */
void log_witness_close(struct log_witness_writer *writer);
void log_witness_deinit(struct log_witness_writer *writer);

struct log_witness {
    uint64_t batch, generation; /* 0: none is known */
    struct peri_buffer touched; /* struct log_touch */
    bool is_there;              /* the file is */
    bool is_lost;               /* it is not there, or a place of it has no intact copy */
};

/* Reads the newest copy; the caller frees out->touched. Errors: errno codes, PERI_ENOMEM. */
int log_witness_read(struct env *env, const char *log_path, struct log_witness *out,
                     struct peri_error *err);

/* Replaces the census durably. Errors: errno codes, PERI_ENOMEM. */
int log_census_write(struct env *env, const char *log_path, struct peri_slice census,
                     struct peri_error *err);

/* Puts the struct log_touch of the census into out; of one that has no intact copy, or is not
 * there, nothing, and *is_lost is set. Errors: errno codes, PERI_ENOMEM. */
int log_census_read(struct env *env, const char *log_path, struct peri_buffer *out, bool *is_lost,
                    struct peri_error *err);

#endif
