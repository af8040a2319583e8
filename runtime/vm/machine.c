#include "vm/machine.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "vm/budget.h"
#include "vm/compare.h"
#include "vm/deterministic.h"
#include "vm/identity.h"
#include "vm/machine_draw.h"
#include "vm/machine_entry.h"
#include "vm/machine_freeze.h"
#include "vm/machine_program.h"
#include "vm/machine_tables.h"
#include "vm/ordered.h"
#include "vm/stand_in.h"
#include "vm/state.h"
#include "wire/codec.h"
#include "wire/pack.h"

enum { RESULT_MAX = 8 << 20, SNAPSHOT_FORMAT = 1, SNAPSHOT_FIELDS = 6, MIB = 1 << 20 };

struct vm_machine {
    struct vm_options options;
    struct vm_deterministic deterministic;
    struct vm_state *vm;
    lua_State *co; /* in which calls run; anchored in the registry */
    int co_reference;
    int state; /* reference: the root of the state; LUA_NOREF before init */
    struct vm_program program;
    struct peri_buffer text; /* of the file, for snapshots */
    char *name;
    struct vm_tables tables;
    struct vm_draw draw; /* ctx.random */
    uint64_t clock_us;   /* log time */
    uint32_t slice_looks;
    bool is_broken;
    uint64_t used;

    struct vm_machine_job *job; /* under way, or NULL */
    struct vm_entry entry;      /* of it, when it is one */
    struct vm_budget *payer;    /* of comparisons, outside of the slices */
};

/* ---- what runs inside of a call: may raise ---- */

static void raise_error(lua_State *L, const struct peri_error *err)
{
    luaL_error(L, "%s", err->text);
}

static void push_decoded(lua_State *L, struct peri_slice bytes, const char *what)
{
    struct peri_error err = PERI_ERROR_INIT;
    size_t used = 0;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (wire_decode(L, bytes, &used, &err) != 0)
        raise_error(L, &err);
    if (used != bytes.size)
        luaL_error(L, "bytes follow the %s", what);
}

static void encode(lua_State *L, int index, const char *name, size_t size_max,
                   struct peri_buffer *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_encode_standing(L, index, name, size_max, &vm_stand_in_key, out, &err) != 0)
        raise_error(L, &err);
}

static void push_context(lua_State *L, struct vm_machine *machine)
{
    const struct vm_entry *entry = &machine->entry;
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)machine->job->index);
    lua_setfield(L, -2, "index");
    lua_pushnumber(L, (lua_Number)machine->clock_us / 1e6);
    lua_setfield(L, -2, "now");
    if (machine->job->kind == VM_MACHINE_QUERY)
        return;
    vm_draw_seed(&machine->draw, entry->seed, machine->job->index);
    vm_draw_push(L, &machine->draw);
    lua_setfield(L, -2, "random");
    lua_pushinteger(L, (lua_Integer)entry->session);
    lua_setfield(L, -2, "client");
}

/* Pushes the function and its arguments; false when the machine has no such function. */
static bool push_call(lua_State *L, const struct vm_machine *machine, enum vm_function function)
{
    if (machine->program.functions[function] == LUA_NOREF)
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.functions[function]);
    return true;
}

static void push_state(lua_State *L, const struct vm_machine *machine)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->state);
}

/* The value on top becomes the state. */
static void set_state(lua_State *L, struct vm_machine *machine, const char *function)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        luaL_error(L, "%s gives the state, which is a table, not a %s", function,
                   luaL_typename(L, -1));
    vm_tables_adopt(L, &machine->tables);
    luaL_unref(L, LUA_REGISTRYINDEX, machine->state);
    machine->state = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void check_variables(lua_State *L, const struct vm_machine *machine)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.variables);
    const char *changed = vm_freeze_restore(L, lua_gettop(L));
    if (changed != NULL)
        luaL_error(L, "the file's local variable '%s' was changed: keep what changes in the state",
                   changed);
    lua_pop(L, 1);
}

/* The head of a snapshot; the state comes behind. */
static void pack_head(const struct vm_machine *machine, struct peri_buffer *out)
{
    struct wire_packer packer = {out, 0};
    wire_pack_array(&packer, SNAPSHOT_FIELDS);
    wire_pack_uint(&packer, SNAPSHOT_FORMAT);
    wire_pack_bytes(&packer, peri_slice_of(machine->name, strlen(machine->name)));
    wire_pack_bytes(&packer, peri_buffer_slice(&machine->text));
    wire_pack_uint(&packer, machine->tables.hash);
    wire_pack_uint(&packer, machine->clock_us);
}

