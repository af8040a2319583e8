#include "vm/coroutine.h"

#include <lauxlib.h>

#include "base/assert.h"
#include "vm/preempt.h"
#include "vm/scheduler.h"

/* What advance returns instead of a count of results. */
enum { FAILED = -1, PASSED_UP = -2 };

static uintptr_t *word_of(lua_State *co)
{
    return (uintptr_t *)lua_getextraspace(co);
}

void vm_coroutine_hold(lua_State *co, bool held)
{
    *word_of(co) = (*word_of(co) & ~(uintptr_t)1) | (held ? 1U : 0U);
}

static bool is_held(lua_State *co)
{
    return (*word_of(co) & 1U) != 0;
}

static lua_State *check_coroutine(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co != NULL, 1, "coroutine");
    return co;
}

/* Runs co until it ends, yields or fails; what it runs under is put back afterwards. */
static int run(lua_State *L, lua_State *co, int argument_count, int *result_count)
{
    struct vm_state *vm = vm_state_of(L);
    uint32_t barrier = lua_isyieldable(L) ? 0 : 1;
    vm->barriers += barrier;
    vm_coroutine_hold(co, true);
    vm->running = co;
    if (vm->attention)
        vm_preempt_arm(vm, co);
    int status = lua_resume(co, L, argument_count, result_count);
    vm->running = L;
    if (vm->attention)
        vm_preempt_arm(vm, L);
    vm->barriers -= barrier;
    return status;
}

static int fail(lua_State *L, const char *text)
{
    lua_pushstring(L, text);
    return FAILED;
}

/* Moves what co returned, yielded or raised to L. */
static int collect(lua_State *L, lua_State *co, int status, int result_count)
{
    vm_coroutine_hold(co, false);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return FAILED;
    }
    if (!lua_checkstack(L, result_count + 1)) {
        lua_pop(co, result_count);
        return fail(L, "too many results to resume");
    }
    lua_xmove(co, L, result_count);
    return result_count;
}

/* Runs the coroutine at index 1. Returns how many results it left on top of L; or FAILED, with an
 * error object on top; or PASSED_UP, when the core wants the baton and L has to yield. */
static int advance(lua_State *L, int argument_count)
{
    struct vm_state *vm = vm_state_of(L);
    lua_State *co = lua_tothread(L, 1);
    int result_count = 0;
    int status = run(L, co, argument_count, &result_count);
    if (status != LUA_YIELD || !vm->to_core)
        return collect(L, co, status, result_count);
    PERI_ASSERT(lua_isyieldable(L)); /* else a barrier has kept the core out */
    return PASSED_UP;
}

static int start(lua_State *L, int argument_count)
{
    lua_State *co = lua_tothread(L, 1);
    if (is_held(co) || co == L)
        return fail(L, "cannot resume non-suspended coroutine");
    if (!lua_checkstack(co, argument_count))
        return fail(L, "too many arguments to resume");
    lua_xmove(L, co, argument_count);
    return advance(L, argument_count);
}

/* ---- resume ---- */

static int resume_continue(lua_State *L, int status, lua_KContext ctx);

static int resume_finish(lua_State *L, int count)
{
    if (count == PASSED_UP)
        return lua_yieldk(L, 0, 0, resume_continue);
    lua_pushboolean(L, count != FAILED);
    if (count == FAILED)
        count = 1;
    lua_insert(L, -(count + 1));
    return count + 1;
}

static int resume_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return resume_finish(L, advance(L, 0));
}

static int l_resume(lua_State *L)
{
    (void)check_coroutine(L);
    return resume_finish(L, start(L, lua_gettop(L) - 1));
}

/* ---- wrap ---- */

/* Raises the error of the coroutine at index 1, with the caller's position as the standard wrap. */
static int wrap_raise(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    int status = lua_status(co);
    if (!is_held(co) && status != LUA_OK && status != LUA_YIELD) {
        (void)vm_preempt_reset_thread(vm_state_of(L), co);
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrap_continue(lua_State *L, int status, lua_KContext ctx);

static int wrap_finish(lua_State *L, int count)
{
    if (count == PASSED_UP)
        return lua_yieldk(L, 0, 0, wrap_continue);
    return count == FAILED ? wrap_raise(L) : count;
}

static int wrap_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return wrap_finish(L, advance(L, 0));
}

static int wrap_call(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    return wrap_finish(L, start(L, lua_gettop(L) - 1));
}

static int l_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

static int l_wrap(lua_State *L)
{
    (void)l_create(L);
    lua_pushcclosure(L, wrap_call, 1);
    return 1;
}

/* ---- yield, close and questions ---- */

static int l_yield(lua_State *L)
{
    struct vm_state *vm = vm_state_of(L);
    if (fiber_is_base(L))
        return luaL_error(L, "attempt to yield from outside a coroutine");
    if (vm->closing == L)
        return luaL_error(L, "attempt to yield across a C-call boundary");
    vm->to_core = false;
    return lua_yield(L, lua_gettop(L));
}

static const char *status_name(lua_State *L, lua_State *co)
{
    if (co == L)
        return "running";
    if (is_held(co))
        return "normal";
    lua_Debug activation;
    switch (lua_status(co)) {
    case LUA_YIELD:
        return "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &activation))
            return "normal";
        return lua_gettop(co) == 0 ? "dead" : "suspended";
    default:
        return "dead";
    }
}

static int l_status(lua_State *L)
{
    lua_pushstring(L, status_name(L, check_coroutine(L)));
    return 1;
}

static int l_close(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    const char *name = status_name(L, co);
    if (name[0] != 's' && name[0] != 'd')
        return luaL_error(L, "cannot close a %s coroutine", name);
    int status = vm_preempt_reset_thread(vm_state_of(L), co);
    lua_pushboolean(L, status == LUA_OK);
    if (status == LUA_OK)
        return 1;
    lua_xmove(co, L, 1);
    return 2;
}

static int l_running(lua_State *L)
{
    bool is_main = lua_pushthread(L) == 1;
    lua_pushboolean(L, is_main || fiber_is_main(L));
    return 2;
}

static int l_isyieldable(lua_State *L)
{
    lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    lua_pushboolean(L, lua_isyieldable(co) && !fiber_is_base(co) && co != vm_state_of(L)->closing);
    return 1;
}

void vm_coroutine_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"create", l_create},   {"resume", l_resume},           {"wrap", l_wrap},
        {"yield", l_yield},     {"status", l_status},           {"close", l_close},
        {"running", l_running}, {"isyieldable", l_isyieldable}, {NULL, NULL},
    };
    lua_getglobal(L, "coroutine");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}

lua_State *vm_coroutine_inner(lua_State *outer)
{
    lua_Debug activation;
    if (lua_status(outer) != LUA_YIELD || !lua_getstack(outer, 0, &activation) ||
        !lua_checkstack(outer, 2))
        return NULL;
    lua_State *inner = NULL;
    (void)lua_getinfo(outer, "f", &activation);
    lua_CFunction function = lua_tocfunction(outer, -1);
    lua_pop(outer, 1);
    if ((function == l_resume || function == wrap_call) &&
        lua_getlocal(outer, &activation, 1) != NULL) {
        inner = lua_tothread(outer, -1);
        lua_pop(outer, 1);
    }
    return inner;
}
