/* mr_blame.h - what a person reads of an error that a job's own code has raised. */
#ifndef PERI_MODULES_MR_BLAME_H
#define PERI_MODULES_MR_BLAME_H

#include <lua.h>

#include "base/slice.h"

/* Pushes what the error value at index says: its text, or what its __tostring makes; for another
 * table its fields, for anything else its type. Never an address, which would be another one in
 * every run. The text lives while it stands on the stack. */
const char *mr_blame_message(lua_State *L, int index);

/* Pushes the traceback of L and lends the part of it that is the job's: without the C functions
 * above the line that raised, and without ours below the job. Empty when no line is the job's. */
struct peri_slice mr_blame_traceback(lua_State *L);

/* Has L refuse to read a global that does not exist while the main chunk of the job file at path
 * runs: `reduce = totl` would mean no reduce at all. Other functions and other files may, and so
 * may anybody for what some Lua has and the sandbox has not. path is borrowed until the release. */
void mr_blame_unknown_globals(lua_State *L, const char *path);

/* Ends that. What the job itself has put into the metatable of its globals, or in its place, stays.
 */
void mr_blame_release_globals(lua_State *L);

#endif
