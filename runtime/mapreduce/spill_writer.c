#include <stdlib.h>

#include "base/assert.h"
#include "mapreduce/block.h"
#include "mapreduce/spill_format.h"

struct mr_spill_writer {
    struct env_file *file;
    char *path;
    struct mr_spill_part *parts; /* [options.partitions] */
    struct mr_block block;
    struct mr_spill_options options;
    uint32_t part;      /* that records are being added to */
    uint32_t block_max; /* largest block so far: header and raw bytes */
    uint32_t key_max;   /* longest key so far */
    uint64_t offset;    /* bytes written */
};

static int open_file(struct mr_spill_writer *writer, struct env *env, struct peri_error *err)
{
    int flags = ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE;
    int rc = env_file_open(env, writer->path, flags, &writer->file, err);
    if (rc != 0)
        return rc;
    writer->offset = SPILL_MAGIC_SIZE;
    writer->parts[0].offset = writer->offset;
    rc = env_file_write(writer->file, spill_magic, SPILL_MAGIC_SIZE, err);
    if (rc != 0)
        (void)env_path_remove(env, writer->path, NULL);
    return rc;
}

int mr_spill_writer_open(struct mr_spill_writer **out, struct env *env, const char *path,
                         const struct mr_spill_options *options, struct peri_error *err)
{
    enum { BLOCK_DEFAULT = 256 << 10 };
    struct mr_spill_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return peri_fail(err, PERI_ENOMEM, "spill %s", path);
    writer->options = *options;
    if (writer->options.block_bytes == 0)
        writer->options.block_bytes = BLOCK_DEFAULT;
    writer->path = strdup(path);
    writer->parts = calloc(options->partitions, sizeof *writer->parts);
    int rc = writer->path == NULL || writer->parts == NULL
                 ? peri_fail(err, PERI_ENOMEM, "spill %s", path)
                 : open_file(writer, env, err);
    if (rc != 0) {
        mr_spill_writer_close(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

static int flush_block(struct mr_spill_writer *writer, struct peri_error *err)
{
    if (writer->block.records == 0)
        return 0;
    size_t whole = MR_BLOCK_HEADER_SIZE + mr_block_raw(&writer->block);
    if (whole > writer->block_max)
        writer->block_max = (uint32_t)whole;
    struct peri_slice bytes = mr_block_finish(&writer->block, writer->part, writer->options.lz4);
    int rc = env_file_write(writer->file, bytes.data, bytes.size, err);
    if (rc != 0)
        return rc;
    writer->offset += bytes.size;
    writer->parts[writer->part].length += bytes.size;
    mr_block_clear(&writer->block);
    return 0;
}

/* Ends the partitions before part; those without records are empty ranges. */
static int advance(struct mr_spill_writer *writer, uint32_t part, struct peri_error *err)
{
    int rc = flush_block(writer, err);
    while (rc == 0 && writer->part < part)
        writer->parts[++writer->part].offset = writer->offset;
    return rc;
}

/* A record that would not fit goes into a block of its own, so that small ones stay cheap to read.
 */
static bool is_full(const struct mr_spill_writer *writer, size_t more)
{
    size_t raw = mr_block_raw(&writer->block);
    return raw > 0 && raw + more > writer->options.block_bytes;
}

int mr_spill_writer_add(struct mr_spill_writer *writer, uint32_t part, struct peri_slice key,
                        struct peri_slice value, struct peri_error *err)
{
    PERI_ASSERT(part >= writer->part && part < writer->options.partitions);
    int rc = 0;
    if (key.size > MR_SPILL_RECORD_MAX || value.size > MR_SPILL_RECORD_MAX - key.size)
        return peri_fail(err, PERI_ETOOBIG, "spill %s: a record of %zu bytes", writer->path,
                         key.size + value.size);
    if (part != writer->part)
        rc = advance(writer, part, err);
    else if (is_full(writer, key.size + value.size))
        rc = flush_block(writer, err);
    if (rc != 0)
        return rc;
    rc = mr_block_add(&writer->block, key, value);
    if (rc != 0)
        return peri_fail(err, rc, "spill %s", writer->path);
    if (key.size > writer->key_max)
        writer->key_max = (uint32_t)key.size;
    mr_sum_add(&writer->parts[part].sum, key, value);
    return 0;
}

static int append_footer(const struct mr_spill_writer *writer, struct peri_buffer *out)
{
    size_t size = (size_t)writer->options.partitions * SPILL_ENTRY_SIZE + SPILL_TRAILER_SIZE;
    if (peri_buffer_reserve(out, size) != 0)
        return PERI_ENOMEM;
    for (uint32_t i = 0; i < writer->options.partitions; i++)
        spill_entry_write(&writer->parts[i], out->data + (size_t)i * SPILL_ENTRY_SIZE);
    struct spill_trailer trailer = {
        .block_max = writer->block_max,
        .key_max = writer->key_max,
        .partitions = writer->options.partitions,
        .may_be_packed = writer->options.lz4,
        .footer_offset = writer->offset,
        .length = writer->offset + size,
    };
    spill_trailer_write(&trailer, out->data, size);
    out->size = size;
    return 0;
}

int mr_spill_writer_finish(struct mr_spill_writer *writer, struct peri_error *err)
{
    struct peri_buffer footer = {0};
    int rc = advance(writer, writer->options.partitions - 1, err);
    if (rc != 0)
        return rc;
    rc = append_footer(writer, &footer);
    if (rc != 0)
        return peri_fail(err, rc, "spill %s", writer->path);
    rc = env_file_write(writer->file, footer.data, footer.size, err);
    writer->offset += footer.size;
    peri_buffer_deinit(&footer);
    if (rc != 0)
        return rc;
    rc = env_file_close(writer->file, err);
    writer->file = NULL;
    return rc;
}

const struct mr_spill_part *mr_spill_writer_parts(const struct mr_spill_writer *writer)
{
    return writer->parts;
}

uint64_t mr_spill_writer_bytes(const struct mr_spill_writer *writer)
{
    return writer->offset;
}

void mr_spill_writer_close(struct mr_spill_writer *writer)
{
    if (writer == NULL)
        return;
    (void)env_file_close(writer->file, NULL);
    mr_block_deinit(&writer->block);
    free(writer->parts);
    free(writer->path);
    free(writer);
}
