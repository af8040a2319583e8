/* disk_internal.h - the insides of a simulated disk.
 *
 * disk.c       the disk as a whole: its life, a crash, the time that accesses take
 * disk_inode.c contents: two images of each file, what a sync and a crash make of them
 * disk_name.c  names: two images of each directory and the journal between them
 * file.c       open files (env_file_*)          path.c  paths (env_path_*, env_dir_*)
 * file_write.c what changes open files */
#ifndef PERI_SIM_DISK_INTERNAL_H
#define PERI_SIM_DISK_INTERNAL_H

#include "sim/disk.h"
#include "sim/internal.h"

enum { SIM_NAME_MAX = 255, SIM_PATH_MAX = 4095, SIM_FILE_BYTES_MAX = 1 << 30 };

/* A change of contents that may not be durable yet. */
struct sim_change {
    struct peri_list link; /* in sim_inode.changes */
    uint64_t durable_us;   /* true time at which it becomes durable */
    uint64_t begun_us;     /* and at which it began: a crash before it undoes it */
    uint64_t offset;       /* of a truncation: the new size */
    size_t size;
    bool is_truncation;
    bool is_synced; /* a sync decided about durable_us, not the kernel's writeback */
    char bytes[];
};

struct sim_entry {
    char *name;
    struct sim_inode *inode;
};

/* The names in a directory, sorted. */
struct sim_names {
    struct sim_entry *entries;
    size_t count, capacity;
};

struct sim_inode {
    struct peri_list link; /* in sim_disk.inodes, by age */
    uint64_t id;
    size_t names; /* entries of both images, and of the journal, that lead here */
    size_t opens;
    const void *lock; /* the open file that holds it */
    int64_t modified_us;
    bool is_directory;
    bool is_reached; /* while a crash looks for what is left */
    bool is_blocked; /* directory: a crash has lost one of its changes, and so all later ones */
    bool is_syncing; /* directory: while a sync collects what it depends on */
    /* A file's two images and the changes between them. */
    struct peri_buffer live, durable;
    uint64_t reserved; /* bytes that it keeps from others, besides its own */
    struct peri_list changes;
    /* A directory's two images. */
    struct sim_names live_names, durable_names;
};

/* A change of names: one goes, one comes, or both at once (a rename). */
struct sim_naming {
    struct peri_list link; /* in sim_disk.journal */
    uint64_t durable_us, begun_us;
    struct sim_inode *from; /* directory that loses from_name, or NULL */
    char *from_name;
    struct sim_inode *to; /* directory in which to_name comes to lead to inode, or NULL */
    char *to_name;
    struct sim_inode *inode;
};

struct sim_disk {
    struct peri_list inodes;
    struct peri_list journal;
    struct sim_inode *root;
    uint64_t last_id;
    uint64_t bytes;   /* of all live images, and reserved */
    uint64_t call_us; /* true time at which the call that runs has begun */
};

struct sim_file {
    struct env_file base;
    struct sim_handle handle;
    struct sim_inode *inode;
    int flags;
    uint64_t position;
    char *path;    /* for messages */
    bool is_ended; /* its process ends */
};

static inline bool sim_file_is_writing(int flags)
{
    return (flags & (ENV_FILE_WRITE | ENV_FILE_APPEND)) != 0;
}

/* ---- disk_inode.c ---- */

/* A new file or directory without a name. Errors: PERI_ENOMEM. */
int sim_inode_create(struct sim_disk *disk, bool is_directory, struct sim_inode **out);

/* Frees the inode when nothing leads to it any more. */
void sim_inode_release(struct sim_disk *disk, struct sim_inode *inode);

/* Changes the live image, and remembers that the durable one follows at durable_us, or when a sync
 * says so. Errors: PERI_ENOMEM, nothing changed. */
int sim_inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                    const void *bytes, size_t size, uint64_t durable_us);
int sim_inode_truncate(struct sim_disk *disk, struct sim_inode *inode, uint64_t size,
                       uint64_t durable_us);

/* What has been changed so far is durable from durable_us on. */
void sim_inode_sync(struct sim_inode *inode, uint64_t durable_us);

