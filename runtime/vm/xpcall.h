/* xpcall.h - an xpcall whose message handler cannot hold the core for ever.
 *
 * Lua calls the handler wherever an error is raised, also for the error that stops a handler which
 * never ends; and code called from a hook has no hooks. So the handler is skipped while the runtime
 * stops code (vm->is_stopping), and when a machine's budget is spent. */
#ifndef PERI_VM_XPCALL_H
#define PERI_VM_XPCALL_H

#include <lua.h>

/* Replaces the global xpcall. Raises. */
void vm_xpcall_open(lua_State *L);

#endif
