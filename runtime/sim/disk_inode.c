/* disk_inode.c - contents of a simulated disk: two images of each file, and the changes between
 * them. */
#include <stdlib.h>
#include <string.h>

#include "sim/disk_internal.h"

/* ---- images ---- */

int sim_image_write(struct peri_buffer *image, uint64_t offset, const void *bytes, size_t size)
{
    size_t end = (size_t)offset + size;
    if (end > image->size) {
        size_t more = end - image->size;
        if (peri_buffer_reserve(image, more) != 0)
            return PERI_ENOMEM;
        memset(image->data + image->size, 0, more);
        image->size = end;
    }
    if (size > 0 && image->data != NULL) /* else size is 0 as well */
        memcpy(image->data + offset, bytes, size);
    return 0;
}

static int resize(struct peri_buffer *image, uint64_t size)
{
    if (size > image->size)
        return sim_image_write(image, size, NULL, 0);
    image->size = (size_t)size;
    return 0;
}

static int apply(struct peri_buffer *image, const struct sim_change *change)
{
    return change->is_truncation
               ? resize(image, change->offset)
               : sim_image_write(image, change->offset, change->bytes, change->size);
}

static int copy_image(struct peri_buffer *to, const struct peri_buffer *from)
{
    to->size = 0;
    return from->size == 0 ? 0 : peri_buffer_append(to, from->data, from->size);
}

/* ---- inodes ---- */

int sim_inode_create(struct sim_disk *disk, bool is_directory, struct sim_inode **out)
{
    struct sim_inode *inode = calloc(1, sizeof *inode);
    if (inode == NULL)
        return PERI_ENOMEM;
    inode->id = ++disk->last_id;
    inode->is_directory = is_directory;
    peri_list_init(&inode->changes);
    peri_list_append(&disk->inodes, &inode->link);
    *out = inode;
    return 0;
}

static struct sim_change *first_change(const struct sim_inode *inode)
{
    return container_of(inode->changes.next, struct sim_change, link);
}

static void forget(struct sim_change *change)
{
    peri_list_remove(&change->link);
    free(change);
}

static void inode_free(struct sim_disk *disk, struct sim_inode *inode)
{
    while (!peri_list_is_empty(&inode->changes))
        forget(first_change(inode));
    disk->bytes -= inode->live.size + inode->reserved;
    peri_buffer_deinit(&inode->live);
    peri_buffer_deinit(&inode->durable);
    peri_list_remove(&inode->link);
    free(inode);
}

void sim_inode_release(struct sim_disk *disk, struct sim_inode *inode)
{
    if (inode->names != 0 || inode->opens != 0)
        return;
    sim_names_deinit(disk, &inode->live_names);
    sim_names_deinit(disk, &inode->durable_names);
    inode_free(disk, inode);
}

static int remember(const struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                    const void *bytes, size_t size, uint64_t durable_us, bool is_truncation)
{
    struct sim_change *change = malloc(sizeof *change + size);
    if (change == NULL)
        return PERI_ENOMEM;
    *change = (struct sim_change){.durable_us = durable_us,
                                  .begun_us = disk->call_us,
                                  .offset = offset,
                                  .size = size,
                                  .is_truncation = is_truncation};
    if (size > 0)
        memcpy(change->bytes, bytes, size);
    peri_list_append(&inode->changes, &change->link);
    return 0;
}

static void forget_last(struct sim_inode *inode)
{
    forget(container_of(inode->changes.prev, struct sim_change, link));
}

int sim_inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                    const void *bytes, size_t size, uint64_t durable_us)
{
    size_t before = inode->live.size;
    if (remember(disk, inode, offset, bytes, size, durable_us, false) != 0)
        return PERI_ENOMEM;
    if (sim_image_write(&inode->live, offset, bytes, size) != 0) {
        forget_last(inode);
        return PERI_ENOMEM;
    }
    disk->bytes += inode->live.size - before;
    return 0;
}

int sim_inode_truncate(struct sim_disk *disk, struct sim_inode *inode, uint64_t size,
                       uint64_t durable_us)
{
    size_t before = inode->live.size;
    if (remember(disk, inode, size, NULL, 0, durable_us, true) != 0)
        return PERI_ENOMEM;
    if (resize(&inode->live, size) != 0) {
        forget_last(inode);
        return PERI_ENOMEM;
    }
    disk->bytes += inode->live.size - before;
    return 0;
}

