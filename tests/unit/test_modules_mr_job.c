/* The state of an attempt while each allocation in turn fails: no error leaves it but as a code. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "env/uv.h"
#include "mr_job.h"

struct fixture {
    struct env *env;
    lua_State *host;
    char dir[64], job[96], side[96];
};

/* The host's memory is not the attempt's: it never ends. */
static void *allocate(void *data, void *block, size_t old_size, size_t new_size)
{
    (void)data;
    (void)old_size;
    if (new_size == 0) {
        free(block);
        return NULL;
    }
    return __real_realloc(block, new_size);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct peri_error err = PERI_ERROR_INIT;
    if (fixture == NULL || env_uv_create(&fixture->env, &err) != 0)
        return -1;
    strcpy(fixture->dir, "/tmp/perilune-job-XXXXXX");
    if (mkdtemp(fixture->dir) == NULL)
        return -1;
    (void)snprintf(fixture->job, sizeof fixture->job, "%s/job.lua", fixture->dir);
    (void)snprintf(fixture->side, sizeof fixture->side, "%s/side", fixture->dir);
    write_file(fixture->job, "local args = ...\n"
                             "return { map = function() return args.n end, reduce = 'sum' }\n");
    write_file(fixture->side, "a side file");
    fixture->host = lua_newstate(allocate, NULL);
    *state = fixture;
    return fixture->host != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    lua_close(fixture->host);
    env_close(fixture->env);
    (void)unlink(fixture->job);
    (void)unlink(fixture->side);
    int rc = rmdir(fixture->dir);
    free(fixture);
    return rc;
}

/* Puts the description where the host's stack has it. */
static void describe(struct fixture *fixture)
{
    lua_State *H = fixture->host;
    lua_settop(H, 0);
    lua_createtable(H, 0, 4);
    lua_pushstring(H, fixture->job);
    lua_setfield(H, MR_HOST_SPEC, "job");
    lua_createtable(H, 0, 1);
    lua_pushinteger(H, 5);
    lua_setfield(H, -2, "n");
    lua_setfield(H, MR_HOST_SPEC, "args");
    lua_createtable(H, 0, 1);
    lua_pushstring(H, fixture->side);
    lua_setfield(H, -2, "words");
    lua_setfield(H, MR_HOST_SPEC, "side");
    lua_pushboolean(H, 0);
}

struct call {
    int function;
    lua_Integer result;
};

static int body(lua_State *L)
{
    struct call *call = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->function);
    lua_call(L, 0, 1);
    call->result = lua_tointeger(L, -1);
    mr_job_push_context(L);
    lua_getfield(L, -1, "side");
    lua_getfield(L, -1, "words");
    call->result += (lua_Integer)lua_rawlen(L, -1);
    return 0;
}

static int run(struct fixture *fixture, struct call *call, struct peri_error *failure)
{
    struct mr_task task = {.env = fixture->env,
                           .host = fixture->host,
                           .timeout_us = 60000000,
                           .looked_us = env_now_us(fixture->env),
                           .damaged_input = -1};
    int rc = mr_job_open(&task);
    if (rc == 0) {
        assert_int_equal(mr_job_function(&task, "a field that no string is yet"), LUA_NOREF);
        call->function = mr_job_function(&task, "map");
        rc = mr_job_guard(&task, body, call);
    }
    *failure = task.failure;
    mr_job_close(&task);
    peri_buffer_deinit(&task.traceback);
    return rc;
}

static void test_every_allocation_fails(void **state)
{
    struct fixture *fixture = *state;
    bool has_failed = true;
    long n = 0;
    describe(fixture);
    while (has_failed) {
        struct peri_error failure = PERI_ERROR_INIT;
        struct call call = {LUA_NOREF, 0};
        test_alloc_fail_from(++n);
        int rc = run(fixture, &call, &failure);
        has_failed = test_alloc_end();
        if (rc == 0)
            assert_int_equal(call.result, 5 + sizeof "a side file" - 1);
        else if (failure.code != rc || failure.text[0] == '\0')
            fail_msg("allocation %ld: %d '%s'", n, rc, failure.text);
    }
    print_message("%ld allocations\n", n - 1);
    assert_true(n > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_allocation_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
