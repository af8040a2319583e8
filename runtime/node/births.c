/* births.c - which disk a node is on.
 *
 * A node promised what stands on its disk. One that comes back under its old id with another disk,
 * or an empty one, has forgotten all that, and nobody could tell. So each disk gets a random
 * number, its birth, when a node first opens it; envelopes carry it, and every node remembers
 * durably what it has heard of the others. What comes from another birth than that is not heard.
 * The node itself learns it from the same envelopes, which say for whose disk they are meant.
 * Members introduce themselves when they meet, also to those to whom they have nothing to say.
 * An older copy of the same disk has the same birth, and is not told from it.
 *
 *   log/birth    three copies of: birth u64, check u64, each in a block of the disk of its own; one
 *                that is intact is enough. Without one the node does not open, unless its groups
 *                were forced to go on with other members (recover.h): then it gets another
 *   log/births   of the others: count x (node u64, birth u64), check u64; when it is damaged,
 *                nobody is remembered
 * Numbers are little-endian; a check is XXH3-64 of what stands before it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "env/log.h"
#include "node/state.h"

enum {
    COPIES = 3,
    COPY_SIZE = 16,
    COPY_STRIDE = 4096, /* disks lose whole blocks */
    BIRTH_SIZE = (COPIES - 1) * COPY_STRIDE + COPY_SIZE,
    READ_SIZE = 4096,
    CHECK_SIZE = 8,
    KNOWN_MAX = 1 << 16,
    PATH_SIZE = 4096
};

/* A node, and what disk it was on. */
struct birth {
    uint64_t node, disk;
};

/* ---- files ---- */

/* data: the node's directory. */
static int path_of(const char *data, const char *name, char out[PATH_SIZE], struct peri_error *err)
{
    int size = snprintf(out, PATH_SIZE, "%s/log/%s", data, name);
    return size > 0 && size < PATH_SIZE ? 0 : peri_fail(err, -ENAMETOOLONG, "%.200s", data);
}

/* The whole file; nothing when it is not there. */
static int read_file(struct env *env, const char *data, const char *name, struct peri_buffer *out,
                     struct peri_error *err)
{
    char path[PATH_SIZE];
    struct env_file *file = NULL;
    int64_t got = 1;
    int rc = path_of(data, name, path, err);
    if (rc == 0)
        rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    while (rc == 0 && got > 0) {
        rc = peri_buffer_reserve(out, READ_SIZE);
        if (rc == 0)
            got = env_file_read(file, out->data + out->size, READ_SIZE, err);
        if (rc == 0 && got > 0)
            out->size += (size_t)got;
        if (got < 0)
            rc = (int)got;
    }
    (void)env_file_close(file, NULL);
    return rc == PERI_ENOMEM ? peri_fail(err, rc, "%s", path) : rc;
}

/* Replaces the file durably. */
static int write_file(struct node *node, const char *name, struct peri_slice bytes,
                      struct peri_error *err)
{
    char path[PATH_SIZE], draft[PATH_SIZE], directory[PATH_SIZE];
    struct env_file *file = NULL;
    int rc = path_of(node->path, name, path, err);
    if (rc == 0)
        rc = path_of(node->path, ".", directory, err);
    if (rc == 0)
        rc = path_of(node->path, "birth.new", draft, err);
    if (rc == 0)
        rc = env_file_open(node->env, draft, ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE,
                           &file, err);
    if (rc != 0)
        return rc;
    rc = env_file_write(file, bytes.data, bytes.size, err);
    if (rc == 0)
        rc = env_file_sync(file, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    if (rc == 0)
        rc = closed;
    if (rc == 0)
        rc = env_path_rename(node->env, draft, path, err);
    return rc == 0 ? env_path_sync(node->env, directory, err) : rc;
}

/* ---- the own birth ---- */

static int make_birth(struct node *node, struct peri_error *err)
{
    char bytes[BIRTH_SIZE] = {0};
    env_random(node->env, &node->disk_birth, sizeof node->disk_birth);
    node->disk_birth |= 1; /* 0 stands for a birth that is not known */
    for (size_t at = 0; at < sizeof bytes; at += COPY_STRIDE) {
        bits_put_le64(bytes + at, node->disk_birth);
        bits_put_le64(bytes + at + 8, XXH3_64bits(bytes + at, 8));
    }
    return write_file(node, "birth", peri_slice_of(bytes, sizeof bytes), err);
}

/* What an intact copy of the birth says: 0 without one, and *is_there says whether there is a file.
 */
static int read_birth(struct env *env, const char *data, uint64_t *birth, bool *is_there,
                      struct peri_error *err)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    int rc = read_file(env, data, "birth", &bytes, err);
    *birth = 0;
    *is_there = bytes.size > 0;
    for (size_t at = 0; rc == 0 && at + COPY_SIZE <= bytes.size; at += COPY_STRIDE)
        if (XXH3_64bits(bytes.data + at, 8) == bits_get_le64(bytes.data + at + 8))
            *birth = bits_get_le64(bytes.data + at);
    peri_buffer_deinit(&bytes);
    return rc;
}

