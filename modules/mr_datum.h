/* mr_datum.h - Lua values as keys and values of the record path, and back. */
#ifndef PERI_MODULES_MR_DATUM_H
#define PERI_MODULES_MR_DATUM_H

#include <lua.h>

#include "base/buffer.h"
#include "mapreduce/value.h"

/* Reads the value at index: nil, boolean, number, string, or a record or slice (its bytes); where
 * tables may stand, a table, encoded into scratch (cleared first). Strings are lent by the value.
 * Raises "WHAT must be ..., got TYPE" for the rest. */
void mr_datum_read(lua_State *L, int index, const char *what, struct mr_datum *out);
void mr_datum_read_value(lua_State *L, int index, struct peri_buffer *scratch,
                         struct mr_datum *out);

/* Pushes the value. Errors: PERI_EFORMAT for a table that is no MessagePack; nothing is pushed. */
int mr_datum_push(lua_State *L, const struct mr_datum *datum, struct peri_error *err);

#endif
