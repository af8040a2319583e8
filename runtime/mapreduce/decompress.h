/* decompress.h - gzip, zstd and lz4 input as a stream of plain bytes.
 *
 * All three formats may hold several members (frames) one after the other; they are read as one
 * stream, as their own tools do. Output is produced piece by piece, so a file that unpacks to far
 * more than its size costs no memory. Input that ends inside a member, a failed checksum, or bytes
 * after the last member that start no new one are errors that name the file and the offset. (What
 * no reader can see: a file cut exactly between two members, and damage where the writer left the
 * optional checksum of zstd and lz4 out.) */
#ifndef PERI_MAPREDUCE_DECOMPRESS_H
#define PERI_MAPREDUCE_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum mr_codec { MR_CODEC_NONE, MR_CODEC_GZIP, MR_CODEC_ZSTD, MR_CODEC_LZ4 };

#define MR_CODEC_MAGIC_SIZE 4

/* The codec that the path's suffix (.gz .zst .lz4) promises. */
enum mr_codec mr_codec_of_path(const char *path);

/* The codec whose magic number the first bytes of a file show. */
enum mr_codec mr_codec_of_magic(struct peri_slice head);

/* "gzip" and so on, for messages. Lent for ever. */
const char *mr_codec_name(enum mr_codec codec);

/* Where compressed bytes come from: like read(2), but a negative count is an error filled in err.
 */
typedef int64_t (*mr_pull)(void *data, void *out, size_t size, struct peri_error *err);

struct mr_decoder;

/* Creates a decoder over pull(data); name (lent) is the file that errors speak of. codec is not
 * NONE. On success the caller owns *out. Errors: PERI_ENOMEM. */
int mr_decoder_create(struct mr_decoder **out, enum mr_codec codec, const char *name, mr_pull pull,
                      void *data, struct peri_error *err);

/* Returns 1 to size plain bytes at out, or 0 at the end. Errors: PERI_EFORMAT for input that is
 * cut or damaged, PERI_ENOMEM, and those of pull. */
int64_t mr_decoder_read(struct mr_decoder *decoder, void *out, size_t size, struct peri_error *err);
void mr_decoder_close(struct mr_decoder *decoder); /* accepts NULL */

#endif
