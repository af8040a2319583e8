/* fan.h - one partition of several spill files, fanned into one sorted stream.
 *
 * Equal keys come in the order of the files. A binary heap of the files' next records with a cached
 * 8-byte prefix: below 64 files a loser tree is not faster. */
#ifndef PERI_MAPREDUCE_FAN_H
#define PERI_MAPREDUCE_FAN_H

#include "mapreduce/spill.h"

struct mr_fan;

/* Opens readers of part in files[0..count), which it borrows until close. Errors: PERI_ENOMEM and
 * those of mr_fan_next; *failed is then the index of the file at fault, or -1. */
int mr_fan_open(struct mr_fan **out, struct mr_spill_file *const *files, size_t count,
                uint32_t part, int64_t *failed, struct peri_error *err);

/* Returns 1 and the next record, lent until the next call; 0 at the end, when every file's sum has
 * been checked; or a code. */
int mr_fan_next(struct mr_fan *fan, struct peri_slice *key, struct peri_slice *value,
                struct peri_error *err);

/* The index of the file that the last error came from, or -1. */
int64_t mr_fan_failed(const struct mr_fan *fan);

/* The footers' summary of the opened partitions: what the records amount to once the end is
 * reached. */
struct mr_sum mr_fan_sum(const struct mr_fan *fan);

void mr_fan_close(struct mr_fan *fan); /* accepts NULL */

#endif
