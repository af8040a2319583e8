#include "vm/machine.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/session.h"
#include "vm/budget.h"
#include "vm/compare.h"
#include "vm/deterministic.h"
#include "vm/identity.h"
#include "vm/machine_draw.h"
#include "vm/machine_entry.h"
#include "vm/machine_freeze.h"
#include "vm/machine_program.h"
#include "vm/machine_session.h"
#include "vm/machine_tables.h"
#include "vm/ordered.h"
#include "vm/stand_in.h"
#include "vm/state.h"
#include "wire/codec.h"
#include "wire/pack.h"

enum { RESULT_MAX = 8 << 20, SNAPSHOT_FORMAT = 1, SNAPSHOT_FIELDS = 8, MIB = 1 << 20 };

#define NO_SNAPSHOT "this is no snapshot of a machine"

struct vm_machine {
    struct vm_options options;
    struct vm_deterministic deterministic;
    struct vm_state *vm;
    lua_State *co; /* in which calls run; anchored in the registry */
    int co_reference;
    int state; /* reference: the root of the state; LUA_NOREF before init */
    struct vm_program program;
    struct vm_program next;  /* of an upgrade under way */
    struct peri_buffer text; /* of the file, for snapshots */
    struct peri_buffer name; /* with its end */
    struct vm_sessions sessions;
    struct vm_hash_at {
        uint64_t index, hash;
    } hashes[VM_MACHINE_HASHES]; /* by index, a ring */
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

static void check_variables(lua_State *L, const struct vm_program *program)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, program->variables);
    const char *changed = vm_freeze_restore(L, lua_gettop(L));
    if (changed != NULL)
        luaL_error(L, "the file's local variable '%s' was changed: keep what changes in the state",
                   changed);
    lua_pop(L, 1);
}

static struct peri_slice name_of(const struct vm_machine *machine)
{
    return peri_slice_of(machine->name.data, machine->name.size - 1);
}

/* The head of a snapshot; the state comes behind. */
static void pack_head(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out)
{
    struct wire_packer packer = {out, 0};
    wire_pack_array(&packer, SNAPSHOT_FIELDS);
    wire_pack_uint(&packer, SNAPSHOT_FORMAT);
    wire_pack_bytes(&packer, name_of(machine));
    wire_pack_bytes(&packer, peri_buffer_slice(&machine->text));
    wire_pack_uint(&packer, machine->tables.hash);
    wire_pack_uint(&packer, machine->clock_us);
    vm_sessions_pack(&machine->sessions, &packer);
    if (packer.rc != 0)
        luaL_error(L, "not enough memory");
}

/* Takes over the head of a snapshot. Returns what comes behind it. */
static struct wire_unpacker open_snapshot(lua_State *L, struct vm_machine *machine,
                                          struct peri_slice bytes)
{
    struct wire_unpacker unpacker = wire_unpack(bytes);
    uint32_t count = wire_unpack_array(&unpacker);
    uint64_t format = wire_unpack_uint(&unpacker);
    if (count != SNAPSHOT_FIELDS || format != SNAPSHOT_FORMAT)
        luaL_error(L, NO_SNAPSHOT);
    (void)wire_unpack_bytes(&unpacker);
    (void)wire_unpack_bytes(&unpacker);
    machine->tables.hash = wire_unpack_uint(&unpacker);
    machine->clock_us = wire_unpack_uint(&unpacker);
    int rc = vm_sessions_unpack(&machine->sessions, &unpacker);
    if (rc != 0 || unpacker.rc != 0)
        luaL_error(L, NO_SNAPSHOT);
    return unpacker;
}

/* Text and name of the machine are others now. False without memory. */
static bool set_text(struct vm_machine *machine, struct peri_slice name, struct peri_slice text)
{
    machine->name.size = machine->text.size = 0;
    return peri_buffer_append(&machine->name, name.data, name.size) == 0 &&
           peri_buffer_append(&machine->name, "", 1) == 0 &&
           peri_buffer_append(&machine->text, text.data, text.size) == 0;
}

