/* perilune.core.log: log lines; lua/perilune/log.lua stands in front. */
#include "env/log.h"

#include <string.h>

#include "box.h"
#include "vm/state.h"

enum { FIELDS_MAX = 64 };

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_names[] = {"logfmt", "json", NULL};

static struct peri_slice check_slice(lua_State *L, int index)
{
    struct peri_slice slice;
    slice.data = luaL_checklstring(L, index, &slice.size);
    return slice;
}

/* write(level, component|nil, message, fields): fields is a list of key, text, is_literal, ... */
static int l_write(lua_State *L)
{
    struct env_log_field fields[FIELDS_MAX];
    enum { PER_FIELD = 3, LIST = 4 };
    int level = luaL_checkoption(L, 1, NULL, level_names);
    const char *component = luaL_optstring(L, 2, NULL);
    struct peri_slice message = check_slice(L, 3);
    luaL_checktype(L, LIST, LUA_TTABLE);
    size_t count = lua_rawlen(L, LIST) / PER_FIELD;
    luaL_argcheck(L, count <= FIELDS_MAX, LIST, "more than 64 fields");
    luaL_checkstack(L, FIELDS_MAX * PER_FIELD, NULL);
    for (size_t i = 0; i < count; i++) { /* the texts stay on the stack until they are written */
        for (int k = 1; k <= PER_FIELD; k++)
            (void)lua_rawgeti(L, LIST, (lua_Integer)i * PER_FIELD + k);
        fields[i] =
            (struct env_log_field){check_slice(L, -3), check_slice(L, -2), lua_toboolean(L, -1)};
    }
    env_log_fields(vm_state_of(L)->env, (enum env_log_level)level, component, message, fields,
                   count);
    return 0;
}

static int l_is_on(lua_State *L)
{
    int level = luaL_checkoption(L, 1, NULL, level_names);
    lua_pushboolean(L, env_log_is_on(vm_state_of(L)->env, (enum env_log_level)level));
    return 1;
}

/* level([new]): the old one. */
static int l_level(lua_State *L)
{
    struct env *env = vm_state_of(L)->env;
    enum env_log_level before = env_log_level(env);
    if (!lua_isnoneornil(L, 1))
        env_log_set_level(env, (enum env_log_level)luaL_checkoption(L, 1, NULL, level_names));
    lua_pushstring(L, env_log_level_name(before));
    return 1;
}

static int l_format(lua_State *L)
{
    struct env *env = vm_state_of(L)->env;
    enum env_log_format before = env_log_format(env);
    if (!lua_isnoneornil(L, 1))
        env_log_set_format(env, (enum env_log_format)luaL_checkoption(L, 1, NULL, format_names));
    lua_pushstring(L, format_names[before]);
    return 1;
}

int luaopen_perilune_log(lua_State *L);

int luaopen_perilune_log(lua_State *L)
{
    static const luaL_Reg functions[] = {{"write", l_write},
                                         {"is_on", l_is_on},
                                         {"level", l_level},
                                         {"format", l_format},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
