/* fs_op.h - one operation on files: runs in the environment's background work while its fiber
 * waits.
 *
 * It has two shares: one held by a userdata on the fiber's stack, one by the work, so that a fiber
 * which is cancelled leaves the work in peace. */
#ifndef PERI_MODULES_FS_OP_H
#define PERI_MODULES_FS_OP_H

#include <lua.h>

#include "base/buffer.h"
#include "vm/fiber.h"

/* An open file, shared by its userdata and by the operation under way. */
struct fs_file {
    struct env_file *file; /* NULL when closed */
    int shares;
    bool is_busy;
};

struct fs_op {
    struct fiber_wait wait;
    struct env *env;
    int shares;
    int (*run)(struct fs_op *op);                /* on a background thread: 0, or fills err */
    int (*push)(lua_State *L, struct fs_op *op); /* in the fiber: pushes what run has found */
    char *path;                                  /* owned; what run is about */
    char *other;                                 /* owned; rename's target */
    struct fs_file *file;                        /* holds a share */
    struct env_file *opened;                     /* until a userdata has taken it */
    int flags;
    int64_t number; /* bytes wanted, offset, result */
    bool is_synced;
    struct peri_buffer bytes; /* data to write, what was read, or directory entries */
    char *text;               /* a path as result; owned */
    struct env_stat stat;
    int rc;
    struct peri_error err;
};

/* Pushes a new operation, which what (lent for ever) names in messages; the userdata owns it.
 * Raises outside a fiber and for lack of memory. */
struct fs_op *fs_op_push(lua_State *L, const char *what, int (*run)(struct fs_op *op),
                         int (*push)(lua_State *L, struct fs_op *op));

/* A copy of the path at index. Raises when it is none. */
char *fs_op_copy_path(lua_State *L, int index);

/* Starts the operation and suspends the fiber; a lua_CFunction returns its value. */
int fs_op_submit(lua_State *L, struct fs_op *op);

/* Push functions: true, op->number, op->bytes. */
int fs_op_push_true(lua_State *L, struct fs_op *op);
int fs_op_push_number(lua_State *L, struct fs_op *op);
int fs_op_push_bytes(lua_State *L, struct fs_op *op);

/* Appends up to wanted bytes, from the file's position, to op->bytes. For run functions. */
int fs_op_read(struct fs_op *op, struct env_file *file, size_t wanted);

/* Gives back a share of a file; the last closes it. */
void fs_file_release(struct fs_file *file);

/* Makes the metatable of operations. */
void fs_op_open(lua_State *L);

/* fs.open, and the metatable of its files (fs_file.c). */
int fs_file_open(lua_State *L);
void fs_file_register(lua_State *L);

#endif
