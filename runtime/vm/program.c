#include "vm/program.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vm/preempt.h"
#include "vm/scheduler.h"

static int never_continued(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return luaL_error(L, "the program has ended");
}

/* Ends the program; does not return to Lua, where that is possible. */
static int leave(lua_State *L, int status)
{
    struct vm_state *vm = vm_state_of(L);
    if (vm->scheduler == NULL) /* a finalizer, while the state is being closed */
        return luaL_error(L, "the program has ended");
    fiber_scheduler_exit(vm, status);
    if (fiber_current(L) != NULL && vm_can_yield(L))
        return fiber_to_core(L, never_continued);
    vm->attention = 1; /* no pcall can go on from here */
    if (vm->running != NULL)
        vm_preempt_arm(vm, vm->running);
    return luaL_error(L, "the program ends");
}

static int l_exit(lua_State *L)
{
    int status;
    if (lua_isboolean(L, 1))
        status = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
    else
        status = (int)luaL_optinteger(L, 1, EXIT_SUCCESS) & 0xff;
    return leave(L, status);
}

static int check_output(lua_State *L, int error)
{
    if (error == EPIPE)
        return leave(L, VM_EXIT_PIPE);
    return luaL_error(L, "cannot write to standard output: %s", strerror(error));
}

/* A simulated node's output goes through its environment: the first arguments, one behind the other
 * with separator between them. Two nodes must not share the C library's streams. */
static void write_to_env(lua_State *L, FILE *stream, int first, const char *separator,
                         const char *end)
{
    struct env *env = vm_state_of(L)->env;
    struct env_file *file = stream == stderr ? env_file_stderr(env) : env_file_stdout(env);
    struct peri_error err = PERI_ERROR_INIT;
    int last = lua_gettop(L);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (int i = first; i <= last; i++) {
        if (i > first)
            luaL_addstring(&out, separator);
        (void)luaL_tolstring(L, i, NULL);
        luaL_addvalue(&out);
    }
    luaL_addstring(&out, end);
    luaL_pushresult(&out);
    if (env_file_write(file, lua_tostring(L, -1), lua_rawlen(L, -1), &err) != 0)
        luaL_error(L, "%s", err.text);
    lua_pop(L, 1);
}

static bool is_simulated(lua_State *L)
{
    return vm_state_of(L)->options->simulated != NULL;
}

static int l_print(lua_State *L)
{
    if (is_simulated(L)) {
        write_to_env(L, stdout, 1, "\t", "\n");
        return 0;
    }
    int count = lua_gettop(L);
    bool is_written = true;
    for (int i = 1; i <= count; i++) {
        size_t size;
        const char *text = luaL_tolstring(L, i, &size);
        if (i > 1)
            is_written = fputc('\t', stdout) != EOF && is_written;
        is_written = fwrite(text, 1, size, stdout) == size && is_written;
        lua_pop(L, 1);
    }
    is_written = fputc('\n', stdout) != EOF && is_written;
    return is_written ? 0 : check_output(L, errno);
}

/* io.write(...) and file:write(...) of a simulated node; a file can only be a standard stream. */
static int write_simulated(lua_State *L, bool is_method)
{
    const luaL_Stream *stream = is_method ? luaL_checkudata(L, 1, LUA_FILEHANDLE) : NULL;
    int first = is_method ? 2 : 1;
    for (int i = first; i <= lua_gettop(L); i++)
        (void)luaL_checkstring(L, i);
    write_to_env(L, is_method ? stream->f : stdout, first, "", "");
    if (is_method)
        lua_settop(L, 1);
    else
        lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output"); /* stock's name of io.stdout */
    return 1;
}

/* Upvalue 1 is the function of the standard library, upvalue 2 says whether it is a method. */
static int l_write(lua_State *L)
{
    if (is_simulated(L))
        return write_simulated(L, lua_toboolean(L, lua_upvalueindex(2)));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    if (lua_isnil(L, 1) && lua_tointeger(L, 3) == EPIPE && ferror(stdout))
        return leave(L, VM_EXIT_PIPE);
    return lua_gettop(L);
}

/* Wraps the function "write" of the table on top. */
static void wrap_write(lua_State *L, bool is_method)
{
    lua_getfield(L, -1, "write");
    lua_pushboolean(L, is_method);
    lua_pushcclosure(L, l_write, 2);
    lua_setfield(L, -2, "write");
}

void vm_program_open(lua_State *L)
{
    lua_pushcfunction(L, l_print);
    lua_setglobal(L, "print");
    lua_getglobal(L, LUA_OSLIBNAME);
    lua_pushcfunction(L, l_exit);
    lua_setfield(L, -2, "exit");
    lua_getglobal(L, LUA_IOLIBNAME);
    wrap_write(L, false);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    lua_getfield(L, -1, "__index");
    wrap_write(L, true);
    lua_pop(L, 4);
}

void vm_program_wait(struct vm_state *vm)
{
    if (vm->options->simulated == NULL && fflush(stdout) != 0 && errno == EPIPE)
        fiber_scheduler_exit(vm, VM_EXIT_PIPE);
}

void vm_program_report_error(struct vm_state *vm)
{
    lua_State *L = vm->L;
    (void)lua_getiuservalue(L, -1, FIBER_TRACEBACK);
    const char *text = lua_isstring(L, -1) ? lua_tostring(L, -1) : "not enough memory";
    struct env_file *file = env_file_stderr(vm->env);
    (void)fflush(stdout);
    (void)env_file_write(file, "perilune: ", strlen("perilune: "), NULL);
    (void)env_file_write(file, text, strlen(text), NULL);
    (void)env_file_write(file, "\n", 1, NULL);
    lua_pop(L, 1);
}
