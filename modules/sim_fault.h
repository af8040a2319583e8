/* sim_fault.h - what sim.c and sim_fault.c share: the functions of the controller alone. */
#ifndef PERI_MODULES_SIM_FAULT_H
#define PERI_MODULES_SIM_FAULT_H

#include <lauxlib.h>
#include <lua.h>

#include "simulation.h"

extern const luaL_Reg sim_fault_functions[];

/* The controller, when L is its state; raises elsewhere. */
struct sim_member *sim_check_controller(lua_State *L);

/* Pushes a table of what has happened so far: events, messages, operations of clients. */
void sim_push_stats(lua_State *L, const struct simulation *run);

#endif