/* The program that was loaded for it takes over. */
static void switch_program(lua_State *L, struct vm_machine *machine, struct peri_slice name,
                           struct peri_slice text)
{
    vm_program_unload(L, &machine->program);
    machine->program = machine->next;
    vm_program_init(&machine->next);
    machine->is_broken = !set_text(machine, name, text);
}

/* lua_call, but when the code is stopped in a hook, hooks run again: else nothing would count what
 * handlers of __close do, nor later calls of the coroutine. For the same reason run_job calls by
 * lua_pcallk. */
static void call(lua_State *L, int arguments, int results)
{
    if (lua_pcall(L, arguments, results, 0) != LUA_OK)
        (void)lua_error(L);
}

static int l_load_next(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    const struct peri_slice *text = lua_touserdata(L, 3);
    vm_program_load(L, &machine->next, *text, lua_tostring(L, 2));
    return 0;
}

/* Loads the program of an upgrade, or of a snapshot. */
static void load_next(lua_State *L, struct vm_machine *machine, struct peri_slice name,
                      struct peri_slice text)
{
    lua_pushcfunction(L, l_load_next);
    lua_pushlightuserdata(L, machine);
    lua_pushlstring(L, name.data, name.size);
    lua_pushlightuserdata(L, &text);
    call(L, 3, 0);
}

static void read_program(lua_State *L, const struct vm_machine *machine, struct peri_slice *name,
                         struct peri_slice *text)
{
    struct wire_unpacker unpacker = wire_unpack(machine->entry.body);
    uint32_t count = wire_unpack_array(&unpacker);
    *name = wire_unpack_bytes(&unpacker);
    *text = wire_unpack_bytes(&unpacker);
    if (wire_unpack_end(&unpacker) != 0 || count != 2)
        luaL_error(L, "an upgrade is a name and a text");
}

/* An upgrade's migrate has run: true when that is to stay. The result is the new version. */
static void finish_upgrade(lua_State *L, struct vm_machine *machine)
{
    struct peri_slice name, text;
    struct wire_packer packer = {machine->job->output, 0};
    check_variables(L, &machine->next);
    vm_tables_commit(L, &machine->tables);
    wire_pack_int(&packer, machine->next.version);
    if (packer.rc != 0)
        luaL_error(L, "not enough memory");
    if (machine->entry.kind == VM_ENTRY_TRY) {
        vm_tables_undo(L, &machine->tables);
        vm_program_unload(L, &machine->next);
        return;
    }
    read_program(L, machine, &name, &text);
    switch_program(L, machine, name, text);
}

/* A snapshot that the file's own function made anew must be the one that was restored. */
static void check_restored(lua_State *L, struct vm_machine *machine)
{
    const struct vm_machine_job *job = machine->job;
    struct wire_unpacker rest;
    size_t before = job->output->size;
    if (!push_call(L, machine, VM_FUNCTION_SNAPSHOT))
        return;
    push_state(L, machine);
    call(L, 1, 1);
    encode(L, lua_gettop(L), "snapshot", SIZE_MAX, job->output);
    lua_pop(L, 1);
    rest = open_snapshot(L, machine, job->input);
    struct peri_slice given = {rest.at, (size_t)(rest.end - rest.at)};
    struct peri_slice again = {job->output->data + before, job->output->size - before};
    bool is_same = given.size == again.size && memcmp(given.data, again.data, given.size) == 0;
    job->output->size = before;
    if (!is_same)
        luaL_error(L, "restore does not match snapshot: what was restored gives another snapshot "
                      "than the one that it came from");
}

