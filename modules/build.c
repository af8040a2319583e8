/* build.c - require "perilune.build": what this binary was made from.
 *
 * A table of version, git (the commit, "+" behind it when the tree was changed), build_type,
 * compiler, and libraries (name to version). modules/build.cmake writes build_info.h. */
#include <jansson.h>
#include <lauxlib.h>
#include <leveldb/c.h>
#include <lua.h>
#include <lz4.h>
#include <openssl/crypto.h>
#include <uv/version.h>
#include <zlib.h>
#include <zstd.h>

#include "build_info.h"

int luaopen_perilune_build(lua_State *L);

static void set(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

int luaopen_perilune_build(lua_State *L)
{
    lua_newtable(L);
    set(L, "version", PERILUNE_VERSION);
    set(L, "git", PERILUNE_GIT);
    set(L, "build_type", PERILUNE_BUILD_TYPE);
    set(L, "compiler", __VERSION__);

    lua_newtable(L);
    set(L, "lua", LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE);
    lua_pushfstring(L, "%d.%d.%d", UV_VERSION_MAJOR, UV_VERSION_MINOR, UV_VERSION_PATCH);
    lua_setfield(L, -2, "libuv");
    set(L, "libmpack", PERILUNE_MPACK_VERSION);
    set(L, "jansson", JANSSON_VERSION);
    set(L, "lz4", LZ4_versionString());
    set(L, "zstd", ZSTD_versionString());
    lua_pushfstring(L, "%d.%d", leveldb_major_version(), leveldb_minor_version());
    lua_setfield(L, -2, "leveldb");
    set(L, "zlib", zlibVersion());
    set(L, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    lua_setfield(L, -2, "libraries");
    return 1;
}
