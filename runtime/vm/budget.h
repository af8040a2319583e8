/* budget.h - how much a call may do, counted so that every replica stops at the same place.
 *
 * One unit is one instruction of Lua's machine. A count hook that stays installed looks every
 * VM_BUDGET_STEP of them (always on it costs about as much as the code; a timer would stop replicas
 * at different places). Library functions add what they do by size: a unit an element moved,
 * compared or walked, a unit for each 16 bytes of every long string made, or found equal to another
 * (compare.h). When the budget is spent an error is raised, and again at every further instruction:
 * no pcall goes on from there, and the call has failed whatever it returns. Slices work as ever:
 * the hook gives the baton to the core, which does not disturb the count.
 *
 * A machine's call also has a budget of bytes: what it makes is summed up, whether it becomes
 * garbage or not, because when that goes away depends on the collector. Tables, closures and long
 * strings count, and large blocks that come with a new table. How lists grow that were there before
 * depends on how they came to be, and is not counted: whoever writes to the state says so
 * (is_exempt). Growing costs instructions.
 *
 * What is not exact: a coroutine has its own count to the next look, so making one costs
 * VM_BUDGET_STEP; coroutines must not live longer than the call that made them. */
#ifndef PERI_VM_BUDGET_H
#define PERI_VM_BUDGET_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VM_BUDGET_STEP = 1000,
    VM_BUDGET_BYTES = 16,
    VM_BUDGET_STRING_MIN = 256,
    VM_BUDGET_BLOCK_MIN = 4096,
};

struct vm_budget {
    uint64_t limit;
    uint64_t left;
    volatile bool is_counting; /* a tick looks */
    bool is_spent;
    uint64_t bytes_limit; /* 0: none */
    uint64_t bytes_left;
    bool is_out_of_bytes; /* that is why it is spent */
    bool is_exempt;       /* the state is being written: blocks are not counted */
    uint32_t slice_looks; /* looks after which thread yields, to whoever resumed it; 0: never */
    uint32_t looks;       /* since it did */
    lua_State *thread;
};

/* Starts counting for what runs on L and on coroutines made by it. Not nestable. */
void vm_budget_begin(lua_State *L, uint64_t limit);

/* Bounds what the call under way makes, in bytes, and has L yield every so many looks where it
 * can: a slice ends at the same instruction everywhere. 0: no bound; no slices. */
void vm_budget_bound(lua_State *L, uint64_t bytes, uint32_t slice_looks);

/* Stops counting. Returns what was used, rounded up to VM_BUDGET_STEP; *is_spent tells whether it
 * was too much, and then the call's effects must be undone even when it returned well. */
uint64_t vm_budget_end(lua_State *L, bool *is_spent);

/* For library functions, before they do the work: counts units of it, when the state is counting.
 * Raises when that is more than there is. */
void vm_budget_charge(lua_State *L, uint64_t units);

/* The same for who cannot raise: false when that is more than there is, and the next look raises.
 */
bool vm_budget_take_units(struct vm_budget *budget, uint64_t units);

/* Counts bytes that are not the allocator's, before they are taken: raises when that is more than
 * there is. */
void vm_budget_charge_bytes(lua_State *L, size_t size_bytes);

/* For the allocator: counts a new block, whose type is as for lua_Alloc. False when that is more
 * than there is. */
bool vm_budget_take(struct vm_budget *budget, size_t type, size_t size_bytes);

#endif