/* What the function gave, which is on top. */
static int finish(lua_State *L, int status, lua_KContext context)
{
    struct vm_machine *machine =
        (struct vm_machine *)context; /* NOLINT(performance-no-int-to-ptr) */
    const struct vm_machine_job *job = machine->job;
    if (status != LUA_OK && status != LUA_YIELD)
        return lua_error(L);
    switch (job->kind) {
    case VM_MACHINE_INIT:
        set_state(L, machine, "init");
        break;
    case VM_MACHINE_APPLY:
        if (machine->entry.kind != VM_ENTRY_COMMAND) {
            finish_upgrade(L, machine);
            break;
        }
        encode(L, lua_gettop(L), "result", RESULT_MAX, job->output);
        check_variables(L, &machine->program);
        vm_tables_commit(L, &machine->tables);
        break;
    case VM_MACHINE_QUERY:
        encode(L, lua_gettop(L), "answer", RESULT_MAX, job->output);
        check_variables(L, &machine->program);
        break;
    case VM_MACHINE_SNAPSHOT:
        pack_head(L, machine, job->output);
        encode(L, lua_gettop(L), "snapshot", SIZE_MAX, job->output);
        break;
    case VM_MACHINE_RESTORE:
        set_state(L, machine, "restore");
        check_restored(L, machine);
        break;
    case VM_MACHINE_STATE:
    case VM_MACHINE_SAMPLES:
        encode(L, lua_gettop(L), "state", SIZE_MAX, job->output);
        break;
    case VM_MACHINE_KINDS:
        break;
    }
    return 0;
}

/* What stands in a snapshot behind its head: decoded, on top. */
static void push_restored(lua_State *L, struct vm_machine *machine, struct peri_slice bytes)
{
    struct wire_unpacker rest = open_snapshot(L, machine, bytes);
    push_decoded(L, peri_slice_of(rest.at, (size_t)(rest.end - rest.at)), "state");
}

/* The program with which the snapshot was made takes over, if it is another one. */
static void restore_program(lua_State *L, struct vm_machine *machine, struct peri_slice bytes)
{
    struct wire_unpacker unpacker = wire_unpack(bytes);
    (void)wire_unpack_array(&unpacker);
    (void)wire_unpack_uint(&unpacker);
    struct peri_slice name = wire_unpack_bytes(&unpacker);
    struct peri_slice text = wire_unpack_bytes(&unpacker);
    if (unpacker.rc != 0)
        luaL_error(L, NO_SNAPSHOT);
    if (peri_slice_compare(text, peri_buffer_slice(&machine->text)) == 0)
        return;
    load_next(L, machine, name, text);
    switch_program(L, machine, name, text);
}

/* Loads the new program. It may have nothing to migrate. */
static int push_upgrade(lua_State *L, struct vm_machine *machine)
{
    struct peri_slice name, text;
    read_program(L, machine, &name, &text);
    load_next(L, machine, name, text);
    if (machine->next.functions[VM_FUNCTION_MIGRATE] == LUA_NOREF)
        return -1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->next.functions[VM_FUNCTION_MIGRATE]);
    push_state(L, machine);
    lua_pushinteger(L, machine->program.version);
    push_context(L, machine);
    return 3;
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
        if (machine->entry.kind != VM_ENTRY_COMMAND)
            return push_upgrade(L, machine);
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
        restore_program(L, machine, job->input);
        has_function = push_call(L, machine, VM_FUNCTION_RESTORE);
        push_restored(L, machine, job->input);
        return has_function ? 1 : -1;
    case VM_MACHINE_STATE:
        push_state(L, machine);
        return -1;
    case VM_MACHINE_SAMPLES:
        lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.samples);
        return -1;
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
    int status = LUA_OK;
    if (arguments >= 0)
        status = lua_pcallk(L, arguments, 1, 0, context, finish);
    return finish(L, status, context);
}

/* ---- the end of a job ---- */

static int undo(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_tables_undo(L, &machine->tables);
    vm_program_unload(L, &machine->next);
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.variables);
    (void)vm_freeze_restore(L, lua_gettop(L));
    return 0;
}

