/* file_write.c - what changes an open file of a simulated node, and what a drive makes of it. */
#include <errno.h>
#include <inttypes.h>

#include "sim/disk_internal.h"

static int begin_write(struct sim_node *node, const struct sim_file *file, uint64_t end)
{
    const struct sim_inode *inode = file->inode;
    int rc = sim_disk_access(node);
    if (rc != 0)
        return rc;
    if (!sim_file_is_writing(file->flags))
        return -EBADF;
    if (end > SIM_FILE_BYTES_MAX)
        return -EFBIG;
    if (sim_stream_chance(&node->streams[SIM_DISK], node->settings.disk_write_error_ppm))
        return -EIO;
    uint64_t more = end > inode->live.size ? end - inode->live.size : 0;
    uint64_t capacity = node->settings.disk_capacity;
    return capacity != 0 && more > 0 && node->disk->bytes + more > capacity ? -ENOSPC : 0;
}

/* Another place of the file, at a sector, that ends no later than the file or this write. */
static uint64_t misdirect(struct sim_node *node, const struct sim_inode *inode, uint64_t offset,
                          size_t size)
{
    uint64_t end = offset + size > inode->live.size ? offset + size : inode->live.size;
    uint64_t sectors = (end - size) / SIM_SECTOR_BYTES + 1;
    return sim_stream_below(&node->streams[SIM_DISK], sectors) * SIM_SECTOR_BYTES;
}

/* Where the drive puts it, as it is told or not. */
static int put_bytes(struct sim_node *node, struct sim_inode *inode, const void *data, size_t size,
                     uint64_t offset)
{
    struct sim_stream *stream = &node->streams[SIM_DISK];
    if (sim_stream_chance(stream, node->settings.disk_phantom_ppm))
        return 0;
    if (sim_stream_chance(stream, node->settings.disk_misdirect_ppm))
        offset = misdirect(node, inode, offset, size);
    return sim_inode_write(node->disk, inode, offset, data, size, sim_disk_writeback_us(node));
}

int sim_file_write(struct sim_node *node, struct sim_file *file, const void *data, size_t size,
                   uint64_t offset)
{
    struct sim_inode *inode = file->inode;
    int rc = begin_write(node, file, offset + size);
    if (rc == 0)
        rc = sim_inode_settle(inode, node->world->now_us);
    if (rc == 0)
        rc = put_bytes(node, inode, data, size, offset);
    if (rc != 0)
        return rc;
    inode->modified_us = env_wall_us(&node->base);
    sim_world_note(node->world, node, "write", sim_mix(sim_hash_bytes(data, size), offset),
                   "%s %zu bytes at %" PRIu64, file->path, size, offset);
    return 0;
}

int sim_file_sync(struct sim_node *node, struct sim_file *file)
{
    struct sim_stream *stream = &node->streams[SIM_DISK];
    uint64_t durable_us = 0;
    int rc = sim_disk_begin_sync(node, &durable_us);
    if (rc == 0)
        rc = sim_inode_settle(file->inode, node->world->now_us);
    if (rc != 0)
        return rc;
    if (sim_stream_chance(stream, node->settings.disk_sync_error_ppm)) {
        rc = sim_inode_drop(node->disk, file->inode);
        rc = rc == 0 ? -EIO : rc;
    } else if (!sim_stream_chance(stream, node->settings.disk_sync_lie_ppm)) {
        sim_inode_sync(file->inode, durable_us);
    }
    sim_world_note(node->world, node, "sync", (uint64_t)(int64_t)rc, "%s%s", file->path,
                   rc == 0 ? "" : " fails");
    return rc;
}

int sim_file_reserve(struct sim_node *node, struct sim_file *file, uint64_t size)
{
    uint64_t have = file->inode->reserved, capacity = node->settings.disk_capacity;
    int rc = sim_disk_access(node);
    if (rc == 0 && capacity != 0 && size > have && node->disk->bytes + (size - have) > capacity)
        rc = -ENOSPC;
    if (rc == 0 && size > have) {
        file->inode->reserved = size;
        node->disk->bytes += size - have;
    }
    return rc;
}
