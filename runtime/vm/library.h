/* library.h - all library functions that this folder replaces, by one call. */
#ifndef PERI_VM_LIBRARY_H
#define PERI_VM_LIBRARY_H

#include <lua.h>

/* Opens the libraries of stock Lua that reach nothing outside the state: base (dofile and loadfile,
 * which do, too), string, table, math, utf8, coroutine. Raises on lack of memory. */
void vm_library_open_pure(lua_State *L);

/* Replaces, in the libraries that are open in L, the functions that could hold the core or grow
 * without bound: those of lstring.h, ltable.h, finalizer.h and loader.h. Call it once, after
 * luaL_openlibs. Raises on lack of memory. */
void vm_library_open(lua_State *L);

#endif
