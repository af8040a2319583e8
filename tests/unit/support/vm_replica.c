#include "vm_replica.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "env/uv.h"
#include "wire/codec.h"

struct env *replica_env;

static int l_draw(lua_State *L)
{
    uint64_t *random = lua_touserdata(L, lua_upvalueindex(1));
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    lua_pushinteger(L, (lua_Integer)((*random >> 33) % (uint64_t)luaL_checkinteger(L, 1)) + 1);
    return 1;
}

static int l_encode(lua_State *L)
{
    struct peri_buffer out = {0};
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_encode(L, 1, NULL, BYTES_MAX, &out, &err) != 0)
        lua_pushstring(L, err.text);
    else
        lua_pushlstring(L, out.data, out.size);
    peri_buffer_deinit(&out);
    return 1;
}

static int l_stock_length(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
    return 1;
}

static void on_print(void *data, struct peri_slice line)
{
    struct replica *replica = data;
    assert_true(line.size < sizeof replica->printed);
    memcpy(replica->printed, line.data, line.size);
    replica->printed[line.size] = '\0';
}

static int open_machine(lua_State *L)
{
    struct replica *replica = lua_touserdata(L, 1);
    struct vm_deterministic options = {.print = on_print, .print_data = replica};
    vm_deterministic_open(L, &options);
    lua_pushlightuserdata(L, &replica->random);
    lua_pushcclosure(L, l_draw, 1);
    lua_setglobal(L, "draw");
    lua_register(L, "encode", l_encode);
    lua_register(L, "stock_length", l_stock_length);
    return 0;
}

void replica_init(struct replica *replica, uint64_t seed)
{
    *replica = (struct replica){.random = seed};
    replica->options = (struct vm_options){.env = replica_env, .bare = true};
    assert_int_equal(vm_state_create(&replica->vm, &replica->options, NULL), 0);
    replica->L = replica->vm->L;
    lua_pushcfunction(replica->L, open_machine);
    lua_pushlightuserdata(replica->L, replica);
    assert_int_equal(lua_pcall(replica->L, 1, 0, 0), LUA_OK);
}

void replica_deinit(struct replica *replica)
{
    vm_state_close(replica->vm);
}

int replica_run(struct replica *replica, const char *text, uint64_t budget,
                struct vm_deterministic_use *use)
{
    struct peri_slice slice = peri_slice_of(text, strlen(text));
    if (vm_deterministic_load(replica->L, slice, "@test") != LUA_OK)
        fail_msg("%s", lua_tostring(replica->L, -1));
    return vm_deterministic_call(replica->L, 0, 1, budget, use);
}

static char *file_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    assert_true(size > 0);
    return text;
}

void replica_run_file(struct replica *replica, const char *path)
{
    char *text = file_text(path);
    int rc = replica_run(replica, text, BUDGET, NULL);
    free(text);
    if (rc != 0)
        fail_msg("%s: %s", path, lua_tostring(replica->L, -1));
}

int replica_setup(void **state)
{
    (void)state;
    return env_uv_create(&replica_env, NULL);
}

int replica_teardown(void **state)
{
    (void)state;
    env_close(replica_env);
    return 0;
}
