/* world.h - what Lua's standard libraries see of the world: what env shows them.
 *
 * In every state os.time, os.clock, os.date, os.getenv and the seed of math.random come from env,
 * and os.setlocale knows "C" only. Live that is what stock Lua gives. In simulation time is the
 * node's clock, the zone is UTC, the environment is the node's, the generator starts from the
 * node's random stream; and what no seed could repeat raises "io.popen: not available in
 * simulation: ..." with what to use instead. Allowed there although it shows the process elsewhere,
 * because the state is pinned (vm/arena.h): addresses in tostring and "%p", collectgarbage "count"
 * and "step", weak tables, the order of pairs. Files of code (require, loadfile, dofile) are inputs
 * of the run, like the script itself.
 */
#ifndef PERI_VM_WORLD_H
#define PERI_VM_WORLD_H

#include <lua.h>

/* Call it before luaL_openlibs: a simulated state then ignores LUA_PATH and LUA_INIT. Raises. */
void vm_world_prepare(lua_State *L);

/* Replaces the functions named above in the libraries that are open, and seeds math.random from
 * env_random. Raises. */
void vm_world_open(lua_State *L);

#endif
