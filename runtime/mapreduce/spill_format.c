#include "mapreduce/spill_format.h"

#include "base/bits.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

const char spill_magic[SPILL_MAGIC_SIZE] = {'P', 'M', 'R', 'S', 'P', 'I', 'L', '1'};
static const char end_magic[8] = {'P', 'M', 'R', 'S', 'E', 'N', 'D', '1'};

enum { CHECKSUM_AT = 32, END_AT = 40 }; /* in the trailer */

void spill_entry_write(const struct mr_spill_part *part, char *out)
{
    bits_put_le64(out, part->offset);
    bits_put_le64(out + 8, part->length);
    bits_put_le64(out + 16, part->sum.records);
    bits_put_le64(out + 24, part->sum.low);
    bits_put_le64(out + 32, part->sum.high);
}

void spill_entry_read(struct mr_spill_part *part, const char *in)
{
    part->offset = bits_get_le64(in);
    part->length = bits_get_le64(in + 8);
    part->sum.records = bits_get_le64(in + 16);
    part->sum.low = bits_get_le64(in + 24);
    part->sum.high = bits_get_le64(in + 32);
}

static uint64_t checksum_of(const char *footer, size_t size)
{
    return XXH3_64bits(footer, size - SPILL_TRAILER_SIZE + CHECKSUM_AT);
}

void spill_trailer_write(const struct spill_trailer *trailer, char *footer, size_t size)
{
    char *out = footer + size - SPILL_TRAILER_SIZE;
    bits_put_le32(out, trailer->block_max);
    bits_put_le32(out + 4, trailer->key_max);
    bits_put_le32(out + 8, trailer->partitions);
    bits_put_le32(out + 12, trailer->may_be_packed);
    bits_put_le64(out + 16, trailer->footer_offset);
    bits_put_le64(out + 24, trailer->length);
    bits_put_le64(out + CHECKSUM_AT, checksum_of(footer, size));
    memcpy(out + END_AT, end_magic, sizeof end_magic);
}

bool spill_trailer_read(struct spill_trailer *trailer, const char *in)
{
    trailer->block_max = bits_get_le32(in);
    trailer->key_max = bits_get_le32(in + 4);
    trailer->partitions = bits_get_le32(in + 8);
    trailer->may_be_packed = bits_get_le32(in + 12) != 0;
    trailer->footer_offset = bits_get_le64(in + 16);
    trailer->length = bits_get_le64(in + 24);
    return memcmp(in + END_AT, end_magic, sizeof end_magic) == 0;
}

bool spill_footer_is_intact(const char *footer, size_t size)
{
    uint64_t stored = bits_get_le64(footer + size - SPILL_TRAILER_SIZE + CHECKSUM_AT);
    return stored == checksum_of(footer, size);
}
