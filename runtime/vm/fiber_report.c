#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "env/log.h"
#include "vm/coroutine.h"
#include "vm/scheduler.h"

static lua_State *innermost(const struct fiber *fiber)
{
    lua_State *running = fiber->scheduler->vm->running;
    if (fiber == fiber->scheduler->current && running != NULL)
        return running;
    lua_State *co = fiber->L;
    for (lua_State *inner = co; inner != NULL; inner = vm_coroutine_inner(inner))
        co = inner;
    return co;
}

/* Frames of the embedded library are ours; a person looks for the line of their own. */
static bool is_library(const lua_Debug *activation)
{
    return strncmp(activation->source, "@perilune/", strlen("@perilune/")) == 0;
}

void fiber_where(const struct fiber *fiber, char *out, size_t size)
{
    lua_State *co = innermost(fiber);
    lua_Debug activation;
    (void)snprintf(out, size, "its start");
    bool is_found = false;
    for (int level = 0; lua_getstack(co, level, &activation); level++) {
        (void)lua_getinfo(co, "Sl", &activation);
        if (activation.currentline <= 0 || (is_found && is_library(&activation)))
            continue;
        (void)snprintf(out, size, "%s:%d", activation.short_src, activation.currentline);
        if (!is_library(&activation))
            return;
        is_found = true;
    }
}

const char *fiber_doing(const struct fiber *fiber)
{
    switch (fiber->state) {
    case FIBER_WAITING:
        return fiber->wait->what != NULL ? fiber->wait->what : "waiting";
    case FIBER_RUNNING:
        return "running";
    case FIBER_DONE:
        return "done";
    default:
        return "ready";
    }
}

static uint64_t sooner(uint64_t a_us, uint64_t b_us)
{
    return b_us != 0 && (a_us == 0 || b_us < a_us) ? b_us : a_us;
}

uint64_t fiber_until_us(const struct fiber *fiber)
{
    uint64_t until_us = fiber->wait != NULL ? fiber->wait->due_us : 0;
    until_us = sooner(until_us, fiber->sleep.slot != 0 ? fiber->sleep.due_us : 0);
    return sooner(until_us, fiber->deadline.slot != 0 ? fiber->deadline.due_us : 0);
}

void fiber_push_traceback(lua_State *L, lua_State *co, const char *message)
{
    luaL_traceback(L, co, NULL, 0);
    const char *line = lua_tostring(L, -1);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    if (message != NULL) {
        luaL_addstring(&out, message);
        luaL_addchar(&out, '\n');
    }
    while (line != NULL) {
        const char *end = strchr(line, '\n');
        size_t size = end != NULL ? (size_t)(end - line) : strlen(line);
        if (strncmp(line, "\t[C]:", strlen("\t[C]:")) != 0) {
            luaL_addlstring(&out, line, size);
            luaL_addchar(&out, '\n');
        }
        line = end != NULL ? end + 1 : NULL;
    }
    luaL_buffsub(&out, 1); /* the last newline */
    luaL_pushresult(&out);
    lua_remove(L, -2);
}

/* Pushes the text of the error object on top of co. Runs no metamethod: nothing bounds it here. */
static const char *push_error_text(lua_State *L, lua_State *co)
{
    if (!lua_isstring(co, -1))
        return lua_pushfstring(L, "(error object is a %s value)", luaL_typename(co, -1));
    if (!lua_checkstack(co, 1))
        return lua_pushliteral(L, "not enough memory");
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
    return lua_tostring(L, -1);
}

/* A log line is one line: the lines of the traceback on the stack become a list. */
static void push_flat(lua_State *L)
{
    const char *text =
        luaL_gsub(L, lua_tostring(L, -1), "\nstack traceback:\n\t", "; stack traceback: ");
    (void)luaL_gsub(L, text, "\n\t", ", ");
}

static int record(lua_State *L)
{
    struct fiber *fiber = lua_touserdata(L, 1);
    fiber_push_traceback(L, fiber->L, push_error_text(L, fiber->L));
    lua_rawgeti(L, LUA_REGISTRYINDEX, fiber->scheduler->anchors);
    lua_rawgeti(L, -1, fiber->anchor);
    lua_pushvalue(L, -3);
    (void)lua_setiuservalue(L, -2, FIBER_TRACEBACK);
    lua_pop(L, 2);
    push_flat(L);
    return 1;
}

void fiber_record_error(struct fiber *fiber)
{
    struct vm_state *vm = fiber->scheduler->vm;
    lua_pushcfunction(vm->L, record);
    lua_pushlightuserdata(vm->L, fiber);
    (void)lua_pcall(vm->L, 1, 1, 0); /* on lack of memory the text says so */
    if (!fiber->is_joined) {
        fiber->is_lost = true;
        fiber->scheduler->lost_count++;
        const char *text = lua_tostring(vm->L, -1);
        env_log(vm->env, ENV_LOG_ERROR, "fiber", "fiber %s failed: %s", fiber->name, text);
        if (vm->options->on_lost != NULL)
            vm->options->on_lost(vm->options->on_lost_data, text);
    }
    lua_pop(vm->L, 1);
}

void fiber_report_deadlock(struct fiber_scheduler *s)
{
    struct env *env = s->vm->env;
    char where[FIBER_REASON_SIZE];
    env_log(env, ENV_LOG_ERROR, "fiber", "deadlock: nothing can wake the main fiber any more");
    for (const struct fiber *fiber = s->first; fiber != NULL; fiber = fiber->all_next) {
        fiber_where(fiber, where, sizeof where);
        env_log(env, ENV_LOG_ERROR, "fiber", "fiber %s waits for ever: %s at %s", fiber->name,
                fiber_doing(fiber), where);
    }
}