/* What the function gave, which is on top. */
static int finish(lua_State *L, int status, lua_KContext context)
{
    struct vm_machine *machine =
        (struct vm_machine *)context; /* NOLINT(performance-no-int-to-ptr) */
    const struct vm_machine_job *job = machine->job;
    (void)status;
    switch (job->kind) {
    case VM_MACHINE_INIT:
        set_state(L, machine, "init");
        break;
    case VM_MACHINE_APPLY:
        encode(L, lua_gettop(L), "result", RESULT_MAX, job->output);
        check_variables(L, machine);
        vm_tables_commit(L, &machine->tables);
        break;
    case VM_MACHINE_QUERY:
        encode(L, lua_gettop(L), "answer", RESULT_MAX, job->output);
        check_variables(L, machine);
        break;
    case VM_MACHINE_SNAPSHOT:
        pack_head(machine, job->output);
        encode(L, lua_gettop(L), "snapshot", SIZE_MAX, job->output);
        break;
    case VM_MACHINE_RESTORE:
        set_state(L, machine, "restore");
        break;
    case VM_MACHINE_MIGRATE:
    case VM_MACHINE_KINDS:
        break;
    }
    return 0;
}

/* What stands in a snapshot behind its head: decoded, on top. */
static void push_restored(lua_State *L, struct vm_machine *machine, struct peri_slice bytes)
{
    struct wire_unpacker unpacker = wire_unpack(bytes);
    uint32_t count = wire_unpack_array(&unpacker);
    uint64_t format = wire_unpack_uint(&unpacker);
    if (count != SNAPSHOT_FIELDS || format != SNAPSHOT_FORMAT)
        luaL_error(L, "this is no snapshot of a machine");
    (void)wire_unpack_bytes(&unpacker);
    (void)wire_unpack_bytes(&unpacker);
    machine->tables.hash = wire_unpack_uint(&unpacker);
    machine->clock_us = wire_unpack_uint(&unpacker);
    if (unpacker.rc != 0)
        luaL_error(L, "this is no snapshot of a machine");
    push_decoded(L, peri_slice_of(unpacker.at, (size_t)(unpacker.end - unpacker.at)), "state");
}

/* Pushes what finish gets when there is a function for the job, or not. Returns how many arguments
 * the function on the stack has; negative: it is not needed. */
static int push_job(lua_State *L, struct vm_machine *machine)
{
    const struct vm_machine_job *job = machine->job;
    bool has_function = true;
    switch (job->kind) {
    case VM_MACHINE_INIT:
        if (push_call(L, machine, VM_FUNCTION_INIT))
            return 0;
        lua_newtable(L);
        return -1;
    case VM_MACHINE_APPLY:
        (void)push_call(L, machine, VM_FUNCTION_APPLY);
        push_state(L, machine);
        push_decoded(L, machine->entry.body, "command");
        push_context(L, machine);
        return 3;
    case VM_MACHINE_QUERY:
        if (!push_call(L, machine, VM_FUNCTION_QUERY))
            return luaL_error(L, "the machine answers no queries: it has no function query");
        push_state(L, machine);
        push_decoded(L, job->input, "query");
        push_context(L, machine);
        return 3;
    case VM_MACHINE_SNAPSHOT:
        has_function = push_call(L, machine, VM_FUNCTION_SNAPSHOT);
        push_state(L, machine);
        return has_function ? 1 : -1;
    case VM_MACHINE_RESTORE:
        has_function = push_call(L, machine, VM_FUNCTION_RESTORE);
        push_restored(L, machine, job->input);
        return has_function ? 1 : -1;
    case VM_MACHINE_MIGRATE:
    case VM_MACHINE_KINDS:
        break;
    }
    return -1;
}

/* The coroutine of a job. */
static int run_job(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    lua_KContext context = (lua_KContext)machine;
    lua_settop(L, 0);
    vm_ordered_reset(L);
    vm_identity_reset(L);
    int arguments = push_job(L, machine);
    if (arguments >= 0)
        lua_callk(L, arguments, 1, context, finish);
    return finish(L, LUA_OK, context);
}

