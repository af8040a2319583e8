/* perilune.core.machine: machines in Lua files, without a group; lua/perilune/machine stands in
 * front. */
#include "machine.h"

#include "vm/source_text.h"
#include "vm/state.h"

#define METATABLE "perilune.machine"

/* A machine of this process; lives in a userdata. */
struct machine_box {
    struct vm_machine *machine; /* NULL once closed */
};

static struct vm_machine *check_machine(lua_State *L)
{
    struct machine_box *box = luaL_checkudata(L, 1, METATABLE);
    if (box->machine == NULL)
        (void)luaL_error(L, "the machine is closed");
    return box->machine;
}

static int l_close(lua_State *L)
{
    struct machine_box *box = luaL_checkudata(L, 1, METATABLE);
    vm_machine_close(box->machine);
    box->machine = NULL;
    return 0;
}

/* Runs a job to its end; its output as a string, or nil, message, code. */
static int run(lua_State *L, struct vm_machine *machine, enum vm_machine_kind kind,
               struct peri_slice input, lua_Integer index)
{
    struct peri_buffer output = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    struct vm_machine_job job = {
        .kind = kind, .index = (uint64_t)index, .input = input, .output = &output, .err = &err};
    if (vm_machine_is_broken(machine))
        return luaL_error(L, "the machine ran out of memory and cannot go on");
    bool is_over = vm_machine_start(machine, &job);
    while (!is_over)
        is_over = vm_machine_continue(machine);
    if (job.status != 0) {
        peri_buffer_deinit(&output);
        return box_error(L, &err);
    }
    return box_take_buffer(L, &output);
}

static int run_bytes(lua_State *L, enum vm_machine_kind kind)
{
    struct vm_machine *machine = check_machine(L);
    struct peri_slice input;
    input.data = luaL_optlstring(L, 2, "", &input.size);
    return run(L, machine, kind, input, luaL_optinteger(L, 3, 0));
}

/* machine:init() */
static int l_init(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_INIT);
}

/* machine:apply(entry, index) */
static int l_apply(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_APPLY);
}

/* machine:query(bytes, index) */
static int l_query(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_QUERY);
}

/* machine:snapshot() */
static int l_snapshot(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_SNAPSHOT);
}

/* machine:restore(bytes) */
static int l_restore(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_RESTORE);
}

/* machine:state(): as MessagePack, whatever the file's snapshot does */
static int l_state(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_STATE);
}

/* machine:samples(): MessagePack */
static int l_samples(lua_State *L)
{
    return run_bytes(L, VM_MACHINE_SAMPLES);
}

/* machine:info(): { hash, version, memory, used } */
static int l_info(lua_State *L)
{
    machine_push_info(L, check_machine(L));
    return 1;
}

/* open(text, name[, memory limit[, slice]]): a machine; init has not run. */
static int l_open(lua_State *L)
{
    struct peri_slice text;
    struct peri_error err = PERI_ERROR_INIT;
    text.data = luaL_checklstring(L, 1, &text.size);
    const char *name = luaL_checkstring(L, 2);
    const struct vm_machine_options options = {.env = vm_state_of(L)->env,
                                               .memory_limit_bytes =
                                                   (size_t)luaL_optinteger(L, 3, 0),
                                               .slice_looks = (uint32_t)luaL_optinteger(L, 4, 0)};
    struct machine_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->machine = NULL;
    luaL_setmetatable(L, METATABLE);
    if (vm_machine_create(&box->machine, &options, text, name, &err) != 0)
        return box_error(L, &err);
    return 1;
}

/* read(path): the text of a file of code; nil, message, code. */
static int l_read(lua_State *L)
{
    struct peri_buffer text = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    if (vm_source_text_read(luaL_checkstring(L, 1), &text, &err) != 0) {
        peri_buffer_deinit(&text);
        return box_error(L, &err);
    }
    return box_take_buffer(L, &text);
}

int luaopen_perilune_machine(lua_State *L);

int luaopen_perilune_machine(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"init", l_init},       {"apply", l_apply}, {"query", l_query}, {"snapshot", l_snapshot},
        {"restore", l_restore}, {"info", l_info},   {"state", l_state}, {"samples", l_samples},
        {"close", l_close},     {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", l_open}, {"read", l_read}, {NULL, NULL}};
    if (luaL_newmetatable(L, METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, l_close);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, l_close);
        lua_setfield(L, -2, "__close");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