void sim_inode_sync(struct sim_inode *inode, uint64_t durable_us)
{
    for (struct peri_list *at = inode->changes.next; at != &inode->changes; at = at->next) {
        struct sim_change *change = container_of(at, struct sim_change, link);
        if (change->durable_us > durable_us)
            change->durable_us = durable_us;
        change->is_synced = true;
    }
}

int sim_inode_settle(struct sim_inode *inode, uint64_t now_us)
{
    while (!peri_list_is_empty(&inode->changes)) {
        struct sim_change *change = first_change(inode);
        if (change->durable_us > now_us)
            break;
        if (apply(&inode->durable, change) != 0)
            return PERI_ENOMEM;
        forget(change);
    }
    return 0;
}

int sim_inode_drop(struct sim_disk *disk, struct sim_inode *inode)
{
    struct peri_buffer image = {0};
    int rc = copy_image(&image, &inode->durable);
    struct peri_list *at;
    for (at = inode->changes.next; rc == 0 && at != &inode->changes; at = at->next) {
        struct sim_change *change = container_of(at, struct sim_change, link);
        if (change->is_synced)
            rc = apply(&image, change);
    }
    if (rc != 0) {
        peri_buffer_deinit(&image);
        return rc;
    }
    for (at = inode->changes.next; at != &inode->changes;) {
        struct sim_change *change = container_of(at, struct sim_change, link);
        at = at->next;
        if (!change->is_synced)
            forget(change);
    }
    disk->bytes += image.size - inode->live.size;
    peri_buffer_deinit(&inode->live);
    inode->live = image;
    return 0;
}

/* ---- a crash ---- */

/* The first bytes of a write, up to a sector of the file, and perhaps a sector of garbage. */
static int apply_torn(struct peri_buffer *image, const struct sim_change *change,
                      struct sim_stream *stream, uint32_t garble_ppm)
{
    uint64_t first = change->offset / SIM_SECTOR_BYTES;
    uint64_t last = (change->offset + change->size - 1) / SIM_SECTOR_BYTES;
    uint64_t sector = first + sim_stream_below(stream, last - first + 1);
    uint64_t cut = sector * SIM_SECTOR_BYTES; /* what is before it survives */
    uint64_t end = change->offset + change->size;
    size_t kept = cut > change->offset ? (size_t)(cut - change->offset) : 0;
    char garbage[SIM_SECTOR_BYTES];
    if (kept > 0 && sim_image_write(image, change->offset, change->bytes, kept) != 0)
        return PERI_ENOMEM;
    if (!sim_stream_chance(stream, garble_ppm))
        return 0;
    uint64_t from = change->offset + kept;
    uint64_t until = cut + SIM_SECTOR_BYTES < end ? cut + SIM_SECTOR_BYTES : end;
    sim_stream_fill(stream, garbage, (size_t)(until - from));
    return sim_image_write(image, from, garbage, (size_t)(until - from));
}

static int apply_unsynced(struct peri_buffer *image, const struct sim_change *change,
                          struct sim_stream *stream, const struct sim_node_settings *settings)
{
    if (sim_stream_chance(stream, settings->disk_keep_ppm))
        return apply(image, change);
    if (change->is_truncation || change->size == 0 ||
        !sim_stream_chance(stream, settings->disk_tear_ppm))
        return 0;
    return apply_torn(image, change, stream, settings->disk_garble_ppm);
}

int sim_inode_crash(struct sim_inode *inode, struct sim_node *node)
{
    struct sim_stream *stream = &node->streams[SIM_DISK];
    int rc = 0;
    while (rc == 0 && !peri_list_is_empty(&inode->changes)) {
        struct sim_change *change = first_change(inode);
        uint64_t now_us = node->world->now_us;
        if (change->durable_us <= now_us)
            rc = apply(&inode->durable, change);
        else if (change->begun_us <= now_us)
            rc = apply_unsynced(&inode->durable, change, stream, &node->settings);
        forget(change);
    }
    node->disk->bytes -= inode->live.size;
    if (rc == 0)
        rc = copy_image(&inode->live, &inode->durable);
    node->disk->bytes += inode->live.size;
    return rc;
}

void sim_inode_stat(const struct sim_node *node, const struct sim_inode *inode,
                    struct env_stat *out)
{
    enum { FILE_MODE = 0644, DIRECTORY_MODE = 0755 };
    *out = (struct env_stat){
        .type = inode->is_directory ? ENV_TYPE_DIRECTORY : ENV_TYPE_FILE,
        .size_bytes = inode->live.size,
        .modified_us = inode->modified_us,
        .mode = inode->is_directory ? DIRECTORY_MODE : FILE_MODE,
        .inode = inode->id,
        .device = node->index,
    };
}
