#include "node/snapshot_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"

enum { HEAD_SIZE = 4 + 4 + 4 * 8 + 4 + 8 + 8, HASH_AT = HEAD_SIZE - 8, READ_SIZE = 1 << 20 };

static const char magic[4] = {'P', 'S', 'N', 'P'};

void node_snapshot_deinit(struct node_snapshot *snapshot)
{
    peri_buffer_deinit(&snapshot->members);
    peri_buffer_deinit(&snapshot->state);
}

uint64_t node_snapshot_hash(struct peri_slice state)
{
    return XXH3_64bits(state.data, state.size);
}

static int path_of(char out[NODE_SNAPSHOT_PATH_MAX], const char *directory, uint64_t group,
                   uint64_t index, uint64_t term, const char *suffix)
{
    int size = snprintf(out, NODE_SNAPSHOT_PATH_MAX, "%s/g%" PRIu64 "-i%" PRIu64 "-t%" PRIu64 "%s",
                        directory, group, index, term, suffix);
    return size > 0 && size < NODE_SNAPSHOT_PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* ---- writing ---- */

static void make_head(const struct node_snapshot *snapshot, uint32_t version, char head[HEAD_SIZE])
{
    XXH3_state_t hash;
    memcpy(head, magic, sizeof magic);
    bits_put_le32(head + 4, version);
    bits_put_le64(head + 8, snapshot->cluster);
    bits_put_le64(head + 16, snapshot->group);
    bits_put_le64(head + 24, snapshot->index);
    bits_put_le64(head + 32, snapshot->term);
    bits_put_le32(head + 40, (uint32_t)snapshot->members.size);
    bits_put_le64(head + 44, snapshot->state.size);
    (void)XXH3_64bits_reset(&hash);
    (void)XXH3_64bits_update(&hash, head, HASH_AT);
    (void)XXH3_64bits_update(&hash, snapshot->members.data, snapshot->members.size);
    (void)XXH3_64bits_update(&hash, snapshot->state.data, snapshot->state.size);
    bits_put_le64(head + HASH_AT, XXH3_64bits_digest(&hash));
}

static int write_all(struct env_file *file, const struct node_snapshot *snapshot,
                     struct peri_error *err)
{
    char head[HEAD_SIZE];
    make_head(snapshot, NODE_SNAPSHOT_VERSION, head);
    int rc = env_file_write(file, head, sizeof head, err);
    if (rc == 0 && snapshot->members.size > 0)
        rc = env_file_write(file, snapshot->members.data, snapshot->members.size, err);
    if (rc == 0 && snapshot->state.size > 0)
        rc = env_file_write(file, snapshot->state.data, snapshot->state.size, err);
    return rc == 0 ? env_file_sync(file, err) : rc;
}

int node_snapshot_write(struct env *env, const char *directory,
                        const struct node_snapshot *snapshot, struct peri_error *err)
{
    char path[NODE_SNAPSHOT_PATH_MAX], draft[NODE_SNAPSHOT_PATH_MAX];
    struct env_file *file;
    if (path_of(path, directory, snapshot->group, snapshot->index, snapshot->term, "") != 0 ||
        path_of(draft, directory, snapshot->group, snapshot->index, snapshot->term, ".new") != 0)
        return peri_fail(err, -ENAMETOOLONG, "%.200s", directory);
    int rc =
        env_file_open(env, draft, ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE, &file, err);
    if (rc != 0)
        return rc;
    rc = write_all(file, snapshot, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    if (rc == 0)
        rc = closed;
    if (rc == 0)
        rc = env_path_rename(env, draft, path, err);
    if (rc == 0)
        rc = env_path_sync(env, directory, err);
    else
        (void)env_path_remove(env, draft, NULL);
    return rc;
}

/* ---- reading ---- */

/* Reads exactly size bytes to the end of out. */
static int read_part(struct env_file *file, struct peri_buffer *out, uint64_t size,
                     struct peri_error *err)
{
    while (size > 0) {
        size_t piece = size < READ_SIZE ? (size_t)size : READ_SIZE;
        int rc = peri_buffer_reserve(out, piece);
        if (rc != 0)
            return peri_fail(err, rc, "reading a snapshot");
        int64_t count = env_file_read(file, out->data + out->size, piece, err);
        if (count <= 0)
            return count < 0 ? (int)count : peri_fail_plain(err, PERI_ECORRUPT, "it is cut");
        out->size += (size_t)count;
        size -= (uint64_t)count;
    }
    return 0;
}

static int check_head(const char *head, const struct node_snapshot *wanted, struct peri_error *err)
{
    if (memcmp(head, magic, sizeof magic) != 0)
        return peri_fail_plain(err, PERI_ECORRUPT, "it is no snapshot");
    if (bits_get_le64(head + 16) != wanted->group || bits_get_le64(head + 24) != wanted->index ||
        bits_get_le64(head + 32) != wanted->term)
        return peri_fail_plain(err, PERI_ECORRUPT, "it is not the one that its name says");
    return 0;
}

static int read_all(struct env_file *file, struct node_snapshot *out, struct peri_error *err)
{
    struct peri_buffer buffer = {NULL, 0, 0};
    char head[HEAD_SIZE], again[HEAD_SIZE];
    int rc = read_part(file, &buffer, HEAD_SIZE, err);
    if (rc == 0) {
        memcpy(head, buffer.data, HEAD_SIZE);
        rc = check_head(head, out, err);
    }
    peri_buffer_deinit(&buffer);
    if (rc == 0)
        rc = read_part(file, &out->members, bits_get_le32(head + 40), err);
    if (rc == 0)
        rc = read_part(file, &out->state, bits_get_le64(head + 44), err);
    if (rc != 0)
        return rc;
    uint32_t version = bits_get_le32(head + 4);
    uint64_t cluster = out->cluster;
    out->cluster = bits_get_le64(head + 8);
    make_head(out, version, again);
    bool is_foreign = out->cluster != cluster;
    out->cluster = cluster;
    if (memcmp(head, again, HEAD_SIZE) != 0)
        return peri_fail_plain(err, PERI_ECORRUPT, "its checksum is wrong");
    if (version != NODE_SNAPSHOT_VERSION)
        return peri_fail_plain(err, PERI_EVERSION,
                               "it is of format %u, this program knows %d: run the newer one",
                               (unsigned)version, NODE_SNAPSHOT_VERSION);
    if (is_foreign)
        return peri_fail_plain(err, PERI_ECLUSTER, "it is of another cluster");
    return 0;
}

int node_snapshot_read(struct env *env, const char *directory, struct node_snapshot *out,
                       struct peri_error *err)
{
    char path[NODE_SNAPSHOT_PATH_MAX];
    struct env_file *file;
    struct peri_error why = PERI_ERROR_INIT;
    if (path_of(path, directory, out->group, out->index, out->term, "") != 0)
        return peri_fail(err, -ENAMETOOLONG, "%.200s", directory);
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    if (rc != 0)
        return rc;
    rc = read_all(file, out, &why);
    (void)env_file_close(file, NULL);
    return rc == 0 ? 0 : peri_fail_plain(err, rc, "snapshot %.300s: %.150s", path, why.text);
}

/* ---- the directory ---- */

/* Reads "<mark><number>" at *at, and moves behind it. */
static bool read_number(const char **at, char mark, uint64_t *out)
{
    char *end;
    if (**at != mark || (*at)[1] < '0' || (*at)[1] > '9')
        return false;
    *out = strtoull(*at + 1, &end, 10);
    *at = end;
    return true;
}

/* Takes apart what path_of made. */
static bool read_name(const char *name, uint64_t *group, uint64_t *index, uint64_t *term)
{
    if (!read_number(&name, 'g', group) || *name++ != '-' || !read_number(&name, 'i', index) ||
        *name++ != '-' || !read_number(&name, 't', term))
        return false;
    return *name == '\0';
}

int node_snapshot_list(struct env *env, const char *directory, uint64_t group,
                       void (*on_file)(void *data, uint64_t index, uint64_t term), void *data,
                       struct peri_error *err)
{
    struct env_dir *dir;
    const char *name;
    enum env_file_type type;
    int rc = env_dir_open(env, directory, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        uint64_t of, index, term;
        if (read_name(name, &of, &index, &term) && of == group)
            on_file(data, index, term);
    }
    env_dir_close(dir);
    return rc;
}

enum { REMOVED_MAX = 64 };

struct below {
    uint64_t index;
    uint64_t found[REMOVED_MAX][2];
    size_t count;
};

static void note_below(void *data, uint64_t index, uint64_t term)
{
    struct below *below = data;
    if (index >= below->index || below->count == REMOVED_MAX)
        return;
    below->found[below->count][0] = index;
    below->found[below->count++][1] = term;
}

int node_snapshot_remove_below(struct env *env, const char *directory, uint64_t group,
                               uint64_t index, struct peri_error *err)
{
    struct below below = {.index = index};
    char path[NODE_SNAPSHOT_PATH_MAX];
    int rc = node_snapshot_list(env, directory, group, note_below, &below, err);
    for (size_t i = 0; i < below.count && rc == 0; i++) {
        rc = path_of(path, directory, group, below.found[i][0], below.found[i][1], "");
        if (rc == 0)
            rc = env_path_remove(env, path, err);
    }
    return rc;
}
