/* json.h - JSON to and from Lua values (RFC 8259, strict).
 *
 * Lua                  JSON      back in Lua
 * nil, WIRE_JSON_NULL  null      WIRE_JSON_NULL, a null light userdata
 * integer              integer   integer, 64 bits exact
 * float                number    float (1.0 is written "1.0"); infinite and NaN are refused
 * string               string    string; bytes that are not UTF-8 are refused
 * table 1..n           array     table with the metatable WIRE_JSON_ARRAY
 * other table          object    table; keys that are not strings are refused
 *
 * An empty table is an object unless it has the metatable WIRE_JSON_ARRAY. */
#ifndef PERI_WIRE_JSON_H
#define PERI_WIRE_JSON_H

#include <lua.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"

/* Name of the metatable (luaL_newmetatable) that marks arrays; the caller has made it. */
#define WIRE_JSON_ARRAY "perilune.json.array"

struct wire_json_options {
    const char *name; /* what messages call the value; NULL: "t" */
    bool is_pretty;   /* two spaces a level, one item a line */
    bool is_lossy; /* what has no JSON is no error: bytes that are not UTF-8 become U+FFFD, infinite
                      and NaN null, keys that are numbers or booleans text */
};

/* Appends the JSON of the value at index to out, keys sorted by bytes. Never raises. Errors:
 * wire_walk's, PERI_ENOMEM; out then ends where it ended before. */
int wire_json_encode(lua_State *L, int index, const struct wire_json_options *options,
                     struct peri_buffer *out, struct peri_error *err);

/* Pushes the value of text, which must be one JSON value and nothing else. Never raises. Errors:
 * PERI_EFORMAT with line and column, PERI_ETOOBIG for nesting beyond WIRE_DEPTH_MAX, PERI_ENOMEM.
 */
int wire_json_decode(lua_State *L, struct peri_slice text, struct peri_error *err);

/* Pushes the value of a tree of jansson's, which is borrowed. Never raises. Errors: PERI_ETOOBIG,
 * PERI_ENOMEM. */
struct json_t;
int wire_json_push(lua_State *L, const struct json_t *root, struct peri_error *err);

#endif
