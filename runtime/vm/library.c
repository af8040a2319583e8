#include "vm/library.h"

#include <lauxlib.h>
#include <lualib.h>

#include "vm/finalizer.h"
#include "vm/loader.h"
#include "vm/lstring.h"
#include "vm/ltable.h"

void vm_library_open_pure(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},
        {LUA_COLIBNAME, luaopen_coroutine},
        {NULL, NULL},
    };
    for (const luaL_Reg *library = libraries; library->name != NULL; library++) {
        luaL_requiref(L, library->name, library->func, 1);
        lua_pop(L, 1);
    }
}

void vm_library_open(lua_State *L)
{
    vm_string_open(L);
    vm_table_open(L);
    vm_finalizers_open(L);
    vm_loader_open(L);
}
