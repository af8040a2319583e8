/* emit.h - what a map attempt's emissions go into: combined or collected, sorted, spilled.
 *
 * With a named reducer the pairs are folded into a hash table of states; without one they are
 * appended to an arena. At the memory limit the content is sorted by (partition, key) and written
 * to a run file; mr_emit_finish merges the runs into one spill file per attempt
 * (MapReduce 3.1, 4.3). Values of equal keys stay in the order of emission. memory_bytes is hard:
 * arena, index, hash table, block buffers and merge buffers are all within it. */
#ifndef PERI_MAPREDUCE_EMIT_H
#define PERI_MAPREDUCE_EMIT_H

#include "mapreduce/combine.h"
#include "mapreduce/partition.h"
#include "mapreduce/reducer.h"
#include "mapreduce/spill.h"
#include "mapreduce/tally.h"

enum { MR_EMIT_MEMORY_MIN = 1 << 20 };

struct mr_emit_options {
    struct mr_partitioner partitioner; /* bounds are borrowed until close */
    struct mr_reducer reducer;         /* kind MR_REDUCE_NONE or IDENTITY: values are kept */
    mr_combine_cb combine;             /* or NULL; only without a named reducer */
    void *combine_data;
    size_t memory_bytes; /* at least MR_EMIT_MEMORY_MIN */
    const char *path;    /* of the spill file to make; runs are made beside it as path.run-N */
    bool lz4;
};

struct mr_emit_stats {
    uint64_t records_in, bytes_in; /* emitted: encoded key and value bytes */
    uint64_t records_out;          /* in the spill file */
    uint64_t spilled_bytes;        /* written to runs and to the spill file */
    uint32_t runs;                 /* run files made */
    size_t memory_peak_bytes;
};

struct mr_emit;

/* Creates an empty emit; no file is made yet. The caller owns *out and ends it with mr_emit_close.
 * Errors: PERI_ENOMEM; PERI_EINVAL when memory_bytes or partitions are out of range, saying which
 * range; PERI_EMEMORY when memory_bytes is too small for so many partitions. */
int mr_emit_create(struct mr_emit **out, struct env *env, const struct mr_emit_options *options,
                   struct peri_error *err);

/* The input position of the record that map runs on now: what first, last and concat order by. */
void mr_emit_at(struct mr_emit *emit, uint64_t file, uint64_t offset);

/* Adds one pair of encoded key and value; copies both. Errors: PERI_ETOOBIG for a pair that
 * cannot fit into memory; PERI_EINVAL and the like from the reducer, nothing added; PERI_EINVAL
 * inside the combiner; what the combiner and the disk report: then only mr_emit_close may follow.
 */
int mr_emit_add(struct mr_emit *emit, struct peri_slice key, struct peri_slice value,
                struct peri_error *err);

/* The same with the partition chosen by the caller. Pairs with equal keys must get equal parts. */
int mr_emit_add_to(struct mr_emit *emit, uint32_t part, struct peri_slice key,
                   struct peri_slice value, struct peri_error *err);

/* Whether the pair may be added: then adding it fails for no reason of its own, only for those of
 * its key's other values, of the combiner and of the disk. Errors: PERI_ETOOBIG; PERI_EINVAL from
 * the reducer; PERI_ENOMEM. */
int mr_emit_check(struct mr_emit *emit, struct peri_slice key, struct peri_slice value,
                  struct peri_error *err);

/* True when pairs are summed up by key, so that integers of one key may be added beforehand. */
bool mr_emit_is_sum(const struct mr_emit *emit);

/* Adds the pair (string, integer), neither encoded: the fast path of counting. */
int mr_emit_add_string(struct mr_emit *emit, struct peri_slice string, int64_t integer,
                       struct peri_error *err);

/* The same for many: faster, because the table's memory is asked for in advance. On error some have
 * been added. */
int mr_emit_add_tallies(struct mr_emit *emit, const struct mr_tally *tallies, size_t count,
                        struct peri_error *err);

/* Writes everything to options.path. Afterwards only stats, parts and close may be called. */
int mr_emit_finish(struct mr_emit *emit, struct peri_error *err);

/* The finished spill file's index: partitioner.partitions entries, lent until close. */
const struct mr_spill_part *mr_emit_parts(const struct mr_emit *emit);

/* What has been emitted and spilled so far. */
void mr_emit_stats(const struct mr_emit *emit, struct mr_emit_stats *out);

/* Frees emit and removes run files that are left; removes options.path as well unless finish
 * succeeded. Accepts NULL. */
void mr_emit_close(struct mr_emit *emit);

#endif
