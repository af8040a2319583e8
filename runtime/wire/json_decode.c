#include <jansson.h>
#include <lauxlib.h>

#include "wire/json.h"
#include "wire/walk.h"

static int push_value(lua_State *L, const json_t *value, int depth);

static int push_array(lua_State *L, const json_t *array, int depth)
{
    size_t count = json_array_size(array);
    lua_createtable(L, count < INT32_MAX ? (int)count : INT32_MAX, 0);
    luaL_setmetatable(L, WIRE_JSON_ARRAY);
    for (size_t i = 0; i < count; i++) {
        int rc = push_value(L, json_array_get(array, i), depth + 1);
        if (rc != 0)
            return rc;
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 0;
}

static int push_object(lua_State *L, const json_t *object, int depth)
{
    size_t count = json_object_size(object);
    lua_createtable(L, 0, count < INT32_MAX ? (int)count : INT32_MAX);
    json_t *walked = (json_t *)(uintptr_t)object; /* jansson's iterators take no const */
    for (void *at = json_object_iter(walked); at != NULL; at = json_object_iter_next(walked, at)) {
        lua_pushstring(L, json_object_iter_key(at));
        int rc = push_value(L, json_object_iter_value(at), depth + 1);
        if (rc != 0)
            return rc;
        lua_rawset(L, -3);
    }
    return 0;
}

static int push_value(lua_State *L, const json_t *value, int depth)
{
    enum { SLOTS = 4 };
    if (depth == WIRE_DEPTH_MAX && (json_is_array(value) || json_is_object(value)))
        return PERI_ETOOBIG;
    luaL_checkstack(L, SLOTS, NULL);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return push_object(L, value, depth);
    case JSON_ARRAY:
        return push_array(L, value, depth);
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        return 0;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(value));
        return 0;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(value));
        return 0;
    case JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        return 0;
    default:
        lua_pushboolean(L, json_is_true(value));
        return 0;
    }
}

struct json_push {
    const json_t *root;
    int rc;
};

static int push_protected(lua_State *L)
{
    struct json_push *push = lua_touserdata(L, 1);
    push->rc = push_value(L, push->root, 0);
    return push->rc == 0 ? 1 : 0;
}

/* The detail of a code that the push ended with. */
static int fail_push(int code, struct peri_error *err)
{
    if (code == PERI_ETOOBIG)
        return peri_fail_plain(err, code, "JSON: nested deeper than %d levels", WIRE_DEPTH_MAX);
    return peri_fail(err, code, "JSON");
}

/* jansson's tree is no Lua memory, so no error may jump over its release. */
int wire_json_push(lua_State *L, const struct json_t *root, struct peri_error *err)
{
    struct json_push push = {root, PERI_ENOMEM};
    if (!lua_checkstack(L, 2))
        return fail_push(PERI_ENOMEM, err);
    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, &push);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        push.rc = PERI_ENOMEM;
    if (push.rc != 0) {
        lua_pop(L, 1);
        return fail_push(push.rc, err);
    }
    return 0;
}

static int fail_parse(const json_error_t *detail, struct peri_error *err)
{
    switch (json_error_code(detail)) {
    case json_error_out_of_memory:
        return peri_fail(err, PERI_ENOMEM, "JSON");
    case json_error_stack_overflow:
        return fail_push(PERI_ETOOBIG, err);
    default:
        return peri_fail_plain(err, PERI_EFORMAT, "JSON line %d column %d: %s", detail->line,
                               detail->column, detail->text);
    }
}

int wire_json_decode(lua_State *L, struct peri_slice text, struct peri_error *err)
{
    json_error_t detail;
    const char *bytes = text.data != NULL ? text.data : "";
    json_t *root = json_loadb(bytes, text.size,
                              JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &detail);
    if (root == NULL)
        return fail_parse(&detail, err);
    int rc = wire_json_push(L, root, err);
    json_decref(root);
    return rc;
}
