#include "store/log_witness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "store/log_format.h"
#include "store/log_internal.h"

enum {
    COPIES = 2,
    COPY_BYTES = 4096, /* disks lose whole blocks */
    PLACES = 2,
    PLACE_BYTES = COPIES * COPY_BYTES,
    COPY_HEADER_BYTES = 20,
    COPY_CHECK_BYTES = 8
};

static void witness_path(char *out, const char *log_path)
{
    (void)snprintf(out, LOG_PATH_MAX, "%s/witness", log_path);
}

/* One copy: header, summary, check. */
static int encode_copy(uint64_t generation, const struct log_summary *summary,
                       struct peri_buffer *out)
{
    out->size = 0;
    int rc = peri_buffer_reserve(out, PLACE_BYTES);
    if (rc != 0)
        return rc;
    out->size = COPY_HEADER_BYTES;
    rc = log_summary_encode(summary, out);
    if (rc != 0)
        return rc;
    bits_put_le32(out->data, (uint32_t)(out->size - COPY_HEADER_BYTES));
    bits_put_le64(out->data + 4, summary->batch);
    bits_put_le64(out->data + 12, generation);
    char check[COPY_CHECK_BYTES];
    bits_put_le64(check, XXH3_64bits(out->data, out->size));
    return peri_buffer_append(out, check, sizeof check);
}

int log_witness_encode(uint64_t generation, const struct log_summary *summary,
                       struct peri_buffer *out)
{
    struct log_summary kept = *summary;
    kept.before_count = 0;
    int rc = encode_copy(generation, &kept, out);
    if (rc == 0 && out->size > COPY_BYTES) {
        kept.touched_count = 0;
        rc = encode_copy(generation, &kept, out);
    }
    if (rc != 0) {
        out->size = 0;
        return rc;
    }
    memset(out->data + out->size, 0, PLACE_BYTES - out->size);
    memcpy(out->data + COPY_BYTES, out->data, out->size);
    out->size += COPY_BYTES; /* zeros behind the last copy are of no use */
    return 0;
}

struct peri_buffer *log_witness_next(struct log_witness_writer *writer)
{
    return &writer->slots[1 - writer->newest];
}

void log_witness_advance(struct log_witness_writer *writer)
{
    writer->newest = 1 - writer->newest;
    writer->is_due = true;
}

static int open_witness(struct log_witness_writer *writer, struct env *env, const char *log_path,
                        struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    witness_path(path, log_path);
    return env_file_open(env, path, ENV_FILE_WRITE | ENV_FILE_CREATE, &writer->file, err);
}

int log_witness_write(struct log_witness_writer *writer, struct env *env, const char *log_path,
                      bool is_synced, struct peri_error *err)
{
    struct peri_slice slot = peri_buffer_slice(&writer->slots[writer->newest]);
    if (slot.size == 0 || !(writer->is_due || is_synced))
        return 0;
    int rc = writer->file == NULL ? open_witness(writer, env, log_path, err) : 0;
    if (rc == 0 && writer->is_due)
        rc = env_file_pwrite(writer->file, slot.data, slot.size,
                             bits_get_le64(slot.data + 4) % PLACES * PLACE_BYTES, err);
    writer->is_due = rc != 0;
    if (rc == 0 && is_synced)
        rc = env_file_sync(writer->file, err);
    return rc == 0 && is_synced ? env_path_sync(env, log_path, err) : rc;
}

void log_witness_close(struct log_witness_writer *writer)
{
    (void)env_file_close(writer->file, NULL);
    writer->file = NULL;
}

void log_witness_deinit(struct log_witness_writer *writer)
{
    for (size_t i = 0; i < 2; i++)
        peri_buffer_deinit(&writer->slots[i]);
}

/* Sets *is_intact. Errors: PERI_ENOMEM. */
static int read_copy(struct peri_slice copy, struct log_witness *out, bool *is_intact)
{
    struct peri_buffer touched = {0}, before = {0};
    if (copy.size < COPY_HEADER_BYTES + COPY_CHECK_BYTES)
        return 0;
    size_t size = bits_get_le32(copy.data), checked = COPY_HEADER_BYTES + size;
    if (size > copy.size - COPY_HEADER_BYTES - COPY_CHECK_BYTES ||
        bits_get_le64(copy.data + checked) != XXH3_64bits(copy.data, checked))
        return 0;
    uint64_t batch = bits_get_le64(copy.data + 4);
    int rc = log_summary_decode(batch, peri_slice_of(copy.data + COPY_HEADER_BYTES, size), &touched,
                                &before);
    peri_buffer_deinit(&before);
    *is_intact = *is_intact || rc == 0;
    if (rc == 0 && batch > out->batch) {
        peri_buffer_deinit(&out->touched);
        out->batch = batch;
        out->generation = bits_get_le64(copy.data + 12);
        out->touched = touched;
        return 0;
    }
    peri_buffer_deinit(&touched);
    return rc == PERI_ENOMEM ? rc : 0;
}

static int read_place(struct env_file *file, uint64_t place, struct log_witness *out,
                      struct peri_error *err)
{
    char copy[COPY_BYTES];
    bool is_intact = false;
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < COPIES; i++) {
        uint64_t at = place * PLACE_BYTES + i * COPY_BYTES;
        int64_t got = env_file_pread(file, copy, sizeof copy, at, err);
        rc = got < 0 ? (int)got : read_copy(peri_slice_of(copy, (size_t)got), out, &is_intact);
    }
    out->is_lost = out->is_lost || !is_intact;
    return rc;
}

