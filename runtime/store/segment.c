#include "store/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"

enum { CURRENT_BYTES = 32, CHECK_BYTES = 8 };

static const char current_magic[8] = {'P', 'E', 'R', 'I', 'M', 'E', 'M', '1'};

void segment_path(char *out, const char *directory, uint64_t number)
{
    (void)snprintf(out, SEGMENT_PATH_MAX, "%s/%08" PRIu64 ".log", directory, number);
}

int segment_encode(uint64_t sequence, struct peri_slice batch, struct peri_buffer *out)
{
    if (batch.size > UINT32_MAX)
        return PERI_ETOOBIG;
    int rc = peri_buffer_reserve(out, SEGMENT_HEADER_BYTES + batch.size);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    bits_put_le32(at + CHECK_BYTES, (uint32_t)batch.size);
    bits_put_le64(at + CHECK_BYTES + 4, sequence);
    memcpy(at + SEGMENT_HEADER_BYTES, batch.data, batch.size);
    bits_put_le64(at,
                  XXH3_64bits(at + CHECK_BYTES, SEGMENT_HEADER_BYTES - CHECK_BYTES + batch.size));
    out->size += SEGMENT_HEADER_BYTES + batch.size;
    return 0;
}

static bool is_zero(struct peri_slice bytes, size_t at)
{
    while (at < bytes.size && bytes.data[at] == 0)
        at++;
    return at == bytes.size;
}

int segment_next(struct peri_slice bytes, size_t *at, uint64_t *sequence, struct peri_slice *batch)
{
    size_t left = bytes.size - *at;
    if (left < SEGMENT_HEADER_BYTES || is_zero(bytes, *at)) {
        *at = bytes.size;
        return 0;
    }
    const char *in = bytes.data + *at;
    size_t size = bits_get_le32(in + CHECK_BYTES);
    if (size > left - SEGMENT_HEADER_BYTES) {
        *at = bytes.size;
        return 0;
    }
    *at += SEGMENT_HEADER_BYTES + size;
    *sequence = bits_get_le64(in + CHECK_BYTES + 4);
    *batch = peri_slice_of(in + SEGMENT_HEADER_BYTES, size);
    uint64_t check = XXH3_64bits(in + CHECK_BYTES, SEGMENT_HEADER_BYTES - CHECK_BYTES + size);
    return check == bits_get_le64(in) ? 1 : PERI_ECORRUPT;
}

/* ---- files ---- */

int segment_write(struct env *env, const char *directory, uint64_t number, uint64_t offset,
                  struct peri_slice bytes, bool is_synced, struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX];
    struct env_file *file = NULL;
    segment_path(path, directory, number);
    int rc = env_file_open(env, path, ENV_FILE_WRITE | ENV_FILE_CREATE, &file, err);
    if (rc != 0)
        return rc;
    rc = env_file_pwrite(file, bytes.data, bytes.size, offset, err);
    if (rc == 0 && is_synced)
        rc = env_file_sync(file, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    if (rc == 0)
        rc = closed;
    return rc == 0 && is_synced && offset == 0 ? env_path_sync(env, directory, err) : rc;
}

int segment_sync(struct env *env, const char *directory, uint64_t number, struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX];
    struct env_file *file = NULL;
    segment_path(path, directory, number);
    int rc = env_file_open(env, path, ENV_FILE_WRITE, &file, err);
    if (rc == -ENOENT)
        return 0;
    if (rc != 0)
        return rc;
    rc = env_file_sync(file, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    if (rc == 0)
        rc = closed;
    return rc == 0 ? env_path_sync(env, directory, err) : rc;
}

static int read_all(struct env_file *file, struct peri_buffer *out, struct peri_error *err)
{
    struct env_stat stat;
    int rc = env_file_stat(file, &stat, err);
    if (rc == 0 && peri_buffer_reserve(out, (size_t)stat.size_bytes) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "read a segment");
    for (size_t got = 0; rc == 0 && got < stat.size_bytes;) {
        int64_t size =
            env_file_pread(file, out->data + out->size, (size_t)stat.size_bytes - got, got, err);
        if (size <= 0)
            return (int)size;
        got += (size_t)size;
        out->size += (size_t)size;
    }
    return rc;
}

static int read_file(struct env *env, const char *path, struct peri_buffer *out,
                     struct peri_error *err)
{
    struct env_file *file = NULL;
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    if (rc != 0)
        return rc;
    rc = read_all(file, out, err);
    (void)env_file_close(file, NULL);
    return rc;
}

int segment_read(struct env *env, const char *directory, uint64_t number, struct peri_buffer *out,
                 struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX];
    segment_path(path, directory, number);
    return read_file(env, path, out, err);
}

/* ---- CURRENT ---- */

static bool parse_current(struct peri_slice bytes, struct segment_current *out)
{
    if (bytes.data == NULL || bytes.size != CURRENT_BYTES ||
        memcmp(bytes.data, current_magic, sizeof current_magic) != 0 ||
        bits_get_le64(bytes.data + CURRENT_BYTES - CHECK_BYTES) !=
            XXH3_64bits(bytes.data, CURRENT_BYTES - CHECK_BYTES))
        return false;
    *out = (struct segment_current){bits_get_le64(bytes.data + 8), bits_get_le64(bytes.data + 16)};
    return true;
}

int segment_current_read(struct env *env, const char *directory, struct segment_current *out,
                         struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX];
    struct peri_buffer bytes = {0};
    (void)snprintf(path, sizeof path, "%s/CURRENT", directory);
    int rc = read_file(env, path, &bytes, err);
    if (rc == 0 && !parse_current(peri_buffer_slice(&bytes), out))
        rc = peri_fail(err, PERI_ECORRUPT, "read %s", path);
    peri_buffer_deinit(&bytes);
    return rc;
}

static int write_synced(struct env *env, const char *path, struct peri_slice bytes,
                        struct peri_error *err)
{
    struct env_file *file = NULL;
    int rc =
        env_file_open(env, path, ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE, &file, err);
    if (rc != 0)
        return rc;
    rc = env_file_write(file, bytes.data, bytes.size, err);
    if (rc == 0)
        rc = env_file_sync(file, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    return rc == 0 ? closed : rc;
}

int segment_current_write(struct env *env, const char *directory,
                          const struct segment_current *current, struct peri_error *err)
{
    char path[SEGMENT_PATH_MAX], fresh[SEGMENT_PATH_MAX], bytes[CURRENT_BYTES];
    (void)snprintf(path, sizeof path, "%s/CURRENT", directory);
    (void)snprintf(fresh, sizeof fresh, "%s/CURRENT.new", directory);
    memcpy(bytes, current_magic, sizeof current_magic);
    bits_put_le64(bytes + 8, current->oldest);
    bits_put_le64(bytes + 16, current->flushed);
    bits_put_le64(bytes + 24, XXH3_64bits(bytes, CURRENT_BYTES - CHECK_BYTES));
    int rc = write_synced(env, fresh, peri_slice_of(bytes, sizeof bytes), err);
    if (rc == 0)
        rc = env_path_rename(env, fresh, path, err);
    return rc == 0 ? env_path_sync(env, directory, err) : rc;
}
