/* machine_shot.h - a snapshot of a state of tables, written piece by piece between commands.
 *
 * It shows the state as it was at the beginning. Commands go on meanwhile: what each has written
 * over, which its log of old values has (machine_tables.h), is kept by table and key, and counts in
 * place of what is there now. So nothing is copied in advance, and a command waits for one piece at
 * most. What is kept is at most what was written since the beginning.
 *
 * A piece is some thousand fields. Two things are not cut: a string, and the list of the keys of
 * one table when a command has added some while it was made, for Lua may then have moved them: that
 * list is made again in one piece, which takes up to 0.5 us a key.
 *
 * Functions that take an L raise on lack of memory; what was begun is then to be ended. */
#ifndef PERI_VM_MACHINE_SHOT_H
#define PERI_VM_MACHINE_SHOT_H

#include <lua.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "wire/codec.h"

enum { VM_SHOT_DEPTH_MAX = 100 };

/* A table on the way from the root to where the walk is. */
struct vm_shot_frame {
    enum { VM_SHOT_LISTING, VM_SHOT_SORTING, VM_SHOT_SORTED, VM_SHOT_PAIRS } phase;
    size_t base;           /* in keys, in bytes */
    size_t count, at;      /* keys; that of the next pair */
    bool is_array;         /* known at the beginning of the pairs */
    bool is_stale;         /* the list of keys is to be made again, in one piece */
    bool has_been_stopped; /* while it listed: keys may be twice in the list */
};

struct vm_shot {
    bool is_open;
    int store;              /* reference: what Lua keeps of it */
    struct peri_buffer out; /* what is written */
    struct peri_buffer keys;
    struct vm_shot_frame frames[VM_SHOT_DEPTH_MAX];
    size_t depth;
    const void *listing; /* the table whose keys are being listed between two pieces, or NULL */
    struct wire_encoder encoder;
    struct wire_sink sink;
};

/* How much a piece is: at most so many units, a field or 256 bytes each, and once *is_wanted at
 * least so many; NULL: it never is. */
struct vm_shot_pace {
    size_t least, most;
    const atomic_bool *is_wanted;
};

enum vm_shot_end {
    VM_SHOT_MORE,
    VM_SHOT_SORT, /* vm_shot_sort comes next */
    VM_SHOT_DONE
};

/* Begins one of the state whose root is on top, and pops it. What is written comes behind what out
 * has. */
void vm_shot_begin(lua_State *L, struct vm_shot *shot);
/* The next piece. */
enum vm_shot_end vm_shot_walk(lua_State *L, struct vm_shot *shot, const struct vm_shot_pace *pace);
/* Sorts the keys of a large table; touches nothing of Lua that could change. */
void vm_shot_sort(struct vm_shot *shot);
/* Ends it, if it is open, and lets go of what was written. */
void vm_shot_end(lua_State *L, struct vm_shot *shot);

/* A command ends: its log is the Lua table at index, of count entries (machine_tables.c). What it
 * did counts, or is about to be undone. */
void vm_shot_note(lua_State *L, struct vm_shot *shot, int log, size_t count, bool is_undone);

#endif
