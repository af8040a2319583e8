#include "mapreduce/block.h"

#include <lz4.h>
#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CODEC_RAW = 0, CODEC_LZ4 = 1, CHECKSUM_AT = 24 };

static const char magic[4] = {'P', 'M', 'R', 'B'};

/* ---- building ---- */

static size_t shared_prefix(struct peri_slice a, struct peri_slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    size_t i = 0;
    for (; i + 8 <= common; i += 8) {
        uint64_t x;
        uint64_t y;
        memcpy(&x, a.data + i, 8);
        memcpy(&y, b.data + i, 8);
        if (x != y)
            break;
    }
    while (i < common && a.data[i] == b.data[i])
        i++;
    return i;
}

static int remember_key(struct mr_block *block, struct peri_slice key, size_t shared)
{
    block->key.size = shared;
    return peri_buffer_append(&block->key, key.data + shared, key.size - shared);
}

int mr_block_add(struct mr_block *block, struct peri_slice key, struct peri_slice value)
{
    size_t need = MR_BLOCK_HEADER_SIZE + 3 * (size_t)BITS_VARINT_MAX + key.size + value.size;
    if (peri_buffer_reserve(&block->bytes, need) != 0 ||
        peri_buffer_reserve(&block->key, key.size) != 0)
        return PERI_ENOMEM;
    if (block->records == 0)
        block->bytes.size = MR_BLOCK_HEADER_SIZE;
    size_t shared = block->records == 0 ? 0 : shared_prefix(peri_buffer_slice(&block->key), key);
    size_t rest = key.size - shared;
    char *at = block->bytes.data + block->bytes.size;
    at = bits_put_varint(at, shared);
    at = bits_put_varint(at, rest);
    at = bits_put_varint(at, value.size);
    memcpy(at, key.data + shared, rest);
    at += rest;
    if (value.size > 0)
        memcpy(at, value.data, value.size);
    block->bytes.size = (size_t)(at - block->bytes.data) + value.size;
    block->records++;
    return remember_key(block, key, shared);
}

/* Compresses the raw bytes into packed; false when that does not save a tenth. */
static bool pack(struct mr_block *block, size_t raw)
{
    if (raw > LZ4_MAX_INPUT_SIZE)
        return false;
    int bound = LZ4_compressBound((int)raw);
    block->packed.size = 0;
    if (peri_buffer_reserve(&block->packed, MR_BLOCK_HEADER_SIZE + (size_t)bound) != 0)
        return false;
    int size = LZ4_compress_default(block->bytes.data + MR_BLOCK_HEADER_SIZE,
                                    block->packed.data + MR_BLOCK_HEADER_SIZE, (int)raw, bound);
    block->packed.size = MR_BLOCK_HEADER_SIZE + (size_t)size;
    return size > 0 && (size_t)size <= raw - raw / 10;
}

static uint64_t checksum_of(const char *bytes, size_t stored)
{
    uint64_t seed = XXH3_64bits(bytes, CHECKSUM_AT);
    return XXH3_64bits_withSeed(bytes + MR_BLOCK_HEADER_SIZE, stored, seed);
}

struct peri_slice mr_block_finish(struct mr_block *block, uint32_t part, bool lz4)
{
    size_t raw = mr_block_raw(block);
    bool is_packed = lz4 && pack(block, raw);
    struct peri_slice out = peri_buffer_slice(is_packed ? &block->packed : &block->bytes);
    char *header = is_packed ? block->packed.data : block->bytes.data;
    size_t stored = out.size - MR_BLOCK_HEADER_SIZE;
    memcpy(header, magic, sizeof magic);
    bits_put_le32(header + 4, is_packed ? CODEC_LZ4 : CODEC_RAW);
    bits_put_le32(header + 8, part);
    bits_put_le32(header + 12, block->records);
    bits_put_le32(header + 16, (uint32_t)raw);
    bits_put_le32(header + 20, (uint32_t)stored);
    bits_put_le64(header + CHECKSUM_AT, checksum_of(header, stored));
    return out;
}

void mr_block_clear(struct mr_block *block)
{
    block->bytes.size = 0;
    block->records = 0;
}

void mr_block_deinit(struct mr_block *block)
{
    peri_buffer_deinit(&block->bytes);
    peri_buffer_deinit(&block->packed);
    peri_buffer_deinit(&block->key);
    block->records = 0;
}

/* ---- reading ---- */

bool mr_block_header_read(struct mr_block_header *out, const char *bytes)
{
    uint32_t codec = bits_get_le32(bytes + 4);
    out->codec = (uint8_t)codec;
    out->part = bits_get_le32(bytes + 8);
    out->records = bits_get_le32(bytes + 12);
    out->raw = bits_get_le32(bytes + 16);
    out->stored = bits_get_le32(bytes + 20);
    out->checksum = bits_get_le64(bytes + CHECKSUM_AT);
    return memcmp(bytes, magic, sizeof magic) == 0 && codec <= CODEC_LZ4;
}

static int unpack(const struct mr_block_header *header, const char *stored,
                  struct peri_buffer *unpacked)
{
    if (header->raw > LZ4_MAX_INPUT_SIZE)
        return PERI_ECORRUPT;
    unpacked->size = 0;
    if (peri_buffer_reserve(unpacked, header->raw) != 0)
        return PERI_ENOMEM;
    int size = LZ4_decompress_safe(stored, unpacked->data, (int)header->stored, (int)header->raw);
    if (size < 0 || (uint32_t)size != header->raw)
        return PERI_ECORRUPT;
    unpacked->size = header->raw;
    return 0;
}

int mr_block_open(const struct mr_block_header *header, const char *bytes,
                  struct peri_buffer *unpacked, struct peri_slice *raw)
{
    if (checksum_of(bytes, header->stored) != header->checksum)
        return PERI_ECORRUPT;
    *raw = peri_slice_of(bytes + MR_BLOCK_HEADER_SIZE, header->stored);
    if (header->codec == CODEC_RAW)
        return header->raw == header->stored ? 0 : PERI_ECORRUPT;
    int rc = unpack(header, raw->data, unpacked);
    *raw = peri_buffer_slice(unpacked);
    return rc;
}

int mr_block_next(const char **at, const char *end, struct peri_buffer *key,
                  struct peri_slice *value)
{
    uint64_t shared = 0;
    uint64_t rest = 0;
    uint64_t size = 0;
    const char *in = bits_get_varint(*at, end, &shared);
    if (in == NULL || (in = bits_get_varint(in, end, &rest)) == NULL ||
        (in = bits_get_varint(in, end, &size)) == NULL)
        return PERI_ECORRUPT;
    if (shared > key->size || rest > (uint64_t)(end - in) || size > (uint64_t)(end - in) - rest)
        return PERI_ECORRUPT;
    key->size = shared;
    if (peri_buffer_append(key, in, rest) != 0)
        return PERI_ENOMEM;
    *value = peri_slice_of(in + rest, size);
    *at = in + rest + size;
    return 0;
}
