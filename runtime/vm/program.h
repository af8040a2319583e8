/* program.h - what a script sees of its process: os.exit, print and io.write in a state with
 * fibers.
 *
 * os.exit unwinds: it ends the loop and closes the state. Standard output that nobody reads any
 * more ends the program without a word, as SIGPIPE ends others; any other failed print is an error.
 */
#ifndef PERI_VM_PROGRAM_H
#define PERI_VM_PROGRAM_H

#include <lua.h>

#include "vm/fiber.h"
#include "vm/state.h"

enum { VM_EXIT_PIPE = 141 }; /* what a shell reports for a process that SIGPIPE ended */

/* Replaces print, os.exit, io.write and the write method of files. Raises. */
void vm_program_open(lua_State *L);

/* What was printed goes out before the program waits, wherever it goes to: who follows the output
 * of a server through a pipe or a file sees it at once. Ends the program when nobody reads it any
 * more; any other failure is left to the next print and to the end, which try again. */
void vm_program_wait(struct vm_state *vm);

/* Writes "perilune: MESSAGE" and the traceback of the failed fiber, whose handle is on top of
 * vm->L, to standard error. */
void vm_program_report_error(struct vm_state *vm);

#endif
