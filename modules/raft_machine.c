/* Machines that are Lua: a fiber takes one task after the other. */
#include "box.h"
#include "raft.h"

static void hand_over(struct node_machine *machine, struct node_task *task, const char *kind)
{
    struct raft_group_box *box = container_of(machine, struct raft_group_box, machine);
    box->task = task;
    box->task_kind = kind;
    box->is_taken = false;
    fiber_wake(&box->idle);
}

static void on_apply(struct node_machine *machine, struct node_task *task)
{
    hand_over(machine, task, "apply");
}

static void on_query(struct node_machine *machine, struct node_task *task)
{
    hand_over(machine, task, "query");
}

static void on_snapshot(struct node_machine *machine, struct node_task *task)
{
    hand_over(machine, task, "snapshot");
}

static void on_restore(struct node_machine *machine, struct node_task *task)
{
    hand_over(machine, task, "restore");
}

void raft_machine_init(struct raft_group_box *box, bool keeps_keys)
{
    box->machine = (struct node_machine){.keeps_keys = keeps_keys,
                                         .apply = on_apply,
                                         .query = on_query,
                                         .snapshot = on_snapshot,
                                         .restore = keeps_keys ? NULL : on_restore};
}

static int push_task(lua_State *L, struct raft_group_box *box)
{
    const struct node_task *task = box->task;
    if (box->group == NULL)
        return raft_fail_closed(L);
    box->is_taken = true;
    box->taker = fiber_current(L);
    lua_pushstring(L, box->task_kind);
    lua_pushlstring(L, task->input.data != NULL ? task->input.data : "", task->input.size);
    lua_pushinteger(L, (lua_Integer)task->index);
    lua_pushinteger(L, (lua_Integer)task->term);
    return 4;
}

static int task_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return push_task(L, container_of((struct fiber_wait *)ctx, struct raft_group_box, idle));
}

/* group:task(): the next thing for the machine to do: kind, input, index, term. */
static int l_task(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    fiber_check(L, "group:task");
    if (box->idle.fiber != NULL)
        return luaL_error(L, "group:task: another fiber waits for tasks");
    if (box->group == NULL || (box->task != NULL && !box->is_taken))
        return push_task(L, box);
    box->idle = (struct fiber_wait){.what = "tasks of a group"};
    return fiber_suspend(L, &box->idle, task_continue);
}

/* group:done(output) or group:done(nil, message): the task is done. */
static int l_done(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct node_task *task = box->task;
    size_t size = 0;
    const char *output = luaL_optlstring(L, 2, NULL, &size);
    const char *message = output == NULL ? luaL_checkstring(L, 3) : NULL;
    if (box->group == NULL)
        return raft_fail_closed(L);
    if (task == NULL || !box->is_taken)
        return luaL_error(L, "group:done: there is no task");
    int status = message == NULL ? 0 : PERI_ELUA;
    if (output != NULL && peri_buffer_append(&task->output, output, size) != 0)
        return luaL_error(L, "not enough memory");
    if (message != NULL)
        (void)peri_fail_plain(&task->err, PERI_ELUA, "%s", message);
    box->task = NULL;
    node_task_done(task, status);
    lua_pushboolean(L, 1);
    return 1;
}

void raft_open_machine(lua_State *L)
{
    static const luaL_Reg methods[] = {{"task", l_task}, {"done", l_done}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
