/* machine.h - a replicated machine in Lua: its file, its state, and one command after the other.
 *
 *   return { apply = function(state, command, ctx) ... end,   the rest may be left out
 *            init = function() return {} end, query = function(state, query) ... end,
 *            snapshot = function(state) ... end, restore = function(data) ... end,
 *            migrate = function(state, old_version) ... end, version = 1,
 *            store = true, budget = { instructions = 10000000, memory = 64 << 20 } }
 *
 * The machine has a Lua state of its own, the deterministic sandbox (deterministic.h). All that
 * outlives a command is the state, whose tables are seen and undone (machine_tables.h): what the
 * file itself made cannot change (machine_freeze.h). So a command has all its effect or, when it
 * raises, spends its budget or leaves something in the state that is no data, none; and its error
 * is the same on every replica. With store = true the state is ordered keys in place of tables
 * (machine_store.h), and the same holds.
 *
 * Code is changed by entries (machine_entry.h): the first loads the new file, runs its migrate and
 * undoes all that, but what it would have done becomes part of the hash; when the replicas agree,
 * the second does it for good, and the next command is the new file's. What raises on the way has
 * not happened. Until the second, or until the upgrade lapses, no command runs.
 *
 * A call goes on in slices: vm_machine_start returns before it has ended, and vm_machine_continue
 * takes the next slice, which ends at the same instruction on every replica. */
#ifndef PERI_VM_MACHINE_H
#define PERI_VM_MACHINE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"
#include "env/env.h"

struct node_keys;
struct vm_machine;
struct vm_shot_pace;

enum vm_machine_kind {
    VM_MACHINE_INIT,     /* the state of the beginning */
    VM_MACHINE_APPLY,    /* an entry (machine_entry.h) */
    VM_MACHINE_QUERY,    /* MessagePack; answered in MessagePack */
    VM_MACHINE_SNAPSHOT, /* all that there is, as bytes */
    VM_MACHINE_RESTORE,  /* the reverse */
    VM_MACHINE_STATE,    /* the state itself, in MessagePack */
    VM_MACHINE_SAMPLES,  /* the file's list of commands, in MessagePack; nil: none */
    VM_MACHINE_KINDS
};

/* One thing to do; lent until it has ended. */
struct vm_machine_job {
    enum vm_machine_kind kind;
    uint64_t index; /* of the entry, or the last one that was applied */
    struct peri_slice input;
    struct node_keys *keys;     /* of a machine that keeps its state there; NULL: it is alone, and
                                   has it in memory */
    struct peri_buffer *output; /* results are appended */
    struct peri_error *err;     /* what went wrong */
    int status;                 /* once ended: 0; PERI_ELUA, PERI_ECPU (the budget is spent),
                                   PERI_EFORMAT, PERI_ETOOBIG, PERI_ESESSION: refused, no effect, on
                                   every replica; or as vm_machine_is_broken says */
};

struct vm_machine_options {
    struct env *env;
    size_t memory_limit_bytes;   /* of its Lua state; 0: none. Far above what a budget can make, for
                                    it breaks the replica */
    uint32_t slice_looks;        /* a slice's length, in thousands of instructions; 0: no slices */
    void (*on_read)(void *data); /* a machine that waits may continue; NULL for one alone */
    void *on_read_data;
};

/* Loads the text, whose name for people is the file's; init has not run. On success the caller owns
 * *out. Errors: PERI_ELUA when it does not compile, raises, or returns no machine; PERI_ENOMEM. */
int vm_machine_create(struct vm_machine **out, const struct vm_machine_options *options,
                      struct peri_slice text, const char *name, struct peri_error *err);
/* Accepts NULL. A job under way is forgotten. */
void vm_machine_close(struct vm_machine *machine);

/* Starts a job when none is under way. True when it has ended. */
bool vm_machine_start(struct vm_machine *machine, struct vm_machine_job *job);
/* The next slice of it; not while it waits. True when it has ended. */
bool vm_machine_continue(struct vm_machine *machine);
/* True when the job waits for a read of its keys: on_read says when to continue. */
bool vm_machine_is_waiting(const struct vm_machine *machine);
/* True when the file says store = true. */
bool vm_machine_is_stored(const struct vm_machine *machine);

/* The job waits for work that any thread may do, since it runs no code of the file: taking over a
 * large state. Only for machines with on_read. Whoever runs the machine calls vm_machine_work once,
 * on a thread of his choice, with nothing else touching the machine, and then continues. */
bool vm_machine_has_work(const struct vm_machine *machine);
void vm_machine_work(struct vm_machine *machine);

/* A snapshot of a file without a function for it needs no code of Lua: it is written piece by piece
 * (machine_shot.h), and shows the state as it was at begin. Between two pieces the machine does
 * jobs as ever, but no restore. */

/* Begins one. Returns 1; 0 when it is a job like others, because the file has a function for it or
 * keeps its state in ctx.store. Errors: as of walk. */
int vm_machine_snapshot_begin(struct vm_machine *machine, struct peri_error *err);
/* True while one is open. */
bool vm_machine_snapshot_is_open(const struct vm_machine *machine);
/* Lends the machine to a thread that calls walk, and takes it back: in between the others, this one
 * among them, may ask for hash, version and memory, and nothing else. */
void vm_machine_lend(struct vm_machine *machine);
void vm_machine_take_back(struct vm_machine *machine);
/* The next piece; on any thread. Returns an enum vm_shot_end. Errors, which the machine survives
 * and which leave nothing but the end: PERI_EMEMORY, PERI_ENOMEM, PERI_ELUA. */
int vm_machine_snapshot_walk(struct vm_machine *machine, const struct vm_shot_pace *pace,
                             struct peri_error *err);
/* What comes after VM_SHOT_SORT; on any thread, and the machine need not be lent for that. */
void vm_machine_snapshot_sort(struct vm_machine *machine);
/* Ends it; output, unless NULL, takes over what was written. */
void vm_machine_snapshot_end(struct vm_machine *machine, struct peri_buffer *output);

/* This replica, and perhaps no other, could not do what it had to (memory): it must not go on. */
bool vm_machine_is_broken(const struct vm_machine *machine);

/* The hash of all that has happened so far. */
uint64_t vm_machine_hash(const struct vm_machine *machine);

/* The hash behind all entries up to that index: as node_hashes_find. */
bool vm_machine_hash_at(const struct vm_machine *machine, uint64_t index, uint64_t *hash);

/* How many units the last call was charged (budget.h), and the bytes that Lua holds. */
uint64_t vm_machine_used(const struct vm_machine *machine);
size_t vm_machine_memory(const struct vm_machine *machine);

/* Of the file; lent until an upgrade. */
int64_t vm_machine_version(const struct vm_machine *machine);

#endif
