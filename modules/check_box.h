/* check_box.h - the checker's objects as userdata; for modules/check*.c only. */
#ifndef PERI_MODULES_CHECK_BOX_H
#define PERI_MODULES_CHECK_BOX_H

#include "check/linearizable.h"

#include "box.h"

#define CHECK_HISTORY_TYPE "perilune.check.History"
#define CHECK_PART_TYPE "perilune.check.Part"

struct check_history_box {
    struct check_history history;
    bool is_open;
};

/* The history of the userdata at index; raises when it is none. */
struct check_history *check_history_at(lua_State *L, int index);

/* Pushes a value: nil (inside a table json.null), booleans, numbers, strings, tables. */
void check_push_value(lua_State *L, const struct check_values *values, check_value value);

/* Reads what check_push_value pushes. Raises for functions, userdata, threads and cycles. */
check_value check_read_value(lua_State *L, struct check_values *values, int index);

/* User values keep what it borrows: the history; the operations' names of an external model. */
struct check_part_box {
    struct check_part *part;
    struct check_history *history;
    struct check_external external;
};

/* The part of the userdata at index; raises when it is none, or closed. */
struct check_part_box *check_part_at(lua_State *L, int index);

/* Makes the metatable of a type that is ended by close, with these methods. */
void check_define_type(lua_State *L, const char *type, const luaL_Reg *methods,
                       lua_CFunction close);

/* Defines the type of parts, and those of searches. */
void check_define_parts(lua_State *L);
void check_define_searches(lua_State *L);

/* part:search(memory, events, roles) and part:sequential(memory). */
int check_part_search(lua_State *L);
int check_part_sequential(lua_State *L);

/* history:part(model, operations, external): compiles operations for a model. */
int check_new_part(lua_State *L);

#endif