/* Calls a function of ours; what it raises breaks the replica. */
static bool call_protected(struct vm_machine *machine, lua_CFunction function)
{
    lua_State *L = machine->vm->L;
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, machine);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return true;
    lua_pop(L, 1);
    machine->is_broken = true;
    return false;
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

/* The slot of the command's session keeps the result. */
static int keep_result(struct vm_machine *machine)
{
    const struct vm_entry *entry = &machine->entry;
    struct vm_session *session = vm_sessions_find(&machine->sessions, entry->session);
    if (session == NULL || entry->sequence <= session->sequence)
        return 0;
    int rc = vm_session_keep(&machine->sessions, session, entry->sequence,
                             peri_buffer_slice(machine->job->output), machine->clock_us);
    machine->is_broken = machine->is_broken || rc != 0;
    return rc;
}

static void note_hash(struct vm_machine *machine)
{
    uint64_t index = machine->job->index;
    machine->hashes[index % VM_MACHINE_HASHES] = (struct vm_hash_at){index, machine->tables.hash};
}

static bool end_job(struct vm_machine *machine, int rc)
{
    struct vm_machine_job *job = machine->job;
    if (rc == 0 && job->kind == VM_MACHINE_APPLY)
        rc = keep_result(machine);
    if (rc != 0) {
        job->output->size = 0;
        (void)call_protected(machine, undo);
    }
    if (job->kind == VM_MACHINE_APPLY) {
        mix_outcome(machine, rc);
        note_hash(machine);
    } else if (job->kind == VM_MACHINE_RESTORE && rc == 0) {
        memset(machine->hashes, 0, sizeof machine->hashes); /* those of another state */
        note_hash(machine);
    }
    machine->job = NULL;
    job->status = rc;
    return true;
}

static bool resume(struct vm_machine *machine, int arguments)
{
    int results = 0;
    (void)vm_compare_charge(&machine->vm->budget);
    int status = lua_resume(machine->co, machine->vm->L, arguments, &results);
    bool is_over = status != LUA_YIELD;
    int rc = is_over ? end_call(machine, status) : 0;
    (void)vm_compare_charge(machine->payer);
    return is_over && end_job(machine, rc);
}

/* ---- jobs ---- */

/* Taking and giving back a whole state has no other budget than the replica's memory. */
static void begin_budget(struct vm_machine *machine)
{
    enum { UPGRADE_FACTOR = 1000 };
    enum vm_machine_kind kind = machine->job->kind;
    bool is_upgrade = kind == VM_MACHINE_APPLY && machine->entry.kind != VM_ENTRY_COMMAND;
    bool is_bound = (kind == VM_MACHINE_APPLY || kind == VM_MACHINE_QUERY) && !is_upgrade;
    uint64_t limit = is_bound ? machine->program.instructions : UINT64_MAX;
    vm_budget_begin(machine->co, is_upgrade ? UPGRADE_FACTOR * VM_MACHINE_INSTRUCTIONS : limit);
    vm_budget_bound(machine->co, is_bound ? machine->program.bytes : 0, machine->slice_looks);
}

/* A session's own command. Returns how it ended. */
static int open_or_shut(struct vm_machine *machine)
{
    const struct vm_entry *entry = &machine->entry;
    struct vm_machine_job *job = machine->job;
    struct wire_packer packer = {job->output, 0};
    struct wire_unpacker unpacker = wire_unpack(entry->body);
    uint64_t id = 0;
    if (entry->kind == VM_ENTRY_SHUT) {
        vm_sessions_shut(&machine->sessions, entry->session);
        wire_pack_bool(&packer, true);
        return packer.rc;
    }
    uint64_t ttl_us = wire_unpack_uint(&unpacker);
    if (wire_unpack_end(&unpacker) != 0)
        return peri_fail_plain(job->err, PERI_EFORMAT, "this is no entry of a machine");
    int rc = vm_sessions_open(&machine->sessions, machine->clock_us, ttl_us, &id, job->err);
    machine->is_broken = machine->is_broken || rc == PERI_ENOMEM;
    wire_pack_uint(&packer, id);
    return rc != 0 ? rc : packer.rc;
}

