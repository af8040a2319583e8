#include "node/snapshot_part.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "node/snapshot_file.h"

enum {
    VERSION = 1,
    CHECK_AT = 4 + 4 + 6 * 8,
    HEAD_SIZE = CHECK_AT + 8,
    BLOCK_HEAD = 4 + 8,
};

static void path_of(char out[NODE_SNAPSHOT_PATH_MAX], const char *directory, uint64_t group)
{
    (void)snprintf(out, NODE_SNAPSHOT_PATH_MAX, "%s/g%" PRIu64 ".part", directory, group);
}

static void make_head(const struct node_part *part, char head[HEAD_SIZE])
{
    const uint64_t numbers[] = {part->cluster, part->group, part->index,
                                part->term,    part->total, part->hash};
    memcpy(head, "PPRT", 4);
    bits_put_le32(head + 4, VERSION);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        bits_put_le64(head + 8 + 8 * i, numbers[i]);
    bits_put_le64(head + CHECK_AT, XXH3_64bits(head, CHECK_AT));
}

/* ---- reading ---- */

/* Reads size bytes at the file's end of what is known so far. Returns 1, or 0 when there are less.
 */
static int read_exactly(struct env_file *file, char *out, size_t size, uint64_t offset,
                        struct peri_error *err)
{
    size_t done = 0;
    while (done < size) {
        int64_t count = env_file_pread(file, out + done, size - done, offset + done, err);
        if (count <= 0)
            return (int)count;
        done += (size_t)count;
    }
    return 1;
}

/* Appends the next block to state. Returns 1, or 0 when there is no whole one. */
static int read_block(struct env_file *file, struct node_part *part, struct peri_buffer *state,
                      struct peri_error *err)
{
    char head[BLOCK_HEAD];
    int rc = read_exactly(file, head, sizeof head, part->offset, err);
    uint32_t size = bits_get_le32(head);
    if (rc != 1 || size == 0 || size >= part->total - state->size)
        return rc < 0 ? rc : 0; /* the last piece is never kept */
    rc = peri_buffer_reserve(state, size);
    if (rc != 0)
        return peri_fail(err, rc, "reading a part of a snapshot");
    rc = read_exactly(file, state->data + state->size, size, part->offset + sizeof head, err);
    if (rc != 1 || XXH3_64bits_withSeed(state->data + state->size, size, state->size) !=
                       bits_get_le64(head + 4))
        return rc < 0 ? rc : 0;
    state->size += size;
    part->offset += sizeof head + size;
    return 1;
}

int node_part_read(struct env *env, const char *directory, struct node_part *part,
                   struct peri_buffer *state, struct peri_error *err)
{
    char path[NODE_SNAPSHOT_PATH_MAX], head[HEAD_SIZE], wanted[HEAD_SIZE];
    struct env_file *file;
    part->offset = 0;
    path_of(path, directory, part->group);
    int rc = env_file_open(env, path, ENV_FILE_READ, &file, err);
    if (rc != 0)
        return rc == -ENOENT ? 0 : rc;
    make_head(part, wanted);
    rc = read_exactly(file, head, sizeof head, 0, err);
    if (rc == 1 && memcmp(head, wanted, sizeof head) == 0) {
        part->offset = sizeof head;
        while ((rc = read_block(file, part, state, err)) == 1)
            ;
    }
    (void)env_file_close(file, NULL);
    return rc < 0 ? rc : 0;
}

/* ---- writing ---- */

int node_part_write(struct env *env, const char *directory, struct node_part *part, uint64_t at,
                    struct peri_slice block, struct peri_error *err)
{
    char path[NODE_SNAPSHOT_PATH_MAX], head[HEAD_SIZE], block_head[BLOCK_HEAD];
    int flags = ENV_FILE_WRITE | (part->offset == 0 ? ENV_FILE_CREATE | ENV_FILE_TRUNCATE : 0);
    struct env_file *file;
    path_of(path, directory, part->group);
    int rc = env_file_open(env, path, flags, &file, err);
    if (rc != 0)
        return rc;
    if (part->offset == 0) {
        make_head(part, head);
        rc = env_file_pwrite(file, head, sizeof head, 0, err);
        part->offset = sizeof head;
    }
    bits_put_le32(block_head, (uint32_t)block.size);
    bits_put_le64(block_head + 4, XXH3_64bits_withSeed(block.data, block.size, at));
    if (rc == 0)
        rc = env_file_pwrite(file, block_head, sizeof block_head, part->offset, err);
    if (rc == 0)
        rc = env_file_pwrite(file, block.data, block.size, part->offset + sizeof block_head, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    rc = rc == 0 ? closed : rc;
    if (rc == 0)
        part->offset += sizeof block_head + block.size;
    return rc;
}

int node_part_remove(struct env *env, const char *directory, uint64_t group, struct peri_error *err)
{
    char path[NODE_SNAPSHOT_PATH_MAX];
    path_of(path, directory, group);
    int rc = env_path_remove(env, path, err);
    return rc == -ENOENT ? 0 : rc;
}
