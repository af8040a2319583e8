#include "store/log_witness.h"

#include <errno.h>
#include <stdio.h>

#include "base/bits.h"
#include "store/log_format.h"
#include "store/log_internal.h"

enum { SLOT_BYTES = 4096, SLOT_HEADER_BYTES = 20 };

static void witness_path(char *out, const char *log_path)
{
    (void)snprintf(out, LOG_PATH_MAX, "%s/witness", log_path);
}

int log_witness_encode(uint64_t generation, const struct log_summary *summary,
                       struct peri_buffer *out)
{
    struct log_summary kept = *summary;
    out->size = 0;
    int rc = peri_buffer_reserve(out, SLOT_HEADER_BYTES);
    if (rc != 0)
        return rc;
    out->size = SLOT_HEADER_BYTES;
    kept.before_count = 0;
    rc = log_summary_encode(&kept, out);
    if (rc == 0 && out->size > SLOT_BYTES) {
        out->size = SLOT_HEADER_BYTES;
        kept.touched_count = 0;
        rc = log_summary_encode(&kept, out);
    }
    if (rc != 0) {
        out->size = 0;
        return rc;
    }
    bits_put_le32(out->data, (uint32_t)(out->size - SLOT_HEADER_BYTES));
    bits_put_le64(out->data + 4, summary->batch);
    bits_put_le64(out->data + 12, generation);
    return 0;
}

int log_witness_write(struct env *env, const char *log_path, struct peri_slice slot, bool is_synced,
                      struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct env_file *file = NULL;
    if (slot.size == 0)
        return 0;
    witness_path(path, log_path);
    int rc = env_file_open(env, path, ENV_FILE_WRITE | ENV_FILE_CREATE, &file, err);
    if (rc != 0)
        return rc;
    uint64_t batch = bits_get_le64(slot.data + 4);
    rc = env_file_pwrite(file, slot.data, slot.size, batch % 2 * SLOT_BYTES, err);
    if (rc == 0 && is_synced)
        rc = env_file_sync(file, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    rc = rc == 0 ? closed : rc;
    return rc == 0 && is_synced ? env_path_sync(env, log_path, err) : rc;
}

static int read_slot(struct peri_slice slot, struct log_witness *out)
{
    struct peri_buffer touched = {0}, before = {0};
    if (slot.size < SLOT_HEADER_BYTES || bits_get_le32(slot.data) == 0)
        return 0; /* nothing was written here yet */
    size_t size = bits_get_le32(slot.data);
    uint64_t batch = bits_get_le64(slot.data + 4), generation = bits_get_le64(slot.data + 12);
    int rc = PERI_ECORRUPT;
    if (size <= slot.size - SLOT_HEADER_BYTES)
        rc = log_summary_decode(batch, peri_slice_of(slot.data + SLOT_HEADER_BYTES, size), &touched,
                                &before);
    peri_buffer_deinit(&before);
    if (rc == 0 && batch > out->batch) {
        peri_buffer_deinit(&out->touched);
        out->batch = batch;
        out->generation = generation;
        out->touched = touched;
        return 0;
    }
    peri_buffer_deinit(&touched);
    out->is_damaged = out->is_damaged || rc == PERI_ECORRUPT;
    return rc == PERI_ENOMEM ? rc : 0;
}

int log_witness_read(struct env *env, const char *log_path, struct log_witness *out,
                     struct peri_error *err)
{
    char path[LOG_PATH_MAX], slot[SLOT_BYTES];
    struct env_file *file = NULL;
    *out = (struct log_witness){.batch = 0};
    witness_path(path, log_path);
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    if (rc == -ENOENT)
        return 0;
    if (rc != 0)
        return rc;
    for (uint64_t i = 0; rc == 0 && i < 2; i++) {
        int64_t got = env_file_pread(file, slot, sizeof slot, i * SLOT_BYTES, err);
        rc = got < 0 ? (int)got : read_slot(peri_slice_of(slot, (size_t)got), out);
    }
    (void)env_file_close(file, NULL);
    if (rc != 0)
        peri_buffer_deinit(&out->touched);
    return rc;
}

/* ---- the census ---- */

static int write_new(struct env *env, const char *path, struct peri_slice bytes,
                     struct peri_error *err)
{
    struct env_file *file = NULL;
    int flags = ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE;
    int rc = env_file_open(env, path, flags, &file, err);
    if (rc != 0)
        return rc;
    rc = env_file_write(file, bytes.data, bytes.size, err);
    if (rc == 0)
        rc = env_file_sync(file, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    return rc == 0 ? closed : rc;
}

int log_census_write(struct env *env, const char *log_path, struct peri_slice census,
                     struct peri_error *err)
{
    char path[LOG_PATH_MAX], fresh[LOG_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/census", log_path);
    (void)snprintf(fresh, sizeof fresh, "%s/census.new", log_path);
    int rc = write_new(env, fresh, census, err);
    if (rc == 0)
        rc = env_path_rename(env, fresh, path, err);
    return rc == 0 ? env_path_sync(env, log_path, err) : rc;
}

static int read_census(struct env_file *file, struct peri_buffer *bytes, struct peri_error *err)
{
    struct env_stat stat;
    int rc = env_file_stat(file, &stat, err);
    if (rc == 0 && peri_buffer_reserve(bytes, (size_t)stat.size_bytes + 1) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "read the census");
    while (rc == 0 && bytes->size < stat.size_bytes) {
        int64_t got = env_file_pread(file, bytes->data + bytes->size,
                                     (size_t)stat.size_bytes - bytes->size, bytes->size, err);
        if (got <= 0)
            return (int)got;
        bytes->size += (size_t)got;
    }
    return rc;
}

int log_census_read(struct env *env, const char *log_path, struct peri_buffer *out,
                    struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct peri_buffer bytes = {0}, before = {0};
    struct env_file *file = NULL;
    (void)snprintf(path, sizeof path, "%s/census", log_path);
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    if (rc == -ENOENT)
        return 0;
    if (rc != 0)
        return rc;
    rc = read_census(file, &bytes, err);
    (void)env_file_close(file, NULL);
    if (rc == 0)
        rc = log_summary_decode(0, peri_buffer_slice(&bytes), out, &before);
    if (rc == PERI_ECORRUPT) {
        out->size = 0;
        rc = 0;
    }
    peri_buffer_deinit(&bytes);
    peri_buffer_deinit(&before);
    return rc;
}
