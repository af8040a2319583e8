/* log_witness.h - the file beside the generations that says which batch was synced last.
 *
 * Written after every batch, without a sync, and synced when the log is quiet: LevelDB drops the
 * end of its log without a word when a damaged length leads past it, and only somebody else can
 * tell. Two slots take turns, so that a torn one leaves the other. Blocking.
 *
 *      slot (batch mod 2): size u32 | batch u64 | generation u64 | a summary of that batch */
#ifndef PERI_STORE_LOG_WITNESS_H
#define PERI_STORE_LOG_WITNESS_H

#include "base/buffer.h"
#include "env/env.h"

struct log_summary;

/* Writes what was synced. Of more touches than a slot holds it leaves all out. Errors: errno codes,
 * PERI_ENOMEM. */
int log_witness_write(struct env *env, const char *log_path, uint64_t generation,
                      const struct log_summary *summary, struct peri_error *err);

/* Makes the witness durable. Errors: errno codes. */
int log_witness_sync(struct env *env, const char *log_path, struct peri_error *err);

struct log_witness {
    uint64_t batch, generation; /* 0: there is no witness */
    struct peri_buffer touched; /* struct log_touch */
    bool is_damaged;            /* a slot holds neither nothing nor sense */
};

/* Reads the newest slot; the caller frees out->touched. Errors: errno codes, PERI_ENOMEM. A file
 * that is not there is none. */
int log_witness_read(struct env *env, const char *log_path, struct log_witness *out,
                     struct peri_error *err);

#endif