/* What has been changed since the last sync is lost. Errors: PERI_ENOMEM, nothing changed. */
int sim_inode_drop(struct sim_disk *disk, struct sim_inode *inode);

/* Moves what is durable by now to the durable image. Errors: PERI_ENOMEM; then a later call does
 * it. */
int sim_inode_settle(struct sim_inode *inode, uint64_t now_us);

/* What a crash leaves of a file: decides about each change that is not durable. Errors:
 * PERI_ENOMEM; the run is then over. */
int sim_inode_crash(struct sim_inode *inode, struct sim_node *node);

/* Writes bytes into an image, with zeroes before where it was shorter. Errors: PERI_ENOMEM. */
int sim_image_write(struct peri_buffer *image, uint64_t offset, const void *bytes, size_t size);

/* ---- disk_name.c ---- */

/* Finds a name of an image, or NULL. */
struct sim_inode *sim_names_find(const struct sim_names *names, const char *name);

/* Index of the first entry behind name. */
size_t sim_names_after(const struct sim_names *names, const char *name);

/* A change of live names, entered in the journal; from and to may be NULL. Errors: PERI_ENOMEM,
 * nothing changed. */
int sim_naming_do(struct sim_disk *disk, struct sim_inode *from, const char *from_name,
                  struct sim_inode *to, const char *to_name, struct sim_inode *inode,
                  uint64_t durable_us);

/* The same by a process on the node: the kernel writes it back some time. */
int sim_disk_change_names(struct sim_node *node, struct sim_inode *from, const char *from_name,
                          struct sim_inode *to, const char *to_name, struct sim_inode *inode);

/* The changes of the directory so far, with what they depend on, are durable from durable_us on. */
void sim_naming_sync(struct sim_disk *disk, struct sim_inode *directory, uint64_t durable_us);

/* Moves what is durable by now to the durable names. Errors: PERI_ENOMEM. */
int sim_naming_settle(struct sim_disk *disk, uint64_t now_us);

/* Decides about what is not durable, and empties the journal. Errors: PERI_ENOMEM. */
int sim_naming_crash(struct sim_disk *disk, uint64_t now_us, struct sim_stream *stream,
                     uint32_t keep_ppm);

/* Makes the live names of the directory those that are durable. Errors: PERI_ENOMEM. */
int sim_names_revert(struct sim_disk *disk, struct sim_inode *directory);

/* Frees the names of both images and the journal. */
void sim_names_deinit(struct sim_disk *disk, struct sim_names *names);
void sim_journal_deinit(struct sim_disk *disk);

/* Follows a path from the root: sets *parent and the last name (in name, SIM_NAME_MAX + 1 bytes;
 * "" for the root itself), and *inode, NULL when nothing has that name. Errors: -ENOENT, -ENOTDIR,
 * -ENAMETOOLONG. */
int sim_path_find(const struct sim_disk *disk, const char *path, struct sim_inode **parent,
                  char *name, struct sim_inode **inode);

/* ---- file_write.c: each takes its time, and may fail as the node's settings say ---- */

/* Writes at a place of the file. Errors: PERI_ECANCELLED, PERI_ENOMEM, -EBADF, -EFBIG, -EIO,
 * -ENOSPC. */
int sim_file_write(struct sim_node *node, struct sim_file *file, const void *data, size_t size,
                   uint64_t offset);

/* Makes what was written durable, unless the drive lies. Errors: PERI_ECANCELLED, PERI_ENOMEM;
 * -EIO, after which what was written since the last sync is gone. */
int sim_file_sync(struct sim_node *node, struct sim_file *file);

/* Keeps room for size bytes of the file. Errors: PERI_ECANCELLED, -ENOSPC. */
int sim_file_reserve(struct sim_node *node, struct sim_file *file, uint64_t size);

/* ---- faults and time of the calls ---- */

/* A read, write or other access begins: it takes its time. Errors: PERI_ECANCELLED once the node's
 * process has ended. */
int sim_disk_access(struct sim_node *node);

/* When what is changed now becomes durable without a sync: the kernel writes it back. */
uint64_t sim_disk_writeback_us(struct sim_node *node);

/* The same for a sync, and sets when it ends. */
int sim_disk_begin_sync(struct sim_node *node, uint64_t *durable_us);

#endif
