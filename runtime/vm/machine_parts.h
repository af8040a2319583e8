/* machine_parts.h - what the files of a machine share: machine.h is what others see.
 *
 *   machine.c           jobs, their budget and their end; life
 *   machine_call.c      what runs in the coroutine of a job
 *   machine_snapshot.c  snapshots: what stands in them before the state
 *   machine_shot.c      what stands behind that, piece by piece
 *   machine_upgrade.c   another file in the place of the one that runs
 *   machine_store*.c    ctx.store: a state that is no table (machine_store.h)
 *
 * Functions that take an L raise. */
#ifndef PERI_VM_MACHINE_PARTS_H
#define PERI_VM_MACHINE_PARTS_H

#include "node/hashes.h"
#include "vm/budget.h"
#include "vm/deterministic.h"
#include "vm/machine.h"
#include "vm/machine_draw.h"
#include "vm/machine_entry.h"
#include "vm/machine_program.h"
#include "vm/machine_session.h"
#include "vm/machine_shot.h"
#include "vm/machine_store.h"
#include "vm/machine_tables.h"
#include "vm/state.h"
#include "wire/pack.h"

struct vm_machine {
    struct vm_options options;
    struct vm_deterministic deterministic;
    struct vm_state *vm;
    lua_State *co; /* in which calls run; anchored in the registry */
    int co_reference;
    int state; /* reference: the root of the state; LUA_NOREF before init */
    struct vm_program program;
    struct vm_program next;  /* of an upgrade under way */
    struct peri_buffer text; /* of the file, for snapshots */
    struct peri_buffer name; /* with its end */
    struct vm_sessions sessions;
    struct vm_prepared {
        uint64_t index, expires_us; /* index 0: none */
        struct peri_buffer body;    /* of its entry */
    } prepared;                     /* an upgrade that waits for its decision */
    struct node_hashes hashes;
    struct vm_tables tables;
    struct vm_shot shot;         /* of the tables, while one is open */
    struct vm_store store;       /* of a program that is_stored */
    void (*on_read)(void *data); /* what the machine has waited for is there */
    void *on_read_data;
    struct vm_draw draw; /* ctx.random */
    uint64_t clock_us;   /* log time */
    uint32_t slice_looks;
    bool is_broken;
    uint64_t used;
    bool is_lent;       /* to whoever makes a snapshot, or does work, on another thread */
    bool has_work;      /* the job waits for it */
    int work_status;    /* of Lua */
    size_t lent_memory; /* held when that began */
    uint64_t lent_hash;

    struct vm_machine_job *job; /* under way, or NULL */
    struct vm_entry entry;      /* of it, when it is one */
    struct vm_budget *payer;    /* of comparisons, outside of the slices */
};

/* ---- machine_call.c ---- */

/* The body of a job's coroutine; its one argument is the machine. */
int vm_call_run(lua_State *L);

/* Begins the budget of the job's call: that of a command, WHOLE times that where a function of the
 * program makes or takes the whole state, and none where none does. */
void vm_call_begin_budget(struct vm_machine *machine, const struct vm_program *program);
/* What stands in front of "the budget ... is spent": nothing for a command. Lent for ever. */
const char *vm_call_name(const struct vm_machine *machine);

/* Raises, and the call breaks the replica, whatever comes of that. */
void vm_call_fail_memory(lua_State *L);

/* lua_call, but when the code is stopped in a hook, hooks run again: else nothing would count what
 * handlers of __close do, nor later calls of the coroutine. For the same reason vm_call_run calls
 * by lua_pcallk. */
void vm_call(lua_State *L, int arguments, int results);

/* Pushes the function; false when the machine has none of that kind. */
bool vm_call_push_function(lua_State *L, const struct vm_machine *machine,
                           enum vm_function function);
void vm_call_push_state(lua_State *L, const struct vm_machine *machine);
/* The value on top becomes the state, which the function gave. */
void vm_call_set_state(lua_State *L, struct vm_machine *machine, const char *function);
/* Pushes ctx. */
void vm_call_push_context(lua_State *L, struct vm_machine *machine);
/* Pushes what the bytes hold; what says in errors what they are. */
void vm_call_push_decoded(lua_State *L, struct peri_slice bytes, const char *what);
/* Appends the value at index as MessagePack; name as for wire_encode_standing. */
void vm_call_encode(lua_State *L, int index, const char *name, size_t size_max,
                    struct peri_buffer *out);
/* Looks whether the call has changed variables of the file. */
void vm_call_check_variables(lua_State *L, const struct vm_program *program);

/* ---- machine_snapshot.c ---- */

/* The head of a snapshot; the state comes behind. */
void vm_snapshot_pack(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out);
/* The program with which the snapshot was made takes over, if it is another one. */
void vm_snapshot_load_program(lua_State *L, struct vm_machine *machine, struct peri_slice bytes);
/* Takes over what stands in the head; pushes what stands behind it, decoded. */
void vm_snapshot_push(lua_State *L, struct vm_machine *machine, struct peri_slice bytes);
/* The same, of a file without a function for it: that is the state. */
void vm_snapshot_take(lua_State *L, struct vm_machine *machine, struct peri_slice bytes);
/* The job is a snapshot of a file without a function for it: makes it at once. Returns how it
 * ended. */
int vm_snapshot_whole(struct vm_machine *machine);
/* A snapshot that the file's own function made anew must be the one that was restored. */
void vm_snapshot_check(lua_State *L, struct vm_machine *machine);

/* ---- machine_upgrade.c ---- */

/* Text and name of the machine are others now. False without memory. */
bool vm_upgrade_set_text(struct vm_machine *machine, struct peri_slice name,
                         struct peri_slice text);
/* Loads the program of an upgrade, or of a snapshot. */
void vm_upgrade_load(lua_State *L, struct vm_machine *machine, struct peri_slice name,
                     struct peri_slice text);
/* The program that was loaded takes over. */
void vm_upgrade_switch(lua_State *L, struct vm_machine *machine, struct peri_slice name,
                       struct peri_slice text);
/* Loads the new program of the entry and pushes its migrate with arguments. Returns how many they
 * are; negative: it has none. */
int vm_upgrade_push(lua_State *L, struct vm_machine *machine);
/* True when an upgrade waits for its decision: no command runs. */
bool vm_upgrade_is_pending(const struct vm_machine *machine);
/* Reads the decision that the entry is. Returns 0 when the upgrade shall happen, as if the entry
 * were a VM_ENTRY_UPGRADE; 1 when it shall not. Errors: PERI_EFORMAT; PERI_EINVAL when there is no
 * such upgrade, PERI_ENOMEM, which breaks the replica. */
int vm_upgrade_decide(struct vm_machine *machine);
/* Packs the one that waits into the head of a snapshot; takes it from there. Errors: PERI_EFORMAT,
 * PERI_ENOMEM. */
void vm_upgrade_pack(const struct vm_machine *machine, struct wire_packer *packer);
int vm_upgrade_unpack(struct vm_machine *machine, struct wire_unpacker *unpacker);
/* Its migrate has run. The result is the new version. */
void vm_upgrade_finish(lua_State *L, struct vm_machine *machine);

#endif
