/* machine_draw.h - ctx.random: numbers that every replica draws alike.
 *
 * Called like math.random: () a float from 0 to 1, (m) an integer from 1 to m, (m, n) from m to n.
 * A command's draws depend on its entry alone. */
#ifndef PERI_VM_MACHINE_DRAW_H
#define PERI_VM_MACHINE_DRAW_H

#include <lua.h>
#include <stdint.h>

struct vm_draw {
    uint64_t state;
};

/* The draws of a command begin. */
void vm_draw_seed(struct vm_draw *draw, uint64_t seed, uint64_t index);

/* Pushes the function; draw stays lent while the state lives. Raises. */
void vm_draw_push(lua_State *L, struct vm_draw *draw);

#endif
