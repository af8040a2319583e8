#include "mr_combine.h"

#include <lauxlib.h>

#include "mr_datum.h"
#include "mr_job.h"

/* Slots of the coroutine. */
enum { SLOT_HANDLER = 1, SLOT_CALL };

/* Upvalues of SLOT_CALL. */
enum { UP_FUNCTION = 1, UP_VALUES, UP_OUT, UP_CONTEXT, UP_COUNT = UP_CONTEXT };

/* Calls combine(key, values, out, job). Everything that can raise happens in here, below the pcall:
 * no error may jump over the emit table's frames. */
static int call_user(lua_State *L)
{
    struct mr_combiner *combiner = lua_touserdata(L, 1);
    struct peri_error err = PERI_ERROR_INIT;
    lua_pushvalue(L, lua_upvalueindex(UP_FUNCTION));
    if (mr_datum_push(L, &combiner->key, &err) != 0)
        return luaL_error(L, "%s", err.text);
    lua_pushvalue(L, lua_upvalueindex(UP_VALUES));
    lua_pushvalue(L, lua_upvalueindex(UP_OUT));
    lua_pushvalue(L, lua_upvalueindex(UP_CONTEXT));
    lua_call(L, 4, 0);
    return 0;
}

/* Fills the coroutine's slots. */
static int open_body(lua_State *L)
{
    struct mr_combiner *combiner = lua_touserdata(L, 1);
    lua_State *co = lua_newthread(L);
    (void)luaL_ref(L, LUA_REGISTRYINDEX);
    mr_job_push_handler(co);
    lua_rawgeti(co, LUA_REGISTRYINDEX, combiner->function);
    combiner->group = mr_group_push(co, combiner->task, NULL);
    mr_out_push(co, combiner->out);
    mr_job_push_context(co);
    lua_pushcclosure(co, call_user, UP_COUNT);
    combiner->L = co;
    return 0;
}

bool mr_combiner_open(struct mr_combiner *combiner, struct mr_task *task, struct peri_error *err)
{
    combiner->task = task;
    combiner->function = mr_job_function(task, "combine");
    if (combiner->function == LUA_NOREF)
        return false;
    if (mr_out_create(&combiner->out, task) != 0) {
        (void)peri_fail(err, PERI_ENOMEM, "combine");
        return false;
    }
    if (mr_job_guard(task, open_body, combiner) != 0) {
        *err = task->failure;
        return false;
    }
    return true;
}

int mr_combiner_group(void *data, struct peri_slice key, struct mr_values *values,
                      struct mr_combine_out *group, struct peri_error *err)
{
    struct mr_combiner *combiner = data;
    lua_State *co = combiner->L;
    struct vm_state *vm = vm_state_of(co);
    lua_State *running = vm->running;
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    size_t count;
    int rc = mr_out_to_group(combiner->out, group, key, err);
    if (rc == 0)
        rc = mr_key_decode(key, parts, &count, &combiner->text, err);
    if (rc != 0)
        return rc;
    ++*combiner->task->progress;
    combiner->key = parts[0];
    lua_pushvalue(co, SLOT_CALL);
    lua_pushlightuserdata(co, combiner);
    mr_group_begin(combiner->group, values, key, false);
    vm->running = co; /* what the time limit interrupts */
    int status = lua_pcall(co, 1, 0, SLOT_HANDLER);
    vm->running = running;
    mr_group_end(combiner->group);
    if (status != LUA_OK) { /* no record is to blame, and the spill is half written */
        (void)mr_task_caught(combiner->task, co, status, err);
        (void)mr_task_fail(combiner->task, err);
    }
    if (combiner->task->failure.code != 0)
        *err = combiner->task->failure;
    return combiner->task->failure.code;
}

void mr_combiner_retire(struct mr_combiner *combiner)
{
    if (combiner->group != NULL)
        mr_group_deinit(combiner->group);
    combiner->group = NULL;
    mr_out_retire(combiner->out);
}

void mr_combiner_close(struct mr_combiner *combiner)
{
    mr_out_close(combiner->out);
    peri_buffer_deinit(&combiner->text);
}
