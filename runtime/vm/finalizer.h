/* finalizer.h - __gc metamethods written in Lua, run where they cannot hold the node.
 *
 * Stock Lua calls __gc in the midst of any allocation, with hooks off: one that spins hangs the
 * process. Here a collected table is only queued; its __gc runs later, as ordinary code that can be
 * preempted, cancelled and stopped. Resurrection, order (latest marked first) and "once, unless
 * setmetatable is called again" are stock's. What differs:
 *  - __gc runs at a safe point: in setmetatable with a __gc, in collectgarbage, or in
 *    vm_finalizers_run; not at the allocation that found the object dead;
 *  - it may yield, sleep and call, and sees hooks and limits like any other code;
 *  - an object that becomes garbage is freed one cycle later than in stock at the earliest;
 *  - at the state's end all of them together get a budget of instructions; then they are abandoned.
 */
#ifndef PERI_VM_FINALIZER_H
#define PERI_VM_FINALIZER_H

#include <lua.h>
#include <stdbool.h>

/* Replaces setmetatable, collectgarbage and, where it is open, debug.setmetatable. */
void vm_finalizers_open(lua_State *L);

/* True when collected objects wait for their __gc. */
bool vm_finalizers_pending(lua_State *L);

/* Runs what is queued now, each in a protected call; an error becomes a warning (lua_warning), as
 * in stock. A lua_CFunction without results that may yield: call it from a fiber's body or
 * directly. */
int vm_finalizers_run(lua_State *L);

/* Before lua_close: runs every finalizer that is left, at most about instructions_max VM
 * instructions and VM_FINALIZERS_CLOSE_MAX_US together. vm_state_of(L)'s fibers must have ended. */
void vm_finalizers_close(lua_State *L, int instructions_max);

#define VM_FINALIZERS_CLOSE_MAX 10000000
#define VM_FINALIZERS_CLOSE_MAX_US 100000

#endif
