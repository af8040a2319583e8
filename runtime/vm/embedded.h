/* embedded.h - the library inside the binary; lua/embed.cmake writes both tables.
 *
 * require "perilune.NAME" finds lua/perilune/NAME.lua (or NAME/init.lua), and where there is no
 * such file the C module modules/NAME.c, by luaopen_perilune_NAME. A Lua file that stands in front
 * of a C module of its name reaches it as "perilune.core.NAME". */
#ifndef PERI_VM_EMBEDDED_H
#define PERI_VM_EMBEDDED_H

#include <lua.h>
#include <stddef.h>

struct vm_embedded {
    const char *module; /* "perilune.cli.run" */
    const char *file;   /* "perilune/cli/run.lua", for messages */
    const char *start;  /* what lua_dump made of it */
    const char *end;
};

extern const struct vm_embedded vm_embedded_table[];
extern const size_t vm_embedded_count;

struct vm_module {
    const char *name; /* "fs" */
    lua_CFunction open;
};

extern const struct vm_module vm_module_table[];
extern const size_t vm_module_count;

#endif
