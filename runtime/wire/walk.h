/* walk.h - walks a Lua value in one fixed order, for encoders.
 *
 * Lua's own order of table keys changes from run to run; bytes that leave the process must not. A
 * table whose keys are exactly 1..n is an array; any other non-empty table is a map, walked by key:
 * booleans, then numbers in numeric order, then strings by bytes. Metatables are ignored. The walk
 * refuses what is no data (functions, userdata, coroutines), cycles, and nesting beyond the limit,
 * and names the place: "t.a[3] is a function". */
#ifndef PERI_WIRE_WALK_H
#define PERI_WIRE_WALK_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum { WIRE_DEPTH_MAX = 100 };

/* A scalar met on the walk. type is LUA_TNIL (also for a null light userdata), LUA_TBOOLEAN,
 * LUA_TNUMBER or LUA_TSTRING; string is lent for the call. */
struct wire_scalar {
    int type;
    bool boolean;
    bool is_float;
    lua_Integer integer;
    lua_Number number;
    struct peri_slice string;
};

/* Who gets what the walk meets. Each returns 0, or a negative code that ends the walk; then the
 * walk's message is "<place> <*why>" when the callback has set *why to a lent text such as "is not
 * valid UTF-8", and the code's own text otherwise. */
struct wire_sink {
    int (*scalar)(void *data, const struct wire_scalar *scalar, const char **why);
    int (*key)(void *data, const struct wire_scalar *key, const char **why);
    int (*begin)(void *data, bool is_array, uint32_t count);
    int (*end)(void *data, bool is_array);
    void *data;
    const char *array_mark; /* name of a registry metatable that makes a table an array, or NULL */
    const void *standing;   /* a table that has this light userdata as a key stands for the table
                               that lies there; or NULL */
};

/* Reads the value at index when it is a scalar; false when it is none. Never raises. */
bool wire_read_scalar(lua_State *L, int index, struct wire_scalar *out);

/* Pushes it again. Raises on lack of memory. */
void wire_push_scalar(lua_State *L, const struct wire_scalar *scalar);

/* The order of keys, as qsort asks for it: two struct wire_scalar. */
int wire_compare_keys(const void *left, const void *right);

/* Walks the value at index; L's stack is unchanged afterwards. name is what messages call the value
 * ("t" when NULL). Never raises. Errors: PERI_EFORMAT for what is no data, PERI_ETOOBIG beyond
 * WIRE_DEPTH_MAX or 2^32 - 1 items, PERI_ENOMEM, the sink's. */
int wire_walk(lua_State *L, int index, const char *name, const struct wire_sink *sink,
              struct peri_error *err);

#endif
