/* source.h - the plain bytes of one input file, from an offset on. Blocking.
 *
 * Hides whether the file is regular (pread), a pipe or standard input (read), compressed or not. */
#ifndef PERI_MAPREDUCE_SOURCE_H
#define PERI_MAPREDUCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "env/env.h"

struct mr_source;

/* Opens path, "-" being standard input. With is_sniffed, compression shows in the first bytes too,
 * not only in the suffix. On success the caller owns *out. Errors: errno codes, -EISDIR for a
 * directory; PERI_EFORMAT for a file that is not what its suffix says; PERI_ENOMEM. */
int mr_source_open(struct mr_source **out, struct env *env, const char *path, bool is_sniffed,
                   struct peri_error *err);

/* True when the bytes come in order only: a pipe, or compressed. */
bool mr_source_is_stream(const struct mr_source *source);

/* Size of the file when it was opened; 0 for a pipe. */
uint64_t mr_source_size(const struct mr_source *source);

/* Starts at offset instead of 0, before the first read. Only for a source that is no stream. */
void mr_source_seek(struct mr_source *source, uint64_t offset);

/* Returns 1 to size plain bytes at out, or 0 at the end. Errors: errno codes; PERI_ECORRUPT when
 * the file became shorter since it was opened; those of mr_decoder_read. */
int64_t mr_source_read(struct mr_source *source, void *out, size_t size, struct peri_error *err);

/* Offset in the file, before decompression, behind what has been read. */
uint64_t mr_source_offset(const struct mr_source *source);

void mr_source_close(struct mr_source *source); /* accepts NULL */

#endif
