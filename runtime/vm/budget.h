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
 * What is not exact: a coroutine has its own count to the next look, so making one costs
 * VM_BUDGET_STEP; coroutines must not live longer than the call that made them. */
#ifndef PERI_VM_BUDGET_H
#define PERI_VM_BUDGET_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VM_BUDGET_STEP = 1000, VM_BUDGET_BYTES = 16, VM_BUDGET_STRING_MIN = 256 };

struct vm_budget {
    uint64_t limit;
    uint64_t left;
    volatile bool is_counting; /* a tick looks */
    bool is_spent;
};

/* Starts counting for what runs on L and on coroutines made by it. Not nestable. */
void vm_budget_begin(lua_State *L, uint64_t limit);

/* Stops counting. Returns what was used, rounded up to VM_BUDGET_STEP; *is_spent tells whether it
 * was too much, and then the call's effects must be undone even when it returned well. */
uint64_t vm_budget_end(lua_State *L, bool *is_spent);

/* For library functions, before they do the work: counts units of it, when the state is counting.
 * Raises when that is more than there is. */
void vm_budget_charge(lua_State *L, uint64_t units);

/* For the allocator: counts the bytes of a long string. False when that is more than there is. */
bool vm_budget_take_string(struct vm_budget *budget, size_t size_bytes);

#endif