static int load_birth(struct node *node, struct peri_error *err)
{
    bool is_there = false;
    int rc = read_birth(node->env, node->path, &node->disk_birth, &is_there, err);
    if (rc == 0 && is_there && node->disk_birth == 0)
        rc =
            peri_fail_plain(err, PERI_ECORRUPT,
                            "%s/log/birth is damaged: nobody can tell whether this is the disk of "
                            "node %" PRIu64 ": remove member %" PRIu64 " from its groups, and open "
                            "it under a new id, with an empty directory; when they have no "
                            "majority without it, see perilune recover --force",
                            node->path, node->options.id, node->options.id);
    if (rc == 0 && !is_there)
        rc = make_birth(node, err);
    return rc;
}

int node_births_renew(struct env *env, const char *data, struct peri_error *err)
{
    char path[PATH_SIZE];
    uint64_t birth = 0;
    bool is_there = false;
    int rc = read_birth(env, data, &birth, &is_there, err);
    if (rc != 0 || !is_there || birth != 0)
        return rc;
    rc = path_of(data, "birth", path, err);
    if (rc == 0)
        rc = env_path_remove(env, path, err);
    if (rc == 0)
        rc = path_of(data, ".", path, err);
    return rc == 0 ? env_path_sync(env, path, err) : rc;
}

/* ---- the others ---- */

static struct birth *find(const struct node *node, uint64_t id)
{
    struct birth *at = (struct birth *)(void *)node->births.data;
    for (size_t i = 0; i < node->births.size / sizeof *at; i++)
        if (at[i].node == id)
            return &at[i];
    return NULL;
}

static int load_others(struct node *node, struct peri_error *err)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    int rc = read_file(node->env, node->path, "births", &bytes, err);
    size_t size = bytes.size >= CHECK_SIZE ? bytes.size - CHECK_SIZE : 0;
    bool is_intact = size > 0 && XXH3_64bits(bytes.data, size) == bits_get_le64(bytes.data + size);
    for (size_t at = 0; rc == 0 && is_intact && at + COPY_SIZE <= size; at += COPY_SIZE) {
        const struct birth birth = {bits_get_le64(bytes.data + at),
                                    bits_get_le64(bytes.data + at + 8)};
        if (peri_buffer_append(&node->births, &birth, sizeof birth) != 0)
            rc = peri_fail(err, PERI_ENOMEM, "%s/log/births", node->path);
    }
    peri_buffer_deinit(&bytes);
    return rc;
}

int node_births_load(struct node *node, struct peri_error *err)
{
    int rc = load_birth(node, err);
    return rc == 0 ? load_others(node, err) : rc;
}

struct keeping {
    struct node *node;
    struct peri_buffer bytes;
    struct peri_error err;
    int rc;
};

static void run_keep(void *data)
{
    struct keeping *keeping = data;
    keeping->rc =
        write_file(keeping->node, "births", peri_buffer_slice(&keeping->bytes), &keeping->err);
}

