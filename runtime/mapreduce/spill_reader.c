#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "mapreduce/block.h"
#include "mapreduce/partition.h"
#include "mapreduce/spill_format.h"

struct mr_spill_file {
    struct env_file *file;
    char *path;
    struct mr_spill_part *parts; /* [trailer.partitions] */
    struct spill_trailer trailer;
};

struct mr_spill_reader {
    struct mr_spill_file *file;
    uint32_t part;
    uint32_t left;               /* records that the block still holds */
    uint64_t offset;             /* of the next block */
    const char *at, *end;        /* the rest of the block's raw bytes */
    struct mr_sum sum;           /* of the records given out */
    struct peri_buffer block;    /* the block as stored */
    struct peri_buffer unpacked; /* and decompressed, where it was compressed */
    struct peri_buffer key;
};

/* ---- files ---- */

static int damaged(const struct mr_spill_file *file, struct peri_error *err, const char *what)
{
    return peri_fail(err, PERI_ECORRUPT, "spill %s: %s", file->path, what);
}

/* Reads exactly size bytes; a file that ends early is damaged. */
static int read_exactly(struct mr_spill_file *file, char *out, size_t size, uint64_t offset,
                        struct peri_error *err)
{
    while (size > 0) {
        int64_t got = env_file_pread(file->file, out, size, offset, err);
        if (got < 0)
            return (int)got;
        if (got == 0)
            return peri_fail(err, PERI_ECORRUPT, "spill %s: ends at offset %" PRIu64, file->path,
                             offset);
        out += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return 0;
}

/* Partitions follow each other from the magic to the footer, without gaps. */
static bool parts_are_chained(const struct mr_spill_file *file)
{
    uint64_t offset = SPILL_MAGIC_SIZE;
    for (uint32_t i = 0; i < file->trailer.partitions; i++) {
        const struct mr_spill_part *part = &file->parts[i];
        if (part->offset != offset || part->length > file->trailer.footer_offset - offset)
            return false;
        offset += part->length;
    }
    return offset == file->trailer.footer_offset;
}

static int read_entries(struct mr_spill_file *file, char *footer, size_t size,
                        struct peri_error *err)
{
    int rc = read_exactly(file, footer, size, file->trailer.footer_offset, err);
    if (rc != 0)
        return rc;
    if (!spill_footer_is_intact(footer, size))
        return damaged(file, err, "the footer's checksum differs");
    for (uint32_t i = 0; i < file->trailer.partitions; i++)
        spill_entry_read(&file->parts[i], footer + (size_t)i * SPILL_ENTRY_SIZE);
    return parts_are_chained(file) ? 0 : damaged(file, err, "the footer's ranges have gaps");
}

static int read_footer(struct mr_spill_file *file, struct peri_error *err)
{
    size_t size = (size_t)file->trailer.partitions * SPILL_ENTRY_SIZE + SPILL_TRAILER_SIZE;
    if (file->trailer.footer_offset < SPILL_MAGIC_SIZE ||
        file->trailer.footer_offset + size != file->trailer.length)
        return damaged(file, err, "the trailer is malformed");
    char *footer = malloc(size);
    file->parts = calloc(file->trailer.partitions, sizeof *file->parts);
    int rc = footer == NULL || file->parts == NULL
                 ? peri_fail(err, PERI_ENOMEM, "spill %s", file->path)
                 : read_entries(file, footer, size, err);
    free(footer);
    return rc;
}

static int read_trailer(struct mr_spill_file *file, uint64_t length, struct peri_error *err)
{
    char bytes[SPILL_TRAILER_SIZE];
    char start[SPILL_MAGIC_SIZE];
    if (length < SPILL_MAGIC_SIZE + SPILL_TRAILER_SIZE)
        return damaged(file, err, "too short");
    int rc = read_exactly(file, start, sizeof start, 0, err);
    if (rc == 0)
        rc = read_exactly(file, bytes, sizeof bytes, length - sizeof bytes, err);
    if (rc != 0)
        return rc;
    if (memcmp(start, spill_magic, sizeof start) != 0)
        return damaged(file, err, "does not start as a spill file");
    if (!spill_trailer_read(&file->trailer, bytes) || file->trailer.length != length)
        return damaged(file, err, "does not end as a spill file");
    if (file->trailer.partitions < 1 || file->trailer.partitions > MR_PARTITIONS_MAX)
        return damaged(file, err, "the trailer is malformed");
    return 0;
}

static int load(struct mr_spill_file *file, struct env *env, struct peri_error *err)
{
    struct env_stat stat;
    int rc = env_file_open(env, file->path, ENV_FILE_READ, &file->file, err);
    if (rc == 0)
        rc = env_file_stat(file->file, &stat, err);
    if (rc == 0)
        rc = read_trailer(file, stat.size_bytes, err);
    return rc != 0 ? rc : read_footer(file, err);
}

int mr_spill_file_open(struct mr_spill_file **out, struct env *env, const char *path,
                       struct peri_error *err)
{
    struct mr_spill_file *file = calloc(1, sizeof *file);
    if (file == NULL || (file->path = strdup(path)) == NULL) {
        free(file);
        return peri_fail(err, PERI_ENOMEM, "spill %s", path);
    }
    int rc = load(file, env, err);
    if (rc != 0) {
        mr_spill_file_close(file);
        return rc;
    }
    *out = file;
    return 0;
}

uint32_t mr_spill_file_partitions(const struct mr_spill_file *file)
{
    return file->trailer.partitions;
}

const struct mr_spill_part *mr_spill_file_part(const struct mr_spill_file *file, uint32_t part)
{
    PERI_ASSERT(part < file->trailer.partitions);
    return &file->parts[part];
}

size_t mr_spill_file_reader_bytes(const struct mr_spill_file *file)
{
    size_t blocks = file->trailer.may_be_packed ? 2 : 1;
    return sizeof(struct mr_spill_reader) + blocks * file->trailer.block_max +
           2 * (size_t)file->trailer.key_max;
}

void mr_spill_file_close(struct mr_spill_file *file)
{
    if (file == NULL)
        return;
    (void)env_file_close(file->file, NULL);
    free(file->parts);
    free(file->path);
    free(file);
}

/* ---- readers ---- */

int mr_spill_reader_open(struct mr_spill_reader **out, struct mr_spill_file *file, uint32_t part,
                         struct peri_error *err)
{
    PERI_ASSERT(part < file->trailer.partitions);
    struct mr_spill_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return peri_fail(err, PERI_ENOMEM, "spill %s", file->path);
    reader->file = file;
    reader->part = part;
    reader->offset = file->parts[part].offset;
    *out = reader;
    return 0;
}

static int block_damaged(const struct mr_spill_reader *reader, struct peri_error *err,
                         const char *what)
{
    return peri_fail(err, PERI_ECORRUPT,
                     "spill %s: partition %" PRIu32 ": block at offset %" PRIu64 ": %s",
                     reader->file->path, reader->part, reader->offset, what);
}

/* Reads the block at reader->offset, of which limit bytes at most belong to the partition. */
static int read_block(struct mr_spill_reader *reader, uint64_t limit,
                      struct mr_block_header *header, struct peri_error *err)
{
    if (limit < MR_BLOCK_HEADER_SIZE || reader->file->trailer.block_max < MR_BLOCK_HEADER_SIZE)
        return block_damaged(reader, err, "cut short");
    reader->block.size = 0;
    if (peri_buffer_reserve(&reader->block, reader->file->trailer.block_max) != 0)
        return peri_fail(err, PERI_ENOMEM, "spill %s", reader->file->path);
    int rc =
        read_exactly(reader->file, reader->block.data, MR_BLOCK_HEADER_SIZE, reader->offset, err);
    if (rc != 0)
        return rc;
    if (!mr_block_header_read(header, reader->block.data) || header->part != reader->part ||
        header->stored > limit - MR_BLOCK_HEADER_SIZE ||
        header->stored > reader->file->trailer.block_max - MR_BLOCK_HEADER_SIZE ||
        header->raw > reader->file->trailer.block_max)
        return block_damaged(reader, err, "the header is malformed");
    return read_exactly(reader->file, reader->block.data + MR_BLOCK_HEADER_SIZE, header->stored,
                        reader->offset + MR_BLOCK_HEADER_SIZE, err);
}

static int next_block(struct mr_spill_reader *reader, uint64_t limit, struct peri_error *err)
{
    struct mr_block_header header = {0};
    struct peri_slice raw = {0};
    int rc = read_block(reader, limit, &header, err);
    if (rc != 0)
        return rc;
    rc = mr_block_open(&header, reader->block.data, &reader->unpacked, &raw);
    if (rc == PERI_ECORRUPT)
        return block_damaged(reader, err, "the checksum differs");
    if (rc != 0)
        return peri_fail(err, rc, "spill %s", reader->file->path);
    reader->at = raw.data;
    reader->end = raw.data + raw.size;
    reader->left = header.records;
    reader->key.size = 0;
    reader->offset += MR_BLOCK_HEADER_SIZE + header.stored;
    return 0;
}

static int finish_part(const struct mr_spill_reader *reader, struct peri_error *err)
{
    const struct mr_sum *sum = &reader->file->parts[reader->part].sum;
    if (mr_sum_equal(sum, &reader->sum))
        return 0;
    return block_damaged(reader, err, "the partition's records differ from the footer's sum");
}

int mr_spill_reader_next(struct mr_spill_reader *reader, struct peri_slice *key,
                         struct peri_slice *value, struct peri_error *err)
{
    const struct mr_spill_part *part = &reader->file->parts[reader->part];
    while (reader->left == 0) {
        uint64_t end = part->offset + part->length;
        if (reader->at != reader->end)
            return block_damaged(reader, err, "the block before has bytes left");
        if (reader->offset == end)
            return finish_part(reader, err);
        int rc = next_block(reader, end - reader->offset, err);
        if (rc != 0)
            return rc;
    }
    int rc = mr_block_next(&reader->at, reader->end, &reader->key, value);
    if (rc == PERI_ECORRUPT)
        return block_damaged(reader, err, "a record of the block before is malformed");
    if (rc != 0)
        return peri_fail(err, rc, "spill %s", reader->file->path);
    reader->left--;
    *key = peri_buffer_slice(&reader->key);
    mr_sum_add(&reader->sum, *key, *value);
    return 1;
}

void mr_spill_reader_close(struct mr_spill_reader *reader)
{
    if (reader == NULL)
        return;
    peri_buffer_deinit(&reader->block);
    peri_buffer_deinit(&reader->unpacked);
    peri_buffer_deinit(&reader->key);
    free(reader);
}
