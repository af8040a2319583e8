/* mr_plan.c - require "perilune.mr_plan": how inputs are cut into map tasks.
 *
 *   plan(files, format, split_bytes, workers, tasks_max)   the tasks
 *   probe(path, format)                                    must the file be read as one stream? */
#include <lauxlib.h>
#include <lua.h>

#include "mapreduce/reader.h"
#include "mapreduce/split.h"
#include "vm/state.h"

int luaopen_perilune_mr_plan(lua_State *L);

static void read_files(lua_State *L, struct mr_split_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        lua_geti(L, 1, (lua_Integer)i + 1);
        lua_getfield(L, -1, "path");
        lua_getfield(L, -2, "size");
        lua_getfield(L, -3, "is_stream");
        files[i] = (struct mr_split_file){luaL_checkstring(L, -3),
                                          (uint64_t)luaL_checkinteger(L, -2), lua_toboolean(L, -1)};
        lua_pop(L, 4); /* the path stays alive in the list */
    }
}

static void push_task(lua_State *L, const struct mr_split *split, int file)
{
    lua_createtable(L, 0, 5);
    lua_pushstring(L, split->path);
    lua_setfield(L, -2, "path");
    lua_pushinteger(L, (lua_Integer)split->offset);
    lua_setfield(L, -2, "offset");
    if (split->length != MR_SPLIT_TO_END) {
        lua_pushinteger(L, (lua_Integer)split->length);
        lua_setfield(L, -2, "length");
    }
    lua_pushinteger(L, (lua_Integer)split->step);
    lua_setfield(L, -2, "step");
    lua_pushinteger(L, file);
    lua_setfield(L, -2, "file");
}

/* plan({ { path, size, is_stream }... }, format, split_bytes, workers, tasks_max) -> tasks, splits,
 * bytes of a split */
static int l_plan(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_format_spec format;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (mr_format_parse(luaL_checkstring(L, 2), &format, &err) != 0)
        return luaL_error(L, "%s", err.text);
    size_t count = lua_rawlen(L, 1);
    struct mr_split_file *files = lua_newuserdatauv(L, (count + 1) * sizeof *files, 0);
    read_files(L, files, count);
    struct mr_split_options options = {.format = format.format,
                                       .size_bytes = (uint64_t)luaL_optinteger(L, 3, 0),
                                       .workers = (uint32_t)luaL_optinteger(L, 4, 1),
                                       .tasks_max = (uint32_t)luaL_optinteger(L, 5, 0)};
    struct mr_split_plan plan;
    if (mr_split_plan_init(&plan, files, count, &options) != 0)
        return luaL_error(L, "not enough memory for the plan");
    lua_createtable(L, plan.count < 10000 ? (int)plan.count : 0, 0);
    int file = 0;
    for (size_t i = 0; i < plan.count; i++) {
        while (files[file].path != plan.tasks[i].path)
            file++; /* tasks come in the order of the files */
        push_task(L, &plan.tasks[i], file + 1);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushinteger(L, (lua_Integer)plan.splits);
    lua_pushinteger(L, (lua_Integer)plan.size_bytes);
    mr_split_plan_deinit(&plan);
    return 3;
}

/* probe(path, format) -> must the file be read as one stream; or nil, message, code */
static int l_probe(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_format_spec format;
    bool is_stream = false;
    const char *path = luaL_checkstring(L, 1);
    int rc = mr_format_parse(luaL_checkstring(L, 2), &format, &err);
    if (rc == 0)
        rc = mr_reader_probe(vm_state_of(L)->env, path, format.format, &is_stream, &err);
    if (rc != 0) {
        lua_pushnil(L);
        lua_pushstring(L, err.text);
        lua_pushstring(L, peri_error_name(rc));
        return 3;
    }
    lua_pushboolean(L, is_stream);
    return 1;
}

int luaopen_perilune_mr_plan(lua_State *L)
{
    static const luaL_Reg functions[] = {{"plan", l_plan}, {"probe", l_probe}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
