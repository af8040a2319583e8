/* spill_format.h - the fixed parts of a spill file, as spill.h draws them. For spill_*.c only. */
#ifndef PERI_MAPREDUCE_SPILL_FORMAT_H
#define PERI_MAPREDUCE_SPILL_FORMAT_H

#include "mapreduce/spill.h"

enum { SPILL_MAGIC_SIZE = 8, SPILL_ENTRY_SIZE = 40, SPILL_TRAILER_SIZE = 48 };

extern const char spill_magic[SPILL_MAGIC_SIZE];

/* The trailer without its constant bytes and checksum. */
struct spill_trailer {
    uint32_t block_max, key_max, partitions;
    bool may_be_packed;
    uint64_t footer_offset, length;
};

/* One partition of the footer index, SPILL_ENTRY_SIZE bytes. */
void spill_entry_write(const struct mr_spill_part *part, char *out);
void spill_entry_read(struct mr_spill_part *part, const char *in);

/* Fills the last SPILL_TRAILER_SIZE of the size bytes of footer and trailer at footer. */
void spill_trailer_write(const struct spill_trailer *trailer, char *footer, size_t size);

/* Reads the trailer's fields; false when its constant bytes are not there. */
bool spill_trailer_read(struct spill_trailer *trailer, const char *in);

/* True when the checksum in the size bytes of footer and trailer fits them. */
bool spill_footer_is_intact(const char *footer, size_t size);

#endif
