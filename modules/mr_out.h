/* mr_out.h - what out(key, value) and its methods do, seen from Lua and from the task's loops.
 *
 * One out has one sink: the emit table of a map attempt, an output file, a spill file that the next
 * step reads, the values of a combined group, or a sample of keys. */
#ifndef PERI_MODULES_MR_OUT_H
#define PERI_MODULES_MR_OUT_H

#include "mapreduce/emit.h"
#include "mapreduce/output.h"
#include "mr_task.h"

enum { MR_OUT_NAMED_MAX = 64, MR_OUT_NAME_MAX = 64 };

struct mr_out;

/* Creates an out without a sink; freed by mr_out_close. Errors: PERI_ENOMEM. */
int mr_out_create(struct mr_out **out, struct mr_task *task);

/* The attempt is over: from now on using out raises. Finalizers of the job may still try while its
 * state closes, which is to happen before mr_out_close. Accepts NULL. */
void mr_out_retire(struct mr_out *out);
void mr_out_close(struct mr_out *out); /* accepts NULL; closes named outputs */

/* Pushes the Lua face of out onto L. Raises on lack of memory. */
void mr_out_push(lua_State *L, struct mr_out *out);

/* Pairs go into emit, which is borrowed; to the partition that the function with that registry
 * reference says, unless that is LUA_NOREF. */
void mr_out_to_emit(struct mr_out *out, struct mr_emit *emit, int partition, uint32_t partitions);

/* Pairs go into a new file of that format; or into a spill file, typed, for the next step. Errors:
 * what the opening functions say. */
int mr_out_to_file(struct mr_out *out, const char *path, const char *format,
                   struct peri_error *err);
int mr_out_to_spill(struct mr_out *out, const char *path, struct peri_error *err);

/* Values go to the combined group of key, lent while they do; a different key, or a different first
 * part of it, is an error of the user's. Errors: PERI_ENOMEM, PERI_EFORMAT. */
int mr_out_to_group(struct mr_out *out, struct mr_combine_out *group, struct peri_slice key,
                    struct peri_error *err);

/* Keys go into the list that mr_out_result gives as keys; at most limit of them. */
void mr_out_to_sample(struct mr_out *out, uint64_t limit);
bool mr_out_is_full(const struct mr_out *out);

/* Puts one encoded pair; what identity steps and named reducers call. */
int mr_out_put(struct mr_out *out, struct peri_slice key, struct peri_slice value,
               struct peri_error *err);

/* From now on what a record puts out and counts is held back, at most limit_bytes of it, from
 * mr_out_begin to mr_out_commit; without a commit it never happened. Errors: PERI_ENOMEM. */
int mr_out_hold_records(struct mr_out *out, size_t limit_bytes, struct peri_error *err);
void mr_out_begin(struct mr_out *out);
void mr_out_abandon(struct mr_out *out);

/* The record is good: does all that was held back. Errors: not the record's doing, so they end the
 * attempt. Raises on lack of Lua memory. */
int mr_out_commit(struct mr_out *out, lua_State *L, struct peri_error *err);

/* Hands what has been summed up so far to the emit table, when map will put out no more. Raises
 * when that fails. */
void mr_out_flush(struct mr_out *out, lua_State *L);

/* Writes one line about a bad record to the quarantine output. */
int mr_out_quarantine(struct mr_out *out, const struct mr_where *where, struct peri_slice record,
                      const char *reason, struct peri_error *err);

/* Ends the files, and sets records, bytes, counters, outputs and keys in the table on top of the
 * host's stack. */
int mr_out_result(struct mr_out *out, struct peri_error *err);

#endif
