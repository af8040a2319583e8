/* rec:json(): the value at a path of a record's JSON. */
#include <jansson.h>
#include <lauxlib.h>

#include "mapreduce/json_path.h"
#include "mr_text.h"
#include "wire/json.h"

/* Pushes the value at path of the tree. Never raises, since the tree is no Lua memory. */
static int push_found(lua_State *L, json_t *root, struct peri_slice path, struct peri_error *err)
{
    json_t *found = NULL;
    int rc = mr_json_find(root, path, &found, err);
    if (rc != 0)
        return rc;
    if (found != NULL && !json_is_null(found))
        return wire_json_push(L, found, err);
    lua_pushnil(L);
    return 0;
}

void mr_json_push(lua_State *L, struct peri_slice text, struct peri_slice path, const char *where)
{
    json_error_t detail;
    struct peri_error err = PERI_ERROR_INIT;
    (void)luaL_newmetatable(L, WIRE_JSON_ARRAY); /* marks arrays; the push expects it */
    json_t *root = json_loadb(text.size == 0 ? "" : text.data, text.size,
                              JSON_DECODE_ANY | JSON_ALLOW_NUL, &detail);
    if (root == NULL)
        luaL_error(L, "%s is not JSON: %s (at byte %d)", where, detail.text, detail.position);
    int rc = push_found(L, root, path, &err);
    json_decref(root);
    if (rc != 0)
        luaL_error(L, "%s: %s", where, err.text);
}
