/* machine.h - what Lua is told of a machine in a file, be it alone or that of a group. */
#ifndef PERI_MODULES_MACHINE_H
#define PERI_MODULES_MACHINE_H

#include "box.h"
#include "vm/machine.h"

/* Pushes { hash, version, memory, used }. Raises on lack of memory. */
static inline void machine_push_info(lua_State *L, const struct vm_machine *machine)
{
    lua_createtable(L, 0, 4);
    box_set_integer(L, "hash", (lua_Integer)vm_machine_hash(machine));
    box_set_integer(L, "version", (lua_Integer)vm_machine_version(machine));
    box_set_integer(L, "memory", (lua_Integer)vm_machine_memory(machine));
    box_set_integer(L, "used", (lua_Integer)vm_machine_used(machine));
}

#endif
