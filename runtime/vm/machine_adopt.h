/* machine_adopt.h - plain tables become part of a machine's state: each gets its stand-in, and what
 * is no data is refused (machine_tables.h). Functions that take an L raise on lack of memory. */
#ifndef PERI_VM_MACHINE_ADOPT_H
#define PERI_VM_MACHINE_ADOPT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

extern const char vm_adopt_metatable_key; /* its address: where the registry has the metatable of
                                             stand-ins */

/* What is under way; indexes are of the stack. */
struct vm_adoption {
    int done;  /* table: plain table -> its stand-in */
    int tally; /* table: stand-in -> in how many more places it is than before */
    int metatable;
    unsigned faults; /* a bit each */
    bool has_tally;
};

/* True for the types of which a state is made; tables are among them. */
bool vm_adopt_is_data(int type);

/* The hash of a value; a table has one of its own (vm_adopt). Charges for long strings. */
uint64_t vm_adopt_hash_value(lua_State *L, int index);

/* True when the table at index is a stand-in. */
bool vm_adopt_is_stand_in(lua_State *L, int index);

/* Pushes what an adoption needs. */
struct vm_adoption vm_adopt_begin(lua_State *L);

/* The plain table on top, and what hangs in it, at that depth. Returns the hash of what it holds.
 */
uint64_t vm_adopt(lua_State *L, struct vm_adoption *adoption, int depth);

/* The stand-in at index is in so many more places than before. */
void vm_adopt_count_place(lua_State *L, struct vm_adoption *adoption, int index, lua_Integer by);

/* A table is in two places. */
void vm_adopt_fail_places(struct vm_adoption *adoption);

/* Raises when something was no data: always the same of several faults. */
void vm_adopt_check(lua_State *L, const struct vm_adoption *adoption);

#endif
