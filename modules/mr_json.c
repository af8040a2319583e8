/* rec:json(): a JSON value as a Lua value. */
#include <jansson.h>
#include <lauxlib.h>

#include "mapreduce/json_path.h"
#include "mr_text.h"

static void push_value(lua_State *L, json_t *value);

static void push_object(lua_State *L, json_t *object)
{
    const char *key;
    size_t size;
    json_t *value;
    lua_createtable(L, 0, (int)json_object_size(object));
    json_object_keylen_foreach(object, key, size, value)
    {
        lua_pushlstring(L, key, size);
        push_value(L, value);
        lua_rawset(L, -3);
    }
}

static void push_array(lua_State *L, json_t *array)
{
    size_t count = json_array_size(array);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_value(L, json_array_get(array, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void push_value(lua_State *L, json_t *value)
{
    luaL_checkstack(L, 4, "JSON nested too deeply");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        push_object(L, value);
        break;
    case JSON_ARRAY:
        push_array(L, value);
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, (lua_Integer)json_integer_value(value));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        break;
    case JSON_NULL:
        lua_pushlightuserdata(L, NULL); /* perilune.json.null: a table cannot hold nil */
        break;
    }
}

/* Lua may raise while the tree lives, so a userdata owns it. */
struct tree {
    json_t *root;
};

static int close_tree(lua_State *L)
{
    struct tree *tree = lua_touserdata(L, 1);
    json_decref(tree->root);
    tree->root = NULL;
    return 0;
}

static struct tree *push_tree(lua_State *L)
{
    struct tree *tree = lua_newuserdatauv(L, sizeof *tree, 0);
    tree->root = NULL;
    if (luaL_newmetatable(L, "perilune.json.tree")) {
        lua_pushcfunction(L, close_tree);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return tree;
}

void mr_json_push(lua_State *L, struct peri_slice text, struct peri_slice path, const char *where)
{
    struct tree *tree = push_tree(L);
    json_error_t error;
    struct peri_error err = PERI_ERROR_INIT;
    json_t *found = NULL;
    tree->root = json_loadb(text.size == 0 ? "" : text.data, text.size,
                            JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (tree->root == NULL)
        luaL_error(L, "%s is not JSON: %s (at byte %d)", where, error.text, error.position);
    if (mr_json_find(tree->root, path, &found, &err) != 0)
        luaL_error(L, "%s", err.text);
    if (found == NULL || json_is_null(found))
        lua_pushnil(L);
    else
        push_value(L, found);
    json_decref(tree->root);
    tree->root = NULL;
}