static void keep(struct node *node);

static void on_kept(void *data, int status)
{
    struct keeping *keeping = data;
    struct node *node = keeping->node;
    node->is_keeping_births = false;
    if (status == 0 && keeping->rc != 0)
        env_log(node->env, ENV_LOG_WARN, "node", "births of others are not kept: %s",
                keeping->err.text);
    if (status == 0 && !node->is_closing && node->has_new_births)
        keep(node);
    peri_buffer_deinit(&keeping->bytes);
    free(keeping);
    node_release(node);
}

static int encode(const struct node *node, struct peri_buffer *out)
{
    const struct birth *at = (const struct birth *)(const void *)node->births.data;
    char bytes[COPY_SIZE];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < node->births.size / sizeof *at; i++) {
        bits_put_le64(bytes, at[i].node);
        bits_put_le64(bytes + 8, at[i].disk);
        rc = peri_buffer_append(out, bytes, sizeof bytes);
    }
    bits_put_le64(bytes, XXH3_64bits(out->data, out->size));
    return rc == 0 ? peri_buffer_append(out, bytes, CHECK_SIZE) : rc;
}

/* Writes what is known, in the background, one file after the other. */
static void keep(struct node *node)
{
    struct keeping *keeping = calloc(1, sizeof *keeping);
    if (keeping == NULL)
        return; /* with the next one */
    keeping->node = node;
    if (encode(node, &keeping->bytes) != 0 ||
        env_work(node->env, run_keep, on_kept, keeping) != 0) {
        peri_buffer_deinit(&keeping->bytes);
        free(keeping);
        return;
    }
    node->has_new_births = false;
    node->is_keeping_births = true;
    node_hold(node);
}

static void remember(struct node *node, uint64_t id, uint64_t disk)
{
    const struct birth birth = {id, disk};
    if (node->births.size / sizeof birth >= KNOWN_MAX ||
        peri_buffer_append(&node->births, &birth, sizeof birth) != 0)
        return; /* with its next envelope */
    node->has_new_births = true;
    if (!node->is_keeping_births)
        keep(node);
}

uint64_t node_births_of(const struct node *node, uint64_t id)
{
    const struct birth *birth = find(node, id);
    return birth != NULL ? birth->disk : 0;
}

/* Notes it with the peer, and tells people once. */
static int refuse(struct node *node, uint64_t from, bool is_own, struct peri_error *err)
{
    struct node_peer *peer = node_peer_find(node, from);
    uint64_t id = is_own ? node->options.id : from, other = is_own ? from : node->options.id;
    (void)peri_fail_plain(err, PERI_EPROTOCOL,
                          "node %" PRIu64 " is on another disk than the one that node %" PRIu64
                          " knows, and has forgotten what it promised: remove member %" PRIu64
                          " from its groups, and open it under a new id, with an empty directory",
                          id, other, id);
    bool is_told = peer != NULL && (is_own ? peer->knows_other_disk : peer->is_on_other_disk);
    if (peer != NULL && is_own)
        peer->knows_other_disk = true;
    else if (peer != NULL)
        peer->is_on_other_disk = true;
    if (!is_told)
        env_log(node->env, ENV_LOG_ERROR, "node", "%s", err->text);
    return PERI_EPROTOCOL;
}

int node_births_check(struct node *node, const struct node_envelope *envelope,
                      struct peri_error *err)
{
    uint64_t known = node_births_of(node, envelope->from);
    struct node_peer *peer = node_peer_find(node, envelope->from);
    if (envelope->to_disk == 0 && peer != NULL)
        node_peer_introduce(peer);
    if (envelope->to_disk != 0 && envelope->to_disk != node->disk_birth)
        return refuse(node, envelope->from, true, err);
    if (known == 0)
        remember(node, envelope->from, envelope->from_disk);
    else if (known != envelope->from_disk)
        return refuse(node, envelope->from, false, err);
    return 0;
}
