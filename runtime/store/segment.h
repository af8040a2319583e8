/* segment.h - the files of the memory backend: numbered segments of checked records, and CURRENT.
 *
 *      NNNNNNNN.log   records: check u64 | size u32 | sequence u64 | a batch of size bytes
 *      CURRENT        magic | oldest u64 | flushed u64 | check u64
 *
 * Segments below oldest are rubbish; those below flushed are durable. A segment that just ends was
 * torn, and nothing is said, as LevelDB does; a checksum that does not fit is damage. No file is
 * held open between calls. Numbers are little-endian, checks XXH3-64. */
#ifndef PERI_STORE_SEGMENT_H
#define PERI_STORE_SEGMENT_H

#include "base/buffer.h"
#include "env/env.h"

enum { SEGMENT_HEADER_BYTES = 20, SEGMENT_PATH_MAX = 4096 };

struct segment_current {
    uint64_t oldest, flushed;
};

/* Writes the segment's path to out, SEGMENT_PATH_MAX bytes. */
void segment_path(char *out, const char *directory, uint64_t number);

/* Appends one record to out. Errors: PERI_ENOMEM. */
int segment_encode(uint64_t sequence, struct peri_slice batch, struct peri_buffer *out);

/* Walks the records of a segment's bytes from *at on. Returns 1 for a record; 0 at the end, torn or
 * not; PERI_ECORRUPT for a damaged one, and *at then stands behind it if its size can be. */
int segment_next(struct peri_slice bytes, size_t *at, uint64_t *sequence, struct peri_slice *batch);

/* Writes bytes at offset of a segment, creating it, and syncs it when asked to. Errors: errno
 * codes.
 */
int segment_write(struct env *env, const char *directory, uint64_t number, uint64_t offset,
                  struct peri_slice bytes, bool is_synced, struct peri_error *err);

/* Makes a segment durable, also its name. Errors: errno codes; one that is not there is none. */
int segment_sync(struct env *env, const char *directory, uint64_t number, struct peri_error *err);

/* Appends a segment's bytes to out. Errors: -ENOENT, errno codes, PERI_ENOMEM. */
int segment_read(struct env *env, const char *directory, uint64_t number, struct peri_buffer *out,
                 struct peri_error *err);

/* Reads CURRENT; replaces it durably. Errors: -ENOENT, PERI_ECORRUPT, errno codes. */
int segment_current_read(struct env *env, const char *directory, struct segment_current *out,
                         struct peri_error *err);
int segment_current_write(struct env *env, const char *directory,
                          const struct segment_current *current, struct peri_error *err);

#endif