int log_witness_read(struct env *env, const char *log_path, struct log_witness *out,
                     struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct env_file *file = NULL;
    *out = (struct log_witness){.batch = 0};
    witness_path(path, log_path);
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    out->is_lost = rc == -ENOENT;
    out->is_there = rc == 0;
    if (rc != 0)
        return out->is_lost ? 0 : rc;
    for (uint64_t i = 0; rc == 0 && i < PLACES; i++)
        rc = read_place(file, i, out, err);
    (void)env_file_close(file, NULL);
    if (rc != 0)
        peri_buffer_deinit(&out->touched);
    return rc;
}

/* ---- whole files ---- */

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

/* Replaces a file of the log durably. */
static int replace(struct env *env, const char *log_path, const char *name, struct peri_slice bytes,
                   struct peri_error *err)
{
    char path[LOG_PATH_MAX], fresh[LOG_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", log_path, name);
    (void)snprintf(fresh, sizeof fresh, "%s/%s.new", log_path, name);
    int rc = write_new(env, fresh, bytes, err);
    if (rc == 0)
        rc = env_path_rename(env, fresh, path, err);
    return rc == 0 ? env_path_sync(env, log_path, err) : rc;
}

int log_witness_begin(struct log_witness_writer *writer, struct env *env, const char *log_path,
                      struct peri_error *err)
{
    struct peri_buffer bytes = {0};
    struct peri_slice slot = peri_buffer_slice(&writer->slots[writer->newest]);
    if (slot.size == 0)
        return 0;
    int rc = peri_buffer_reserve(&bytes, PLACES * PLACE_BYTES);
    if (rc != 0)
        return peri_fail(err, rc, "the witness of log %s", log_path);
    memset(bytes.data, 0, PLACES * PLACE_BYTES);
    for (size_t i = 0; i < PLACES; i++)
        memcpy(bytes.data + i * PLACE_BYTES, slot.data, slot.size);
    bytes.size = PLACES * PLACE_BYTES;
    rc = replace(env, log_path, "witness", peri_buffer_slice(&bytes), err);
    peri_buffer_deinit(&bytes);
    writer->is_due = rc != 0;
    return rc == 0 ? open_witness(writer, env, log_path, err) : rc;
}

/* ---- the census ---- */

enum { CENSUS_HEADER_BYTES = 4 };

int log_census_write(struct env *env, const char *log_path, struct peri_slice census,
                     struct peri_error *err)
{
    struct peri_buffer bytes = {0};
    size_t copy_bytes = COPY_BYTES;
    while (copy_bytes - CENSUS_HEADER_BYTES < census.size)
        copy_bytes += COPY_BYTES;
    int rc = peri_buffer_reserve(&bytes, COPIES * copy_bytes);
    if (rc != 0)
        return peri_fail(err, rc, "the census of log %s", log_path);
    bytes.size = COPIES * copy_bytes;
    memset(bytes.data, 0, bytes.size);
    for (size_t i = 0; i < COPIES; i++) {
        bits_put_le32(bytes.data + i * copy_bytes, (uint32_t)census.size);
        memcpy(bytes.data + i * copy_bytes + CENSUS_HEADER_BYTES, census.data, census.size);
    }
    rc = replace(env, log_path, "census", peri_buffer_slice(&bytes), err);
    peri_buffer_deinit(&bytes);
    return rc;
}

/* Appends what the first intact copy says to out. Errors: PERI_ECORRUPT when there is none,
 * PERI_ENOMEM. */
static int decode_census(struct peri_slice bytes, struct peri_buffer *out)
{
    size_t copy_bytes = bytes.size / COPIES;
    int rc = PERI_ECORRUPT;
    if (bytes.data == NULL || copy_bytes < COPY_BYTES)
        return rc;
    for (size_t i = 0; i < COPIES && rc == PERI_ECORRUPT; i++) {
        const char *copy = bytes.data + i * copy_bytes;
        struct peri_buffer before = {0};
        size_t size = bits_get_le32(copy);
        if (size > copy_bytes - CENSUS_HEADER_BYTES)
            continue;
        out->size = 0;
        rc = log_summary_decode(0, peri_slice_of(copy + CENSUS_HEADER_BYTES, size), out, &before);
        peri_buffer_deinit(&before);
    }
    return rc;
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

int log_census_read(struct env *env, const char *log_path, struct peri_buffer *out, bool *is_lost,
                    struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct peri_buffer bytes = {0};
    struct env_file *file = NULL;
    (void)snprintf(path, sizeof path, "%s/census", log_path);
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    *is_lost = rc == -ENOENT;
    if (rc != 0)
        return *is_lost ? 0 : rc;
    rc = read_census(file, &bytes, err);
    (void)env_file_close(file, NULL);
    if (rc == 0)
        rc = decode_census(peri_buffer_slice(&bytes), out);
    *is_lost = rc == PERI_ECORRUPT;
    if (*is_lost) {
        out->size = 0;
        rc = 0;
    }
    peri_buffer_deinit(&bytes);
    return rc;
}
