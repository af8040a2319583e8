#include "store/chunk.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"

enum { MAGIC = 0x31435350 /* "PSC1" */, MAGIC_BYTES = 4, CHECK_BYTES = 8 };
enum { FIXED_BYTES = MAGIC_BYTES + CHECK_BYTES + 1 + 8, NUMBERS = 6 };

uint64_t store_chunk_hash(uint64_t before, struct peri_slice pairs)
{
    return XXH3_64bits_withSeed(pairs.data, pairs.size, before);
}

int store_chunk_put(struct peri_buffer *pairs, struct peri_slice key, struct peri_slice value)
{
    int rc = peri_buffer_reserve(pairs, 2 * BITS_VARINT_MAX + key.size + value.size);
    if (rc != 0)
        return rc;
    char *at = bits_put_varint(pairs->data + pairs->size, key.size);
    pairs->size = (size_t)(at - pairs->data);
    (void)peri_buffer_append(pairs, key.data, key.size); /* there is room */
    at = bits_put_varint(pairs->data + pairs->size, value.size);
    pairs->size = (size_t)(at - pairs->data);
    return peri_buffer_append(pairs, value.data, value.size);
}

static int take(struct peri_slice from, size_t *at, struct peri_slice *out)
{
    uint64_t size = 0;
    const char *end = from.data + from.size;
    const char *in = bits_get_varint(from.data + *at, end, &size);
    if (in == NULL || size > (size_t)(end - in))
        return PERI_EFORMAT;
    *out = peri_slice_of(in, (size_t)size);
    *at = (size_t)(in - from.data) + (size_t)size;
    return 0;
}

int store_chunk_next(struct peri_slice pairs, size_t *at, struct peri_slice *key,
                     struct peri_slice *value)
{
    int rc = take(pairs, at, key);
    return rc == 0 ? take(pairs, at, value) : rc;
}

int store_chunk_encode(const struct store_chunk *chunk, struct peri_buffer *out)
{
    const uint64_t numbers[NUMBERS] = {chunk->group,    chunk->index, chunk->term,
                                       chunk->position, chunk->count, chunk->about.size};
    size_t start = out->size;
    int rc = peri_buffer_reserve(out, FIXED_BYTES + NUMBERS * BITS_VARINT_MAX + chunk->about.size +
                                          chunk->pairs.size);
    if (rc != 0)
        return rc;
    char *begin = out->data + start;
    bits_put_le32(begin, MAGIC);
    begin[MAGIC_BYTES + CHECK_BYTES] = (char)chunk->is_last;
    bits_put_le64(begin + MAGIC_BYTES + CHECK_BYTES + 1, chunk->hash);
    char *at = begin + FIXED_BYTES;
    for (size_t i = 0; i < NUMBERS; i++)
        at = bits_put_varint(at, numbers[i]);
    out->size = (size_t)(at - out->data);
    (void)peri_buffer_append(out, chunk->about.data, chunk->about.size); /* there is room */
    (void)peri_buffer_append(out, chunk->pairs.data, chunk->pairs.size);
    const char *checked = begin + MAGIC_BYTES + CHECK_BYTES;
    size_t checked_size = out->size - start - MAGIC_BYTES - CHECK_BYTES;
    bits_put_le64(begin + MAGIC_BYTES, XXH3_64bits(checked, checked_size));
    return 0;
}

int store_chunk_decode(struct peri_slice bytes, struct store_chunk *out)
{
    uint64_t n[NUMBERS];
    if (bytes.size < FIXED_BYTES || bits_get_le32(bytes.data) != MAGIC)
        return PERI_EFORMAT;
    const char *checked = bytes.data + MAGIC_BYTES + CHECK_BYTES, *end = bytes.data + bytes.size;
    if (bits_get_le64(bytes.data + MAGIC_BYTES) != XXH3_64bits(checked, (size_t)(end - checked)))
        return PERI_EFORMAT;
    const char *at = bytes.data + FIXED_BYTES;
    for (size_t i = 0; i < NUMBERS && at != NULL; i++)
        at = bits_get_varint(at, end, &n[i]);
    if (at == NULL || n[NUMBERS - 1] > (size_t)(end - at))
        return PERI_EFORMAT;
    *out = (struct store_chunk){.is_last = checked[0] != 0,
                                .hash = bits_get_le64(checked + 1),
                                .group = n[0],
                                .index = n[1],
                                .term = n[2],
                                .position = n[3],
                                .count = n[4],
                                .about = {at, (size_t)n[5]}};
    at += n[5];
    out->pairs = peri_slice_of(at, (size_t)(end - at));
    return 0;
}
