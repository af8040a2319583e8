#include "store/journal_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "base/error.h"

enum { CHECK_BYTES = 4, BATCH_BEGINS = 1 };

static const uint32_t batch_magic = 0x314c4a50; /* "PJL1" */

uint64_t journal_sectors(uint64_t bytes)
{
    return (JOURNAL_HEADER_BYTES + bytes + JOURNAL_ROOM_BYTES - 1) / JOURNAL_ROOM_BYTES;
}

uint64_t journal_position(uint64_t sector)
{
    return sector * JOURNAL_ROOM_BYTES + JOURNAL_HEADER_BYTES;
}

static uint32_t check_of(const char *sector, uint64_t place)
{
    return (uint32_t)XXH3_64bits_withSeed(sector + CHECK_BYTES, JOURNAL_SECTOR_BYTES - CHECK_BYTES,
                                          place);
}

/* ---- writing ---- */

static void seal(char *sector, uint64_t place, uint32_t use, uint32_t batch)
{
    bits_put_le32(sector + 4, use);
    bits_put_le32(sector + 8, batch);
    bits_put_le32(sector, check_of(sector, place));
}

int journal_encode(struct journal_use use, uint32_t batch, uint64_t sector,
                   struct peri_slice changes, struct peri_buffer *out)
{
    if (changes.size > UINT32_MAX)
        return PERI_ETOOBIG;
    uint64_t count = journal_sectors(changes.size);
    int rc = peri_buffer_reserve(out, (size_t)count * JOURNAL_SECTOR_BYTES);
    if (rc != 0)
        return rc;
    size_t room = JOURNAL_HEADER_BYTES, done = 0; /* of the first sector: the header */
    for (uint64_t i = 0; i < count; i++) {
        char *at = out->data + out->size, *to = at + JOURNAL_TAG_BYTES;
        if (i == 0) {
            bits_put_le32(to, batch_magic);
            bits_put_le32(to + 4, (uint32_t)changes.size);
            bits_put_le64(to + 8, use.number);
        }
        room = JOURNAL_ROOM_BYTES - (i == 0 ? JOURNAL_HEADER_BYTES : 0);
        to += JOURNAL_ROOM_BYTES - room;
        size_t size = changes.size - done < room ? changes.size - done : room;
        if (size > 0)
            memcpy(to, changes.data + done, size);
        memset(to + size, 0, room - size);
        done += size;
        seal(at, sector + i, use.use, batch << 1 | (i == 0 ? BATCH_BEGINS : 0));
        out->size += JOURNAL_SECTOR_BYTES;
    }
    return 0;
}

/* ---- sectors ---- */

enum sector_kind { SECTOR_OURS, SECTOR_OLD, SECTOR_BAD };

struct sector {
    enum sector_kind kind;
    uint32_t use, batch;
    bool begins;
    const char *room;
};

static bool is_zero(const char *sector)
{
    return sector[0] == 0 && memcmp(sector, sector + 1, JOURNAL_SECTOR_BYTES - 1) == 0;
}

/* What the file ends before, or within, was never written. A sector that is intact is ours as far
 * as it can say. */
static struct sector sector_at(struct peri_slice image, uint64_t place)
{
    uint64_t from = place * JOURNAL_SECTOR_BYTES;
    if (image.size < JOURNAL_SECTOR_BYTES || from > image.size - JOURNAL_SECTOR_BYTES)
        return (struct sector){.kind = SECTOR_OLD};
    const char *at = image.data + from;
    if (is_zero(at))
        return (struct sector){.kind = SECTOR_OLD};
    if (bits_get_le32(at) != check_of(at, place))
        return (struct sector){.kind = SECTOR_BAD};
    uint32_t batch = bits_get_le32(at + 8);
    return (struct sector){.kind = SECTOR_OURS,
                           .use = bits_get_le32(at + 4),
                           .batch = batch >> 1,
                           .begins = (batch & BATCH_BEGINS) != 0,
                           .room = at + JOURNAL_TAG_BYTES};
}

static struct sector sector_of_use(const struct journal_scan *scan, uint64_t place)
{
    struct sector sector = sector_at(scan->image, place);
    if (sector.kind == SECTOR_OURS && sector.use != scan->use.use)
        sector.kind = SECTOR_OLD;
    return sector;
}

