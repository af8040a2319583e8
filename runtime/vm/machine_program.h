/* machine_program.h - a machine's file, loaded: its functions, its version, its budget. */
#ifndef PERI_VM_MACHINE_PROGRAM_H
#define PERI_VM_MACHINE_PROGRAM_H

#include <lua.h>
#include <stdbool.h>

#include "base/slice.h"

enum vm_function {
    VM_FUNCTION_INIT,
    VM_FUNCTION_APPLY,
    VM_FUNCTION_QUERY,
    VM_FUNCTION_SNAPSHOT,
    VM_FUNCTION_RESTORE,
    VM_FUNCTION_MIGRATE,
    VM_FUNCTIONS
};

#define VM_MACHINE_INSTRUCTIONS UINT64_C(10000000)
#define VM_MACHINE_BYTES ((uint64_t)64 << 20)

/* References are of the state's registry; LUA_NOREF: there is none. */
struct vm_program {
    int functions[VM_FUNCTIONS];
    int variables; /* machine_freeze.h */
    int samples;   /* a list of commands, for tests */
    int64_t version;
    bool is_stored;               /* the state is in ctx.store */
    uint64_t instructions, bytes; /* the budget of a command */
};

/* Runs the text, named name, and reads what it returns. Raises for what is no machine. */
void vm_program_load(lua_State *L, struct vm_program *program, struct peri_slice text,
                     const char *name);

/* A program of nothing. */
void vm_program_init(struct vm_program *program);

/* Lets go of the references. */
void vm_program_unload(lua_State *L, struct vm_program *program);

#endif
