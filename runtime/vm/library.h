/* library.h - all library functions that this folder replaces, by one call. */
#ifndef PERI_VM_LIBRARY_H
#define PERI_VM_LIBRARY_H

#include <lua.h>

/* Replaces, in the libraries that are open in L, the functions that could hold the core or grow
 * without bound: those of lstring.h, ltable.h, finalizer.h and loader.h. Call it once, after
 * luaL_openlibs. Raises on lack of memory. */
void vm_library_open(lua_State *L);

#endif
