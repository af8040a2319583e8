/* birth.c - the birth and the age of this node's disk, and the two files of births.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"
#include "node/births.h"

enum {
    COPIES = 3,
    COPY_STRIDE = 4096, /* disks lose whole blocks */
    BIRTH_SIZE = (COPIES - 1) * COPY_STRIDE + BIRTHS_ENTRY_SIZE,
    READ_SIZE = 4096,
    NAME_SIZE = 16,
    PATH_SIZE = 4096,
    AGE_US = 10000000
};

/* ---- files ---- */

/* data: the node's directory. */
static int path_of(const char *data, const char *name, char out[PATH_SIZE], struct peri_error *err)
{
    int size = snprintf(out, PATH_SIZE, "%s/log/%s", data, name);
    return size > 0 && size < PATH_SIZE ? 0 : peri_fail(err, -ENAMETOOLONG, "%.200s", data);
}

int node_births_read(struct env *env, const char *data, const char *name, struct peri_buffer *out,
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

int node_births_write(struct node *node, const char *name, struct peri_slice bytes,
                      struct peri_error *err)
{
    char path[PATH_SIZE], draft[PATH_SIZE], directory[PATH_SIZE], draft_name[NAME_SIZE];
    struct env_file *file = NULL;
    (void)snprintf(draft_name, sizeof draft_name, "%s.new", name);
    int rc = path_of(node->path, name, path, err);
    if (rc == 0)
        rc = path_of(node->path, ".", directory, err);
    if (rc == 0)
        rc = path_of(node->path, draft_name, draft, err);
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

/* Blocks. */
static int write_birth(struct node *node, uint64_t age, struct peri_error *err)
{
    char bytes[BIRTH_SIZE] = {0};
    for (size_t at = 0; at < sizeof bytes; at += COPY_STRIDE) {
        bits_put_le64(bytes + at, node->disk_birth);
        bits_put_le64(bytes + at + 8, age);
        bits_put_le64(bytes + at + 16, XXH3_64bits_withSeed(bytes + at, 16, BIRTHS_SEED));
    }
    return node_births_write(node, "birth", peri_slice_of(bytes, sizeof bytes), err);
}

static int make_birth(struct node *node, struct peri_error *err)
{
    env_random(node->env, &node->disk_birth, sizeof node->disk_birth);
    node->disk_birth |= 1; /* 0 stands for a birth that is not known */
    return write_birth(node, 0, err);
}

/* What an intact copy of the birth says: 0 without one, and *is_there says whether there is a file.
 */
static int read_birth(struct env *env, const char *data, uint64_t *birth, uint64_t *age,
                      bool *is_there, struct peri_error *err)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    int rc = node_births_read(env, data, "birth", &bytes, err);
    *birth = *age = 0;
    *is_there = bytes.size > 0;
    for (size_t at = 0; rc == 0 && at + BIRTHS_PLAIN_SIZE <= bytes.size; at += COPY_STRIDE) {
        const char *copy = bytes.data + at;
        bool has_age = at + BIRTHS_ENTRY_SIZE <= bytes.size &&
                       XXH3_64bits_withSeed(copy, 16, BIRTHS_SEED) == bits_get_le64(copy + 16);
        if (has_age)
            *age = bits_get_le64(copy + 8);
        if (has_age || XXH3_64bits(copy, 8) == bits_get_le64(copy + 8))
            *birth = bits_get_le64(copy);
    }
    peri_buffer_deinit(&bytes);
    return rc;
}

int node_birth_load(struct node *node, struct peri_error *err)
{
    bool is_there = false;
    int rc = read_birth(node->env, node->path, &node->disk_birth, &node->disk_age, &is_there, err);
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
    uint64_t birth = 0, age = 0;
    bool is_there = false;
    int rc = read_birth(env, data, &birth, &age, &is_there, err);
    if (rc != 0 || !is_there || birth != 0)
        return rc;
    rc = path_of(data, "birth", path, err);
    if (rc == 0)
        rc = env_path_remove(env, path, err);
    if (rc == 0)
        rc = path_of(data, ".", path, err);
    return rc == 0 ? env_path_sync(env, path, err) : rc;
}

/* ---- the age of the own disk ---- */

struct aging {
    struct node *node;
    uint64_t age;
    struct peri_error err;
    int rc;
};

static void run_age(void *data)
{
    struct aging *aging = data;
    aging->rc = write_birth(aging->node, aging->age, &aging->err);
}

/* Also to those with whom it has nothing to talk about: they may be who is left to remember. */
static void tell_age(struct node *node, uint64_t age)
{
    node->disk_age = age;
    for (struct peri_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct node_peer *peer = container_of(at, struct node_peer, link);
        if (peer->id != node->options.id && !node->is_closing)
            node_peer_introduce(peer);
    }
}

static void on_aged(void *data, int status)
{
    struct aging *aging = data;
    struct node *node = aging->node;
    node->is_aging = false;
    if (status == 0 && aging->rc == 0)
        tell_age(node, aging->age);
    else if (status == 0) /* a full disk, perhaps: it is younger than it could be */
        env_log(node->env, ENV_LOG_WARN, "node", "the age of the disk stays: %s", aging->err.text);
    free(aging);
    node_release(node);
}

void node_birth_age(struct node *node)
{
    uint64_t now_us = env_now_us(node->env);
    if (node->is_aging || node->is_closing || now_us < node->age_due_us)
        return;
    struct aging *aging = calloc(1, sizeof *aging);
    if (aging == NULL)
        return; /* with the next envelope */
    *aging = (struct aging){.node = node, .age = node->disk_age + 1};
    if (env_work(node->env, run_age, on_aged, aging) != 0) {
        free(aging);
        return;
    }
    node->age_due_us = now_us + AGE_US;
    node->is_aging = true;
    node_hold(node);
}