int journal_extract(struct peri_slice image, uint64_t sector, uint32_t use, uint64_t position,
                    uint64_t size, struct peri_buffer *out)
{
    uint64_t place = position / JOURNAL_ROOM_BYTES;
    size_t skip = (size_t)(position % JOURNAL_ROOM_BYTES);
    if (peri_buffer_reserve(out, (size_t)size) != 0)
        return PERI_ENOMEM;
    for (size_t left = (size_t)size; left > 0; place++, skip = 0) {
        size_t part = left < JOURNAL_ROOM_BYTES - skip ? left : JOURNAL_ROOM_BYTES - skip;
        uint64_t from = (place - sector) * JOURNAL_SECTOR_BYTES;
        if (place < sector || from + JOURNAL_SECTOR_BYTES > image.size)
            return PERI_ECORRUPT;
        const char *at = image.data + from;
        if (bits_get_le32(at) != check_of(at, place) || bits_get_le32(at + 4) != use)
            return PERI_ECORRUPT;
        (void)peri_buffer_append(out, at + JOURNAL_TAG_BYTES + skip, part); /* there is room */
        left -= part;
    }
    return 0;
}

/* ---- batches ---- */

static uint64_t sectors_in(const struct journal_scan *scan)
{
    return scan->image.size / JOURNAL_SECTOR_BYTES;
}

/* True for the beginning of a batch of generation number, of whatever use. */
static bool begins_batch(const struct sector *sector, uint64_t number)
{
    return sector->kind == SECTOR_OURS && sector->begins &&
           bits_get_le32(sector->room) == batch_magic && bits_get_le64(sector->room + 8) == number;
}

/* The first batch of this generation says which use it is. When it is not the first batch of all,
 * that one is lost. */
void journal_scan_begin(struct journal_scan *out, struct peri_slice image, uint64_t number)
{
    *out = (struct journal_scan){.image = image, .use.number = number, .batch = 1};
    uint64_t end = sectors_in(out);
    for (uint64_t place = 0; place < end; place++) {
        struct sector sector = sector_at(image, place);
        out->is_dirty = out->is_dirty || sector.kind == SECTOR_BAD;
        if (place == 0)
            out->is_damaged = sector.kind == SECTOR_BAD;
        if (begins_batch(&sector, number)) {
            out->use.use = sector.use;
            out->is_damaged = out->is_damaged || place > 0 || sector.batch != 1;
            return;
        }
    }
    out->sector = end; /* no batch of ours */
}

void journal_scan_end(struct journal_scan *scan)
{
    peri_buffer_deinit(&scan->bytes);
}

/* Reads the batch that begins at scan->sector into bytes. False when it is not whole. */
static bool read_batch(struct journal_scan *scan, uint64_t *count, int *rc)
{
    struct sector sector = sector_of_use(scan, scan->sector);
    *count = 1;
    scan->bytes.size = 0;
    if (sector.kind == SECTOR_BAD)
        scan->is_damaged = true;
    if (!begins_batch(&sector, scan->use.number) || sector.batch != scan->batch)
        return false;
    size_t size = bits_get_le32(sector.room + 4);
    *count = journal_sectors(size);
    bool is_whole = true;
    for (uint64_t i = 0; i < *count; i++) {
        if (i > 0)
            sector = sector_of_use(scan, scan->sector + i);
        scan->is_damaged = scan->is_damaged || sector.kind == SECTOR_BAD;
        is_whole = is_whole && sector.kind == SECTOR_OURS && sector.batch == scan->batch &&
                   sector.begins == (i == 0);
        if (is_whole && *rc == 0)
            *rc = peri_buffer_append(&scan->bytes, sector.room, JOURNAL_ROOM_BYTES);
    }
    return is_whole;
}

/* A later batch was written when the one that is missing was durable. */
static bool find_later(struct journal_scan *scan)
{
    uint64_t end = sectors_in(scan);
    for (uint64_t place = scan->sector + 1; place < end; place++) {
        struct sector sector = sector_of_use(scan, place);
        scan->is_dirty = scan->is_dirty || sector.kind == SECTOR_BAD;
        if (begins_batch(&sector, scan->use.number) && sector.batch > scan->batch) {
            scan->is_damaged = true;
            scan->sector = place;
            scan->batch = sector.batch;
            return true;
        }
    }
    return false;
}

int journal_scan_next(struct journal_scan *scan, struct peri_slice *changes, uint64_t *position)
{
    uint64_t count = 0;
    int rc = 0;
    do {
        if (scan->sector >= sectors_in(scan))
            return 0;
        if (read_batch(scan, &count, &rc)) {
            if (rc != 0)
                return rc;
            size_t size = bits_get_le32(scan->bytes.data + 4);
            *changes = peri_slice_of(scan->bytes.data + JOURNAL_HEADER_BYTES, size);
            *position = journal_position(scan->sector);
            scan->sector += count;
            scan->batch++;
            return 1;
        }
    } while (find_later(scan));
    return 0;
}
