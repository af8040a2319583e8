#include "sim/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk_internal.h"

/* ---- a crash ---- */

static void reach(struct sim_inode *inode)
{
    inode->is_reached = true;
    for (size_t i = 0; i < inode->durable_names.count; i++)
        reach(inode->durable_names.entries[i].inode); /* a tree: each has one name */
}

static int crash_inode(struct sim_inode *inode, struct sim_node *node)
{
    inode->lock = NULL;
    inode->is_blocked = false;
    int rc = sim_names_revert(node->disk, inode);
    return rc == 0 && inode->is_reached && !inode->is_directory ? sim_inode_crash(inode, node) : rc;
}

/* What no name leads to, but names that are lost themselves. */
static void sweep(struct sim_disk *disk)
{
    for (struct peri_list *at = disk->inodes.next; at != &disk->inodes; at = at->next) {
        struct sim_inode *inode = container_of(at, struct sim_inode, link);
        if (!inode->is_reached) {
            sim_names_deinit(disk, &inode->live_names);
            sim_names_deinit(disk, &inode->durable_names);
        }
    }
    for (struct peri_list *at = disk->inodes.next; at != &disk->inodes;) {
        struct sim_inode *inode = container_of(at, struct sim_inode, link);
        at = at->next;
        inode->is_reached = false;
        sim_inode_release(disk, inode);
    }
}

void sim_disk_crash(struct sim_node *node)
{
    struct sim_disk *disk = node->disk;
    int rc = sim_naming_crash(disk, node->world->now_us, &node->streams[SIM_DISK],
                              node->settings.disk_keep_ppm);
    reach(disk->root);
    for (struct peri_list *at = disk->inodes.next; rc == 0 && at != &disk->inodes; at = at->next)
        rc = crash_inode(container_of(at, struct sim_inode, link), node);
    sweep(disk);
    if (rc != 0)
        sim_world_fail(node->world);
}

/* ---- life ---- */

int sim_disk_create(struct sim_disk **out)
{
    struct sim_disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL)
        return PERI_ENOMEM;
    peri_list_init(&disk->inodes);
    peri_list_init(&disk->journal);
    if (sim_inode_create(disk, true, &disk->root) != 0) {
        free(disk);
        return PERI_ENOMEM;
    }
    disk->root->names = 1; /* itself: nothing removes it */
    *out = disk;
    return 0;
}

void sim_disk_close(struct sim_disk *disk)
{
    if (disk == NULL)
        return;
    sim_journal_deinit(disk);
    disk->root->names--;
    sweep(disk); /* nothing is reached */
    PERI_ASSERT(peri_list_is_empty(&disk->inodes));
    free(disk);
}

/* ---- time and failures of the calls ---- */

static void wait_for_disk(struct sim_node *node, const struct env_delay *delay)
{
    uint64_t now_us = sim_node_now_us(node);
    node->disk->call_us = now_us;
    if (node->disk_stalled_until_us > now_us)
        node->blocked_us += node->disk_stalled_until_us - now_us;
    node->blocked_us += sim_stream_delay(&node->streams[SIM_DISK], delay);
}

int sim_disk_access(struct sim_node *node)
{
    if (!sim_node_is_up(node))
        return PERI_ECANCELLED;
    wait_for_disk(node, &node->settings.disk_delay);
    return 0;
}

uint64_t sim_disk_writeback_us(struct sim_node *node)
{
    return sim_node_now_us(node) +
           sim_stream_delay(&node->streams[SIM_DISK], &node->settings.disk_writeback);
}

int sim_disk_begin_sync(struct sim_node *node, uint64_t *durable_us)
{
    if (!sim_node_is_up(node))
        return PERI_ECANCELLED;
    wait_for_disk(node, &node->settings.disk_sync_delay);
    *durable_us = sim_node_now_us(node);
    return 0;
}

/* ---- for scenarios and tests ---- */

struct sim_disk_usage sim_disk_usage(const struct sim_node *node)
{
    struct sim_disk_usage usage = {.bytes = node->disk->bytes};
    const struct peri_list *inodes = &node->disk->inodes;
    for (const struct peri_list *at = inodes->next; at != inodes; at = at->next) {
        const struct sim_inode *inode = container_of(at, struct sim_inode, link);
        usage.files += inode != node->disk->root;
        usage.reserved_bytes += inode->reserved;
        for (struct peri_list *to = inode->changes.next; to != &inode->changes; to = to->next) {
            const struct sim_change *change = container_of(to, struct sim_change, link);
            if (change->durable_us > node->world->now_us)
                usage.unsynced_bytes += change->size;
        }
    }
    usage.bytes -= usage.reserved_bytes;
    return usage;
}

static bool is_file_with_bytes(const struct sim_inode *inode)
{
    return !inode->is_directory && inode->live.size > 0;
}