/* ---- the end of a job ---- */

static int undo(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_tables_undo(L, &machine->tables);
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.variables);
    (void)vm_freeze_restore(L, lua_gettop(L));
    return 0;
}

static void call_undo(struct vm_machine *machine)
{
    lua_State *L = machine->vm->L;
    lua_pushcfunction(L, undo);
    lua_pushlightuserdata(L, machine);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        machine->is_broken = true;
    }
}

/* The text of an error value; addresses in it would differ between replicas. */
static const char *error_text(lua_State *co)
{
    if (lua_type(co, -1) == LUA_TSTRING)
        return lua_tostring(co, -1);
    if (lua_type(co, -1) == LUA_TTABLE && lua_checkstack(co, 2)) {
        lua_pushliteral(co, "message");
        if (lua_rawget(co, -2) == LUA_TSTRING)
            return lua_tostring(co, -1);
        lua_pop(co, 1);
    }
    return lua_isnil(co, -1) ? "error(nil)" : "the error value is no text";
}

static int fail_spent(const struct vm_machine *machine, struct peri_error *err)
{
    const struct vm_budget *budget = &machine->vm->budget;
    if (!budget->is_out_of_bytes)
        return peri_fail_plain(err, PERI_ECPU, "the budget of %" PRIu64 " instructions is spent",
                               budget->limit);
    return peri_fail_plain(err, PERI_ECPU, "the budget of %" PRIu64 " MiB of memory is spent",
                           budget->bytes_limit / MIB);
}

/* The call has ended with the status of Lua. Returns the job's. */
static int end_call(struct vm_machine *machine, int lua_status)
{
    bool is_spent = false;
    lua_State *co = machine->co;
    struct peri_error *err = machine->job->err;
    int rc = 0;
    if (lua_status == LUA_ERRMEM && !machine->vm->budget.is_spent) {
        machine->is_broken = true;
        rc = peri_fail_plain(err, PERI_EMEMORY, "the machine's Lua state is out of memory");
    } else if (lua_status != LUA_OK) {
        rc = peri_fail_plain(err, PERI_ELUA, "%s", error_text(co));
    }
    if (lua_status != LUA_OK)
        (void)lua_resetthread(co); /* handlers of __close run, still counted */
    lua_settop(co, 0);
    machine->used = vm_budget_end(co, &is_spent);
    if (is_spent && !machine->is_broken)
        rc = fail_spent(machine, err);
    return rc;
}

/* What is the same on all replicas becomes part of the hash: the index and how it ended. */
static void mix_outcome(struct vm_machine *machine, int rc)
{
    const struct vm_machine_job *job = machine->job;
    struct peri_slice text = rc == 0 ? peri_buffer_slice(job->output)
                                     : peri_slice_of(job->err->text, strlen(job->err->text));
    vm_tables_mix(&machine->tables, job->index);
    vm_tables_mix(&machine->tables,
                  vm_hash_bytes(text.data != NULL ? text.data : "", text.size) + (uint64_t)-rc);
}

static bool end_job(struct vm_machine *machine, int rc)
{
    struct vm_machine_job *job = machine->job;
    if (rc != 0) {
        job->output->size = 0;
        call_undo(machine);
    }
    if (job->kind == VM_MACHINE_APPLY)
        mix_outcome(machine, rc);
    machine->job = NULL;
    job->status = rc;
    return true;
}

static bool resume(struct vm_machine *machine, int arguments)
{
    int results = 0;
    struct vm_budget *payer = vm_compare_charge(&machine->vm->budget);
    int status = lua_resume(machine->co, machine->vm->L, arguments, &results);
    bool is_over = status != LUA_YIELD;
    int rc = is_over ? end_call(machine, status) : 0;
    (void)vm_compare_charge(payer);
    return is_over && end_job(machine, rc);
}

/* ---- jobs ---- */

static bool is_counted(enum vm_machine_kind kind)
{
    return kind == VM_MACHINE_APPLY || kind == VM_MACHINE_QUERY;
}

