/* journal_format.h - the sectors of a journal, and what of them is a batch.
 *
 *      sector, 512 bytes:  check u32 | use u32 | batch u32 | 500 bytes of a batch, or of nothing
 *      batch:              magic u32 | size u32 | number u64 | size bytes of changes (backend.h)
 *
 * A batch begins with a sector of its own, so that what was synced is never written again. use is
 * drawn for each file and each use of it, number is the generation's: what an earlier use left in
 * the file is known for what it is. batch counts from 1, its lowest bit says that a batch begins
 * here. check is of the rest of the sector, seeded with its place. So each sector is one of three:
 * ours, old (of another use, or of zeroes), or bad, which no write that was merely cut off leaves
 * on a disk whose sectors are written whole. Numbers are little-endian, checks XXH3-64, cut. */
#ifndef PERI_STORE_JOURNAL_FORMAT_H
#define PERI_STORE_JOURNAL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"

enum {
    JOURNAL_SECTOR_BYTES = 512,
    JOURNAL_TAG_BYTES = 12,
    JOURNAL_ROOM_BYTES = JOURNAL_SECTOR_BYTES - JOURNAL_TAG_BYTES,
    JOURNAL_HEADER_BYTES = 16
};

/* Which file, and which use of it. */
struct journal_use {
    uint64_t number;
    uint32_t use;
};

/* How many sectors a batch of so many bytes takes. */
uint64_t journal_sectors(uint64_t bytes);

/* Where the changes of a batch that begins with a sector are: a position counts the bytes that
 * sectors hold for batches. */
uint64_t journal_position(uint64_t sector);

/* Appends the sectors of a batch to out, of which the first has the place sector. Errors:
 * PERI_ENOMEM, PERI_ETOOBIG; out is unchanged. */
int journal_encode(struct journal_use use, uint32_t batch, uint64_t sector,
                   struct peri_slice changes, struct peri_buffer *out);

/* Appends size bytes from position on to out. image holds whole sectors, the first of which has the
 * place sector. Errors: PERI_ECORRUPT when they are not in image, or not intact; PERI_ENOMEM. */
int journal_extract(struct peri_slice image, uint64_t sector, uint32_t use, uint64_t position,
                    uint64_t size, struct peri_buffer *out);

/* Walks the batches of a whole file. */
struct journal_scan {
    struct peri_slice image;
    struct journal_use use;
    uint32_t batch;           /* expected */
    uint64_t sector;          /* where */
    bool is_damaged;          /* something that was whole is not any more */
    bool is_dirty;            /* there are bad sectors, also where they do no harm */
    struct peri_buffer bytes; /* of the batch */
};

/* Finds out whether the file is in use for generation number. The caller ends *out with
 * journal_scan_end in any case. */
void journal_scan_begin(struct journal_scan *out, struct peri_slice image, uint64_t number);
void journal_scan_end(struct journal_scan *scan);

/* The next intact batch: its changes, lent until the next call, and their position. Returns 1; 0
 * behind the last one, where what was cut off counts as nothing. Errors: PERI_ENOMEM. */
int journal_scan_next(struct journal_scan *scan, struct peri_slice *changes, uint64_t *position);

#endif
