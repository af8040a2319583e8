/* refusal.h - library functions that raise, and say what to use instead. */
#ifndef PERI_VM_REFUSAL_H
#define PERI_VM_REFUSAL_H

#include <lua.h>
#include <stddef.h>

struct vm_refusal {
    const char *library; /* the global table; "file" is the methods of files; NULL: a global */
    const char *name;
    const char *instead;
};

/* Replaces each of the functions, in tables that it makes where there are none, by one that raises
 * "os.execute: not available <where>: <instead>". list and where stay lent while the state lives.
 * Raises on lack of memory. */
void vm_refuse(lua_State *L, const struct vm_refusal *list, size_t count, const char *where);

#endif
