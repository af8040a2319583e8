/* What fibers are there, and what they do: part of perilune.core.fiber. */
#include "fiber_info.h"

#include "box.h"
#include "vm/fiber.h"
#include "vm/scheduler.h"

void fiber_push_handle(lua_State *L, const struct fiber *fiber)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, fiber->scheduler->anchors);
    lua_rawgeti(L, -1, fiber->anchor);
    lua_remove(L, -2);
}

static const char *status_name(const struct fiber *fiber)
{
    if (fiber->state == FIBER_DONE) {
        if (fiber->status == 0)
            return "done";
        return fiber->status == PERI_ELUA ? "failed" : "cancelled";
    }
    if (fiber->state == FIBER_WAITING)
        return "waiting";
    return fiber->state == FIBER_RUNNING ? "running" : "ready";
}

static int l_name(lua_State *L)
{
    lua_pushstring(L, fiber_check_handle(L, 1)->name);
    return 1;
}

static int l_id(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fiber_check_handle(L, 1)->id);
    return 1;
}

static int l_status(lua_State *L)
{
    lua_pushstring(L, status_name(fiber_check_handle(L, 1)));
    return 1;
}

static int l_traceback(lua_State *L)
{
    struct fiber *fiber = fiber_check_handle(L, 1);
    if (fiber->state == FIBER_DONE) {
        (void)lua_getiuservalue(L, 1, FIBER_TRACEBACK);
        return 1;
    }
    fiber_push_traceback(L, fiber == fiber_current(L) ? L : fiber->L, NULL);
    return 1;
}

static int l_info(lua_State *L)
{
    const struct fiber *fiber = fiber_check_handle(L, 1);
    char where[FIBER_REASON_SIZE];
    lua_newtable(L);
    box_set_count(L, "id", fiber->id);
    box_set_string(L, "name", fiber->name);
    box_set_string(L, "status", status_name(fiber));
    box_set_number(L, "cpu", fiber_seconds(fiber->cpu_us));
    box_set_count(L, "switches", fiber->switches);
    if (fiber->parent != NULL)
        box_set_count(L, "parent", fiber->parent->id);
    if (fiber->state == FIBER_DONE)
        return 1;
    box_set_number(L, "age",
                   fiber_seconds(env_now_us(fiber->scheduler->vm->env) - fiber->started_us));
    fiber_where(fiber, where, sizeof where);
    box_set_string(L, "where", where);
    if (fiber->state == FIBER_WAITING)
        box_set_string(L, "waits_for", fiber_doing(fiber));
    return 1;
}

static int l_self(lua_State *L)
{
    const struct fiber *fiber = fiber_current(L);
    if (fiber == NULL)
        lua_pushnil(L);
    else
        fiber_push_handle(L, fiber);
    return 1;
}

static int l_fibers(lua_State *L)
{
    const struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    lua_newtable(L);
    lua_Integer count = 0;
    for (const struct fiber *fiber = s != NULL ? s->first : NULL; fiber; fiber = fiber->all_next) {
        fiber_push_handle(L, fiber);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* A child of the current fiber that is still at work, or nil. */
static int l_child(lua_State *L)
{
    const struct fiber *fiber = fiber_current(L);
    if (fiber == NULL || fiber->children == NULL)
        lua_pushnil(L);
    else
        fiber_push_handle(L, fiber->children);
    return 1;
}

static int l_preemptions(lua_State *L)
{
    const struct fiber_scheduler *s = vm_state_of(L)->scheduler;
    lua_pushinteger(L, s != NULL ? (lua_Integer)s->preemptions : 0);
    return 1;
}

const luaL_Reg fiber_info_methods[] = {
    {"name", l_name},           {"id", l_id},     {"status", l_status},
    {"traceback", l_traceback}, {"info", l_info}, {NULL, NULL},
};

const luaL_Reg fiber_info_functions[] = {
    {"self", l_self}, {"child", l_child}, {"fibers", l_fibers}, {"preemptions", l_preemptions},
    {NULL, NULL},
};
