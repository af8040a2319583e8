/* block.h - the blocks of a spill file: some records of one partition under one checksum.
 *
 *   header = "PMRB" u32, codec u8, 0 u8 x3, part u32, records u32, raw u32, stored u32, checksum
 * u64 record = shared varint, rest varint, value size varint, key rest, value
 *
 * A key shares its first bytes with the key before it in the block. The checksum is XXH3-64 of the
 * stored bytes seeded with XXH3-64 of the header before it. Pure. */
#ifndef PERI_MAPREDUCE_BLOCK_H
#define PERI_MAPREDUCE_BLOCK_H

#include <stdbool.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/error.h"

enum { MR_BLOCK_HEADER_SIZE = 32 };

/* ---- building ---- */

/* Starts zeroed; ended by mr_block_deinit. */
struct mr_block {
    struct peri_buffer bytes;  /* room for the header, then raw bytes; empty without records */
    struct peri_buffer packed; /* the same, compressed */
    struct peri_buffer key;    /* of the last record */
    uint32_t records;
};

/* Appends a record whose key is not less than the one before. Errors: PERI_ENOMEM. */
int mr_block_add(struct mr_block *block, struct peri_slice key, struct peri_slice value);

/* The raw bytes so far. */
static inline size_t mr_block_raw(const struct mr_block *block)
{
    return block->records == 0 ? 0 : block->bytes.size - MR_BLOCK_HEADER_SIZE;
}

/* Writes the header; the finished block is lent until mr_block_clear. Without memory to compress it
 * in, it stays as it is. */
struct peri_slice mr_block_finish(struct mr_block *block, uint32_t part, bool lz4);

void mr_block_clear(struct mr_block *block); /* ready for the next block */
void mr_block_deinit(struct mr_block *block);

/* ---- reading ---- */

struct mr_block_header {
    uint8_t codec; /* 0 stored as they are, 1 lz4 */
    uint32_t part, records, raw, stored;
    uint64_t checksum;
};

/* Reads a header of MR_BLOCK_HEADER_SIZE bytes; false when it is none. */
bool mr_block_header_read(struct mr_block_header *out, const char *bytes);

/* Checks the stored bytes that follow the header at bytes; raw bytes are lent by stored, or by
 * unpacked. Errors: PERI_ENOMEM; PERI_ECORRUPT. */
int mr_block_open(const struct mr_block_header *header, const char *bytes,
                  struct peri_buffer *unpacked, struct peri_slice *raw);

/* Takes the record at *at in a block that ends at end: *key goes on from the previous record's key
 * in it. Returns 0, or PERI_ECORRUPT, or PERI_ENOMEM. */
int mr_block_next(const char **at, const char *end, struct peri_buffer *key,
                  struct peri_slice *value);

#endif
