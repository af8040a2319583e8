/* fiber_info.h - what fiber_info.c has for fiber.c. */
#ifndef PERI_MODULES_FIBER_INFO_H
#define PERI_MODULES_FIBER_INFO_H

#include <lauxlib.h>
#include <stdint.h>

struct fiber;

extern const luaL_Reg fiber_info_methods[];   /* of a handle */
extern const luaL_Reg fiber_info_functions[]; /* of the module */

/* Pushes the handle of a fiber that is not done. */
void fiber_push_handle(lua_State *L, const struct fiber *fiber);

static inline double fiber_seconds(uint64_t us)
{
    return (double)us / 1e6;
}

#endif
