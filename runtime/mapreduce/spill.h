/* spill.h - sorted runs on disk: partitions in order, checked blocks, a footer index.
 *
 *   file    = "PMRSPIL1" block* footer trailer
 *   block   = header stored*         see block.h; holds whole records of one partition
 *   footer  = R x { offset u64, length u64, records u64, sum u128 }
 *   trailer = block_max u32, key_max u32, R u32, 1 or 0 for lz4 u32, footer offset u64, file length
 * u64, XXH3-64 of footer and trailer so far, "PMRSEND1"
 *
 * Integers are little-endian. sum is the sum modulo 2^128 of mr_sum_add's hash over the records:
 * it does not depend on their order, so it can be carried along every edge of a job and checked
 * there. Every byte of the file lies under some check: a changed byte gives PERI_ECORRUPT naming
 * the file, the partition and the offset, at the latest when the partition's end is reached. */
#ifndef PERI_MAPREDUCE_SPILL_H
#define PERI_MAPREDUCE_SPILL_H

#include "env/env.h"
#include "mapreduce/sum.h"

/* One partition of one file. */
struct mr_spill_part {
    uint64_t offset, length; /* of its blocks in the file */
    struct mr_sum sum;
};

/* ---- writing ---- */

struct mr_spill_writer;

struct mr_spill_options {
    uint32_t partitions;
    uint32_t block_bytes; /* raw bytes after which a block ends; 0 means 256 KiB */
    bool lz4;             /* compress blocks that shrink by a tenth or more */
};

/* Creates path, which must not exist. On success the caller owns *out; on error there is no file of
 * ours. After a failure of the functions below the file is half written: the caller removes it.
 * Errors: PERI_ENOMEM, errno. */
int mr_spill_writer_open(struct mr_spill_writer **out, struct env *env, const char *path,
                         const struct mr_spill_options *options, struct peri_error *err);

/* Appends a record. Records come in order of (part, key). Errors: PERI_ENOMEM; PERI_ETOOBIG for
 * a record past MR_SPILL_RECORD_MAX; errno codes of the write. */
int mr_spill_writer_add(struct mr_spill_writer *writer, uint32_t part, struct peri_slice key,
                        struct peri_slice value, struct peri_error *err);

/* Writes the footer and closes the file. */
int mr_spill_writer_finish(struct mr_spill_writer *writer, struct peri_error *err);

/* The index, valid after finish until close: one entry a partition. Lent. */
const struct mr_spill_part *mr_spill_writer_parts(const struct mr_spill_writer *writer);
uint64_t mr_spill_writer_bytes(const struct mr_spill_writer *writer); /* written so far */

void mr_spill_writer_close(struct mr_spill_writer *writer); /* accepts NULL and half-written */

enum { MR_SPILL_RECORD_MAX = 1 << 30 };

/* ---- reading ---- */

struct mr_spill_file;

/* Opens a finished file and checks its footer. Errors: PERI_ENOMEM, PERI_ECORRUPT, errno codes. */
int mr_spill_file_open(struct mr_spill_file **out, struct env *env, const char *path,
                       struct peri_error *err);
uint32_t mr_spill_file_partitions(const struct mr_spill_file *file);
/* What the footer says about a partition. Lent until close. */
const struct mr_spill_part *mr_spill_file_part(const struct mr_spill_file *file, uint32_t part);
/* Memory that one reader of this file needs. */
size_t mr_spill_file_reader_bytes(const struct mr_spill_file *file);
void mr_spill_file_close(struct mr_spill_file *file); /* accepts NULL; after its readers */

struct mr_spill_reader;

/* Reads one partition of file, which it borrows. Errors: PERI_ENOMEM. */
int mr_spill_reader_open(struct mr_spill_reader **out, struct mr_spill_file *file, uint32_t part,
                         struct peri_error *err);
/* Returns 1 and the next record, lent until the next call; 0 at the end, records and sum checked
 * against the footer; PERI_ECORRUPT or an errno code. */
int mr_spill_reader_next(struct mr_spill_reader *reader, struct peri_slice *key,
                         struct peri_slice *value, struct peri_error *err);
void mr_spill_reader_close(struct mr_spill_reader *reader); /* accepts NULL */

#endif
