/* machine_store.h - ctx.store: the state of a machine as ordered keys, in place of tables.
 *
 * For files with store = true. A replica of a group has the keys on its disk (node/keys.h), a
 * machine alone has them in memory. What a command writes is staged: its own reads see it, a
 * failure forgets it, the end of the command gives it away in one piece, together with all else
 * that a machine remembers:
 *
 *   h             [format, hash, log time, last session, prepared index, its end]
 *   p             the body of an upgrade that waits for its decision
 *   s id (BE)     a session: [sequence, ttl, end, result]
 *   t             [name, text] of the file
 *   u key         a key of ctx.store; its value in MessagePack
 *
 * So a replica goes on where its disk is, and a snapshot is a view of that.
 *
 * A read that memory does not answer suspends the call; nothing else uses the machine meanwhile.
 * What a call is charged does not depend on where an answer came from. */
#ifndef PERI_VM_MACHINE_STORE_H
#define PERI_VM_MACHINE_STORE_H

#include <lua.h>

#include "node/keys.h"

struct vm_machine;

enum {
    VM_STORE_KEY_MAX = NODE_KEY_MAX - 1, /* one byte is for the kind */
    VM_STORE_VALUE_MAX = NODE_VALUE_MAX,
    VM_STORE_EFFECT_MAX = NODE_EFFECT_MAX / 2, /* of a command; the rest is for what a machine
                                                  remembers besides */
    VM_STORE_TEXT_MAX = 4 << 20,               /* of a file */
    VM_STORE_PAGES = 8,
};

/* Pairs that a walk has read ahead. Walks whose page is gone read again. */
struct vm_store_page {
    uint64_t walk; /* its number; 0: free */
    struct peri_buffer pairs, next;
    size_t at;
    bool is_more;
};

struct vm_store {
    struct node_keys *keys;    /* of the job under way; NULL: own */
    struct node_keymap own;    /* of a machine alone */
    struct node_keymap staged; /* by the command that runs */
    size_t effect_bytes;       /* that it has written, also what it wrote over */
    struct peri_buffer key, value, bound;
    struct vm_store_page pages[VM_STORE_PAGES];
    size_t next_page;
    uint64_t walks; /* that were begun */

    struct node_keys_read read;
    uint64_t read_walk; /* for which walk; 0: for a key */
    int read_status;
    bool is_reading;            /* the machine waits */
    bool is_loading;            /* what it remembers is being read */
    struct peri_buffer program; /* found by that: [name, text] */

    uint64_t stored_prepared; /* index of the upgrade that the keys have */
    bool is_text_stored;
};

/* How what a machine remembers is laid out. */
enum {
    VM_STORE_FORMAT = 1,
    VM_STORE_HEAD_FIELDS = 6,
    VM_STORE_SESSION_FIELDS = 4,
    VM_STORE_SESSION_KEY_SIZE = 1 + 8
};

/* ---- machine_store.c ---- */

void vm_store_close(struct vm_machine *machine);

/* A job begins, on the keys that the group lends. */
void vm_store_begin(struct vm_machine *machine, struct node_keys *keys);

/* What the job has written so far has not happened. */
void vm_store_undo(struct vm_machine *machine);

/* The job has ended: what is staged counts, and what the machine remembers now. Errors, which break
 * the replica: PERI_ENOMEM. */
int vm_store_commit(struct vm_machine *machine);

/* Stages a pair, or (value.data NULL) that there is none. Errors: PERI_ENOMEM. */
int vm_store_stage(struct vm_store *store, struct peri_slice key, struct peri_slice value);

/* A machine alone takes over what was staged. */
void vm_store_keep_own(struct vm_store *store);

/* Starts reading from what is not in memory. Returns 1 when the answer is there, in store->read; 0
 * when the machine waits for it. Errors: of the disk; the replica has ended. */
int vm_store_get(struct vm_machine *machine, struct peri_slice key);
int vm_store_range(struct vm_machine *machine, struct peri_slice from, struct peri_slice to,
                   uint32_t count_max, bool is_reverse);

/* ---- machine_store_load.c ---- */

/* Takes over what the keys say: starts, and goes on after each wait. Returns 1 when it is done but
 * for vm_store_load_program; 0 when the machine waits. input: of a machine alone, its snapshot.
 * Errors: PERI_EFORMAT, PERI_ENOMEM, and of the disk. */
int vm_store_load(struct vm_machine *machine, struct peri_slice input);
int vm_store_load_on(struct vm_machine *machine);
/* The file that was found takes the place of the one that was given. Raises. */
void vm_store_load_program(lua_State *L, struct vm_machine *machine);

/* All pairs of a machine alone, for a snapshot; what ctx.store shows of it, as a list of keys and
 * values in MessagePack. Raise. */
void vm_store_pack(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out);
void vm_store_pack_state(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out);

/* ---- machine_store_walk.c ---- */

struct vm_walk {
    uint64_t number, left;
    bool is_reverse, is_bound; /* the second: left counts */
};

struct vm_pair {
    struct peri_slice key, value; /* key.data NULL: there is none */
};

/* Finds the walk's next pair between the bounds, from it on and without to, and *passed, how many
 * keys on the way the command has deleted. Returns 1; 0 when the machine waits, and is to be asked
 * again after vm_walk_keep_page. Errors: as of vm_store_range. */
int vm_walk_next(struct vm_machine *machine, const struct vm_walk *walk, struct peri_slice from,
                 struct peri_slice to, struct vm_pair *out, uint64_t *passed);
/* What was read becomes a page of its walk. */
void vm_walk_keep_page(struct vm_store *store);

/* ---- machine_store_lua.c ---- */

/* Makes ctx.store; raises. */
void vm_store_open(lua_State *L, struct vm_machine *machine);
/* Pushes it. */
void vm_store_push(lua_State *L);

#endif
