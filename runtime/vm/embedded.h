/* embedded.h - the Lua library inside the binary; lua/embed.cmake writes the table. */
#ifndef PERI_VM_EMBEDDED_H
#define PERI_VM_EMBEDDED_H

#include <stddef.h>

struct vm_embedded {
    const char *module; /* "perilune.cli.run" */
    const char *file;   /* "perilune/cli/run.lua", for messages */
    const char *start;
    const char *end;
};

extern const struct vm_embedded vm_embedded_table[];
extern const size_t vm_embedded_count;

#endif
