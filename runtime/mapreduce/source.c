#include "mapreduce/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "mapreduce/decompress.h"

struct mr_source {
    struct env_file *file;
    struct mr_decoder *decoder; /* NULL for plain input */
    char *path;
    uint64_t size;   /* when opened; 0 unless regular */
    uint64_t offset; /* of the next byte to read from file */
    bool is_regular;
    bool is_standard;               /* lent by the process, not ours to close */
    char head[MR_CODEC_MAGIC_SIZE]; /* first bytes of a pipe, read to look at them */
    size_t head_at;
    size_t head_size;
};

static int64_t read_regular(struct mr_source *source, void *out, size_t size,
                            struct peri_error *err)
{
    int64_t count = env_file_pread(source->file, out, size, source->offset, err);
    if (count == 0 && source->offset < source->size)
        return peri_fail_plain(err, PERI_ECORRUPT,
                               "%s: the file shrank from %" PRIu64 " to %" PRIu64
                               " bytes while it was read",
                               source->path, source->size, source->offset);
    return count;
}

static int64_t read_pipe(struct mr_source *source, void *out, size_t size, struct peri_error *err)
{
    size_t kept = source->head_size - source->head_at;
    if (kept == 0)
        return env_file_read(source->file, out, size, err);
    size_t count = kept < size ? kept : size;
    memcpy(out, source->head + source->head_at, count);
    source->head_at += count;
    return (int64_t)count;
}

/* The file's own bytes, compressed or not. */
static int64_t pull(void *data, void *out, size_t size, struct peri_error *err)
{
    struct mr_source *source = data;
    int64_t count = source->is_regular ? read_regular(source, out, size, err)
                                       : read_pipe(source, out, size, err);
    if (count > 0)
        source->offset += (uint64_t)count;
    return count;
}

static int open_file(struct mr_source *source, struct env *env, struct peri_error *err)
{
    source->is_standard = strcmp(source->path, "-") == 0;
    if (source->is_standard) {
        source->file = env_file_stdin(env);
        return 0;
    }
    int rc = env_file_open(env, source->path, ENV_FILE_READ, &source->file, err);
    if (rc != 0)
        return rc;
    struct env_stat stat;
    rc = env_file_stat(source->file, &stat, err);
    if (rc != 0)
        return rc;
    if (stat.type == ENV_TYPE_DIRECTORY)
        return peri_fail(err, -EISDIR, "%s", source->path);
    source->is_regular = stat.type == ENV_TYPE_FILE;
    source->size = source->is_regular ? stat.size_bytes : 0;
    return 0;
}

/* Reads the first bytes without consuming them. */
static int read_head(struct mr_source *source, struct peri_error *err)
{
    while (source->head_size < sizeof source->head) {
        size_t room = sizeof source->head - source->head_size;
        char *put = source->head + source->head_size;
        int64_t count = source->is_regular
                            ? env_file_pread(source->file, put, room, source->head_size, err)
                            : env_file_read(source->file, put, room, err);
        if (count < 0)
            return (int)count;
        if (count == 0)
            return 0;
        source->head_size += (size_t)count;
    }
    return 0;
}

static int choose_codec(struct mr_source *source, bool is_sniffed, enum mr_codec *out,
                        struct peri_error *err)
{
    enum mr_codec promised = mr_codec_of_path(source->path);
    *out = promised;
    if (promised == MR_CODEC_NONE && !is_sniffed)
        return 0;
    int rc = read_head(source, err);
    if (rc != 0)
        return rc;
    enum mr_codec found = mr_codec_of_magic(peri_slice_of(source->head, source->head_size));
    *out = promised != MR_CODEC_NONE ? promised : found;
    return 0;
}

static int open_source(struct mr_source *source, struct env *env, bool is_sniffed,
                       struct peri_error *err)
{
    enum mr_codec codec;
    int rc = open_file(source, env, err);
    if (rc == 0)
        rc = choose_codec(source, is_sniffed, &codec, err);
    if (rc != 0 || codec == MR_CODEC_NONE)
        return rc;
    return mr_decoder_create(&source->decoder, codec, source->path, pull, source, err);
}

int mr_source_open(struct mr_source **out, struct env *env, const char *path, bool is_sniffed,
                   struct peri_error *err)
{
    struct mr_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return peri_fail(err, PERI_ENOMEM, "%s", path);
    source->path = strdup(path);
    int rc = source->path != NULL ? open_source(source, env, is_sniffed, err)
                                  : peri_fail(err, PERI_ENOMEM, "%s", path);
    if (rc != 0) {
        mr_source_close(source);
        return rc;
    }
    *out = source;
    return 0;
}

bool mr_source_is_stream(const struct mr_source *source)
{
    return source->decoder != NULL || !source->is_regular;
}

uint64_t mr_source_size(const struct mr_source *source)
{
    return source->size;
}

void mr_source_seek(struct mr_source *source, uint64_t offset)
{
    PERI_ASSERT(!mr_source_is_stream(source));
    source->offset = offset;
}

int64_t mr_source_read(struct mr_source *source, void *out, size_t size, struct peri_error *err)
{
    if (source->decoder != NULL)
        return mr_decoder_read(source->decoder, out, size, err);
    return pull(source, out, size, err);
}

uint64_t mr_source_offset(const struct mr_source *source)
{
    return source->offset;
}

void mr_source_close(struct mr_source *source)
{
    if (source == NULL)
        return;
    mr_decoder_close(source->decoder);
    if (!source->is_standard)
        (void)env_file_close(source->file, NULL);
    free(source->path);
    free(source);
}
