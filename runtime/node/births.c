/* births.c - which disk a node is on.
 *
 * A node promised what stands on its disk. One that comes back under its old id with another disk,
 * or an empty one, has forgotten all that, and nobody could tell. So each disk gets a random
 * number, its birth, when a node first opens it; envelopes carry it, and every node remembers
 * durably what it has heard of the others. What comes from another birth than that is not heard.
 * The node itself learns it from the same envelopes, which say for whose disk they are meant.
 * Members introduce themselves when they meet, also to those to whom they have nothing to say.
 *
 * An older copy of the same disk, from a backup, has the same birth. So a disk has an age, too,
 * that a node counts on every AGE_US while others talk to it, and tells when it is durable. Who
 * remembers a later one does not hear the node, and says so; the node then hears nobody any more. A
 * copy that is younger than AGE_US, or that nobody remembers, is not noticed.
 *
 *   log/birth    three copies of: birth u64, age u64, check u64, each in a block of the disk of its
 *                own; one that is intact is enough. Without one the node does not open, unless its
 *                groups were forced to go on with other members (recover.h): then it gets another
 *   log/births   of the others: count x (node u64, birth u64, age u64), check u64; when it is
 *                damaged, nobody is remembered
 * Numbers are little-endian; a check is XXH3-64 of what stands before it, with a seed. Earlier
 * builds wrote no ages, and had none. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "env/log.h"
#include "node/births.h"

enum { CHECK_SIZE = 8, KNOWN_MAX = 1 << 16 };

/* A node, and what disk it was on. */
struct birth {
    uint64_t node, disk, age;
};

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
    int rc = node_births_read(node->env, node->path, "births", &bytes, err);
    size_t size = bytes.size >= CHECK_SIZE ? bytes.size - CHECK_SIZE : 0;
    uint64_t check = size > 0 ? bits_get_le64(bytes.data + size) : 0;
    bool has_ages = size > 0 && XXH3_64bits_withSeed(bytes.data, size, BIRTHS_SEED) == check;
    bool is_intact = has_ages || (size > 0 && XXH3_64bits(bytes.data, size) == check);
    size_t stride = has_ages ? BIRTHS_ENTRY_SIZE : BIRTHS_PLAIN_SIZE;
    for (size_t at = 0; rc == 0 && is_intact && at + stride <= size; at += stride) {
        const struct birth birth = {bits_get_le64(bytes.data + at),
                                    bits_get_le64(bytes.data + at + 8),
                                    has_ages ? bits_get_le64(bytes.data + at + 16) : 0};
        if (peri_buffer_append(&node->births, &birth, sizeof birth) != 0)
            rc = peri_fail(err, PERI_ENOMEM, "%s/log/births", node->path);
    }
    peri_buffer_deinit(&bytes);
    return rc;
}

int node_births_load(struct node *node, struct peri_error *err)
{
    int rc = node_birth_load(node, err);
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
    keeping->rc = node_births_write(keeping->node, "births", peri_buffer_slice(&keeping->bytes),
                                    &keeping->err);
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
    char bytes[BIRTHS_ENTRY_SIZE];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < node->births.size / sizeof *at; i++) {
        bits_put_le64(bytes, at[i].node);
        bits_put_le64(bytes + 8, at[i].disk);
        bits_put_le64(bytes + 16, at[i].age);
        rc = peri_buffer_append(out, bytes, sizeof bytes);
    }
    bits_put_le64(bytes, XXH3_64bits_withSeed(out->data, out->size, BIRTHS_SEED));
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

static void keep_soon(struct node *node)
{
    node->has_new_births = true;
    if (!node->is_keeping_births)
        keep(node);
}

static void remember(struct node *node, const struct node_envelope *envelope)
{
    const struct birth birth = {envelope->from, envelope->from_disk, envelope->from_age};
    if (node->births.size / sizeof birth >= KNOWN_MAX ||
        peri_buffer_append(&node->births, &birth, sizeof birth) != 0)
        return; /* with its next envelope */
    keep_soon(node);
}

uint64_t node_births_of(const struct node *node, uint64_t id, uint64_t *age)
{
    const struct birth *birth = find(node, id);
    *age = birth != NULL ? birth->age : 0;
    return birth != NULL ? birth->disk : 0;
}

/* ---- who is heard ---- */

/* This node's disk is not what it was: somebody has heard more of it. */
static int refuse_all(struct node *node, uint64_t from, struct peri_error *err)
{
    (void)peri_fail_plain(err, PERI_EPROTOCOL,
                          "the disk of node %" PRIu64 " is an older copy of the one that node "
                          "%" PRIu64
                          " knows (a backup?), and has forgotten what it promised since: "
                          "remove member %" PRIu64 " from its groups, and open it under a new id, "
                          "with an empty directory",
                          node->options.id, from, node->options.id);
    if (!node->is_old_copy)
        env_log(node->env, ENV_LOG_ERROR, "node", "%s", err->text);
    node->is_old_copy = true;
    return PERI_EPROTOCOL;
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
    struct birth *known = find(node, envelope->from);
    struct node_peer *peer = node_peer_find(node, envelope->from);
    bool is_younger =
        known != NULL && known->disk == envelope->from_disk && envelope->from_age < known->age;
    if ((envelope->to_disk == 0 || is_younger) && peer != NULL)
        node_peer_introduce(peer);
    if (envelope->to_disk != 0 && envelope->to_disk != node->disk_birth)
        return refuse(node, envelope->from, true, err);
    if (node->is_old_copy || (envelope->to_disk != 0 && envelope->to_age > node->disk_age))
        return refuse_all(node, envelope->from, err);
    if (known != NULL && known->disk != envelope->from_disk)
        return refuse(node, envelope->from, false, err);
    if (is_younger) /* it hears why; or this came late, and another one is on its way */
        return peri_fail(err, PERI_EPROTOCOL, "node %" PRIu64 " on an older copy of its disk",
                         envelope->from);
    if (known == NULL) {
        remember(node, envelope);
    } else if (known->age < envelope->from_age) {
        known->age = envelope->from_age;
        keep_soon(node);
    }
    node_birth_age(node);
    return 0;
}