/* Taking and giving back a whole state has no other budget than the replica's memory. */
static void begin_budget(struct vm_machine *machine)
{
    bool is_bound = is_counted(machine->job->kind);
    vm_budget_begin(machine->co, is_bound ? machine->program.instructions : UINT64_MAX);
    vm_budget_bound(machine->co, is_bound ? machine->program.bytes : 0, machine->slice_looks);
}

bool vm_machine_start(struct vm_machine *machine, struct vm_machine_job *job)
{
    PERI_ASSERT(machine->job == NULL);
    machine->job = job;
    machine->entry = (struct vm_entry){.seed = 0};
    vm_tables_begin(&machine->tables, job->kind == VM_MACHINE_APPLY);
    if (job->kind == VM_MACHINE_APPLY) {
        int rc = vm_entry_read(job->input, &machine->entry, job->err);
        if (rc != 0)
            return end_job(machine, rc);
        if (machine->entry.now_us > machine->clock_us)
            machine->clock_us = machine->entry.now_us;
    }
    begin_budget(machine);
    lua_pushcfunction(machine->co, run_job);
    lua_pushlightuserdata(machine->co, machine);
    return resume(machine, 1);
}

bool vm_machine_continue(struct vm_machine *machine)
{
    PERI_ASSERT(machine->job != NULL);
    return resume(machine, 0);
}

/* ---- life ---- */

static void on_print(void *data, struct peri_slice line)
{
    const struct vm_machine *machine = data;
    size_t size = line.size > 0 && line.data[line.size - 1] == '\n' ? line.size - 1 : line.size;
    env_log(machine->options.env, ENV_LOG_INFO, "machine", "%.*s", (int)size, line.data);
}

static int l_open(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_deterministic_open(L, &machine->deterministic);
    vm_tables_open(L, &machine->tables);
    vm_freeze_globals(L);
    machine->co = lua_newthread(L);
    machine->co_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int l_load(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_program_load(L, &machine->program, peri_buffer_slice(&machine->text), machine->name);
    return 0;
}

static int open_lua(struct vm_machine *machine, struct peri_error *err)
{
    int rc = vm_state_create(&machine->vm, &machine->options, err);
    if (rc != 0)
        return rc;
    lua_State *L = machine->vm->L;
    lua_pushcfunction(L, l_open);
    lua_pushlightuserdata(L, machine);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return peri_fail_plain(err, PERI_ELUA, "a machine's state: %s", lua_tostring(L, -1));
    lua_pushcfunction(L, l_load);
    lua_pushlightuserdata(L, machine);
    rc = vm_deterministic_call(L, 1, 0, VM_MACHINE_INSTRUCTIONS, NULL);
    if (rc != 0)
        return peri_fail_plain(err, PERI_ELUA, "%s", error_text(L));
    return 0;
}

int vm_machine_create(struct vm_machine **out, const struct vm_machine_options *options,
                      struct peri_slice text, const char *name, struct peri_error *err)
{
    struct vm_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL)
        return peri_fail(err, PERI_ENOMEM, "machine %s", name);
    machine->state = LUA_NOREF;
    machine->slice_looks = options->slice_looks;
    machine->options = (struct vm_options){
        .env = options->env, .memory_limit_bytes = options->memory_limit_bytes, .bare = true};
    machine->deterministic = (struct vm_deterministic){on_print, machine};
    machine->name = strdup(name);
    int rc = machine->name == NULL || peri_buffer_append(&machine->text, text.data, text.size) != 0
                 ? peri_fail(err, PERI_ENOMEM, "machine %s", name)
                 : open_lua(machine, err);
    if (rc != 0) {
        vm_machine_close(machine);
        return rc;
    }
    *out = machine;
    return 0;
}

void vm_machine_close(struct vm_machine *machine)
{
    if (machine == NULL)
        return;
    vm_state_close(machine->vm);
    peri_buffer_deinit(&machine->text);
    free(machine->name);
    free(machine);
}

bool vm_machine_is_broken(const struct vm_machine *machine)
{
    return machine->is_broken;
}

uint64_t vm_machine_hash(const struct vm_machine *machine)
{
    return machine->tables.hash;
}

uint64_t vm_machine_used(const struct vm_machine *machine)
{
    return machine->used;
}

size_t vm_machine_memory(const struct vm_machine *machine)
{
    return machine->vm->alloc.used_bytes;
}

int64_t vm_machine_version(const struct vm_machine *machine)
{
    return machine->program.version;
}