static void flip(struct peri_buffer *image, uint64_t at, unsigned bit)
{
    if (at < image->size)
        image->data[at] = (char)(image->data[at] ^ (1 << bit));
}

/* In both images: the medium itself is damaged. */
bool sim_disk_flip_at(struct sim_node *node, uint64_t at, unsigned bit)
{
    struct sim_disk *disk = node->disk;
    for (struct peri_list *link = disk->inodes.next; link != &disk->inodes; link = link->next) {
        struct sim_inode *inode = container_of(link, struct sim_inode, link);
        if (!is_file_with_bytes(inode))
            continue;
        if (at < inode->live.size) {
            (void)sim_inode_settle(inode, node->world->now_us); /* else the flip is written over */
            flip(&inode->live, at, bit);
            flip(&inode->durable, at, bit);
            return true;
        }
        at -= inode->live.size;
    }
    return false;
}

/* One bit of all that the live files hold. */
static void flip_one(struct sim_node *node)
{
    enum { BITS = 8 };
    uint64_t at = sim_stream_below(&node->streams[SIM_DISK], node->disk->bytes * BITS);
    (void)sim_disk_flip_at(node, at / BITS, (unsigned)(at % BITS));
}

void sim_disk_flip(struct sim_node *node, uint64_t count)
{
    for (uint64_t i = 0; i < count && node->disk->bytes > 0; i++)
        flip_one(node);
}

int sim_disk_wipe(struct sim_node *node)
{
    struct sim_disk *empty = NULL;
    int rc = sim_disk_create(&empty);
    if (rc != 0)
        return rc;
    sim_disk_close(node->disk);
    node->disk = empty;
    return 0;
}

int sim_disk_get(const struct sim_node *node, const char *path, struct peri_buffer *out)
{
    char name[SIM_NAME_MAX + 1];
    struct sim_inode *parent = NULL;
    struct sim_inode *inode = NULL;
    int rc = sim_path_find(node->disk, path, &parent, name, &inode);
    if (rc != 0)
        return rc;
    if (inode == NULL)
        return -ENOENT;
    return inode->is_directory ? -EISDIR
                               : peri_buffer_append(out, inode->live.data, inode->live.size);
}

/* Everything that waits is durable now. */
static int settle_all(struct sim_disk *disk, uint64_t now_us)
{
    for (struct peri_list *at = disk->journal.next; at != &disk->journal; at = at->next)
        container_of(at, struct sim_naming, link)->durable_us = now_us;
    return sim_naming_settle(disk, now_us);
}

static int put_file(struct sim_disk *disk, const char *path, struct peri_slice content,
                    uint64_t now_us)
{
    char name[SIM_NAME_MAX + 1];
    struct sim_inode *parent = NULL;
    struct sim_inode *inode = NULL;
    int rc = sim_path_find(disk, path, &parent, name, &inode);
    if (rc == 0 && inode == NULL) {
        rc = sim_inode_create(disk, false, &inode);
        if (rc == 0)
            rc = sim_naming_do(disk, NULL, NULL, parent, name, inode, now_us);
    }
    if (rc == 0 && inode->is_directory)
        rc = -EISDIR;
    if (rc == 0)
        rc = sim_inode_truncate(disk, inode, 0, now_us);
    if (rc == 0)
        rc = sim_inode_write(disk, inode, 0, content.data, content.size, now_us);
    if (rc != 0)
        return rc;
    sim_inode_sync(inode, now_us);
    return sim_inode_settle(inode, now_us);
}

static int make_directory(struct sim_disk *disk, const char *path, uint64_t now_us)
{
    char name[SIM_NAME_MAX + 1];
    struct sim_inode *parent = NULL;
    struct sim_inode *inode = NULL;
    int rc = sim_path_find(disk, path, &parent, name, &inode);
    if (rc != 0 || inode != NULL)
        return rc;
    rc = sim_inode_create(disk, true, &inode);
    return rc == 0 ? sim_naming_do(disk, NULL, NULL, parent, name, inode, now_us) : rc;
}

int sim_disk_put(struct sim_node *node, const char *path, struct peri_slice content,
                 struct peri_error *err)
{
    struct sim_disk *disk = node->disk;
    uint64_t now_us = node->world->now_us;
    char part[SIM_PATH_MAX + 1];
    int rc = strlen(path) <= SIM_PATH_MAX ? 0 : -ENAMETOOLONG;
    for (size_t i = 1; rc == 0 && path[i - 1] != '\0'; i++) {
        part[i - 1] = path[i - 1];
        part[i] = '\0';
        if (path[i] == '/')
            rc = make_directory(disk, part, now_us);
    }
    if (rc == 0)
        rc = put_file(disk, path, content, now_us);
    if (rc == 0)
        rc = settle_all(disk, now_us);
    return rc == 0 ? 0 : peri_fail(err, rc, "put %s on the disk of node %s", path, node->name);
}