/* Whether the command's session has it already. Returns a turn, or an error. */
static int judge(struct vm_machine *machine)
{
    const struct vm_entry *entry = &machine->entry;
    struct vm_machine_job *job = machine->job;
    if (entry->sequence == 0)
        return NODE_SESSION_NEW;
    const struct vm_session *session = vm_sessions_find(&machine->sessions, entry->session);
    if (session == NULL)
        return node_session_fail(entry->session, job->err);
    int turn = node_session_judge(session->sequence, entry->sequence, job->err);
    if (turn == NODE_SESSION_AGAIN &&
        peri_buffer_append(job->output, session->result.data, session->result.size) != 0) {
        machine->is_broken = true;
        return peri_fail(job->err, PERI_ENOMEM, "the result of a session");
    }
    return turn;
}

/* Reads the entry. Returns 0 when code of Lua is to run, 1 when the command is done, or an error.
 */
static int begin_entry(struct vm_machine *machine)
{
    struct vm_entry *entry = &machine->entry;
    struct vm_machine_job *job = machine->job;
    int rc = vm_entry_read(job->input, entry, job->err);
    if (rc != 0)
        return rc;
    if (entry->now_us > machine->clock_us)
        machine->clock_us = entry->now_us;
    vm_sessions_expire(&machine->sessions, machine->clock_us);
    if (entry->kind == VM_ENTRY_OPEN || entry->kind == VM_ENTRY_SHUT) {
        rc = open_or_shut(machine);
        return rc == 0 ? 1 : rc;
    }
    rc = judge(machine);
    return rc == NODE_SESSION_AGAIN ? 1 : rc;
}

static int l_begin(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_tables_begin(L, &machine->tables, machine->job->kind == VM_MACHINE_APPLY);
    return 0;
}

bool vm_machine_start(struct vm_machine *machine, struct vm_machine_job *job)
{
    PERI_ASSERT(machine->job == NULL);
    machine->job = job;
    machine->entry = (struct vm_entry){.seed = 0};
    if (!call_protected(machine, l_begin))
        return end_job(machine, peri_fail(job->err, PERI_EMEMORY, "a machine"));
    if (job->kind == VM_MACHINE_APPLY) {
        int rc = begin_entry(machine);
        if (rc != 0)
            return end_job(machine, rc < 0 ? rc : 0);
    }
    machine->payer = vm_compare_charge(NULL);
    begin_budget(machine);
    lua_pushcfunction(machine->co, run_job);
    lua_pushlightuserdata(machine->co, machine);
    return resume(machine, 1);
}

bool vm_machine_continue(struct vm_machine *machine)
{
    PERI_ASSERT(machine->job != NULL);
    machine->payer = vm_compare_charge(NULL);
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
    vm_program_load(L, &machine->program, peri_buffer_slice(&machine->text), machine->name.data);
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
    vm_program_init(&machine->program);
    vm_program_init(&machine->next);
    machine->sessions.next_us = UINT64_MAX;
    machine->tables.hash = vm_hash_bytes(text.data, text.size);
    int rc = set_text(machine, peri_slice_of(name, strlen(name)), text)
                 ? open_lua(machine, err)
                 : peri_fail(err, PERI_ENOMEM, "machine %s", name);
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
    vm_sessions_deinit(&machine->sessions);
    peri_buffer_deinit(&machine->text);
    peri_buffer_deinit(&machine->name);
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

bool vm_machine_hash_at(const struct vm_machine *machine, uint64_t index, uint64_t *hash)
{
    enum { GAP_MAX = 64 }; /* entries in a row that are not the machine's */
    for (uint64_t i = index; i > 0 && index - i < GAP_MAX; i--) {
        const struct vm_hash_at *at = &machine->hashes[i % VM_MACHINE_HASHES];
        *hash = at->hash;
        if (at->index >= i)
            return at->index == i;
    }
    return false;
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
