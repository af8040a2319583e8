/* sim_parts.h - what the files of perilune.core.sim share. */
#ifndef PERI_MODULES_SIM_PARTS_H
#define PERI_MODULES_SIM_PARTS_H

#include <lauxlib.h>
#include <lua.h>

#include "simulation.h"

extern const luaL_Reg sim_fault_functions[]; /* of the controller alone */

/* Adds the functions of sim_letter.c to the table on top. */
void sim_letter_open(lua_State *L);

/* The member whose state L is; raises outside of simulations. */
struct sim_member *sim_check_member(lua_State *L);

/* The member that the string at index names; raises when there is none. */
struct sim_member *sim_check_named(lua_State *L, struct simulation *run, int index);

/* The string at index, lent while it is on the stack; raises when it is none. */
struct peri_slice sim_check_bytes(lua_State *L, int index);

/* The controller, when L is its state; raises elsewhere. */
struct sim_member *sim_check_controller(lua_State *L);

/* Pushes a table of what has happened so far: events, messages, operations of clients. */
void sim_push_stats(lua_State *L, const struct simulation *run);

#endif
