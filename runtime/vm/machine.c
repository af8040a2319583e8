#include "vm/machine.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/session.h"
#include "vm/compare.h"
#include "vm/machine_freeze.h"
#include "vm/machine_parts.h"
#include "wire/pack.h"

enum { MIB = 1 << 20 };

/* ---- the end of a job ---- */

static int undo(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_tables_undo(L, &machine->tables);
    vm_store_undo(machine);
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
    const char *function = vm_call_name(machine);
    if (!budget->is_out_of_bytes)
        return peri_fail_plain(err, PERI_ECPU, "%sthe budget of %" PRIu64 " instructions is spent",
                               function, budget->limit);
    return peri_fail_plain(err, PERI_ECPU, "%sthe budget of %" PRIu64 " MiB of memory is spent",
                           function, budget->bytes_limit / MIB);
}

/* The call has ended with the status of Lua. Returns the job's. */
static int end_call(struct vm_machine *machine, int lua_status)
{
    bool is_spent = false;
    lua_State *co = machine->co;
    struct peri_error *err = machine->job->err;
    int rc = 0;
    if (lua_status != LUA_OK) {
        rc = peri_fail_plain(err, PERI_ELUA, "%s", error_text(co));
        (void)lua_resetthread(co); /* handlers of __close run, still counted */
    }
    lua_settop(co, 0);
    machine->used = vm_budget_end(co, &is_spent);
    if (is_spent)
        rc = fail_spent(machine, err);
    machine->is_broken = machine->is_broken || vm_alloc_has_failed(&machine->vm->alloc);
    if (machine->is_broken) /* whatever the file made of that */
        rc = peri_fail_plain(err, PERI_EMEMORY, "the machine's Lua state is out of memory");
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
    node_hashes_note(&machine->hashes, machine->job->index, machine->tables.hash);
}

/* What the machine has come to goes to its keys, also after a failure. Returns the job's end. */
static int store_all(struct vm_machine *machine, int rc)
{
    if (!machine->program.is_stored)
        return rc;
    int stored = vm_store_commit(machine);
    machine->is_broken = machine->is_broken || stored != 0;
    return stored == 0 ? rc : peri_fail(machine->job->err, stored, "the keys of a machine");
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
        rc = store_all(machine, rc);
    } else if (job->kind == VM_MACHINE_RESTORE && rc == 0) {
        node_hashes_forget(&machine->hashes);
        note_hash(machine);
    }
    if (machine->is_broken && (rc == 0 || job->err->text[0] == '\0'))
        rc = peri_fail(job->err, PERI_ENOMEM, "a machine");
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
    machine->has_work = machine->has_work && is_over && rc == 0;
    if (machine->has_work)
        vm_machine_lend(machine);
    return is_over && !machine->has_work && end_job(machine, rc);
}

/* ---- jobs ---- */

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
    if (entry->kind == VM_ENTRY_DECIDE)
        return vm_upgrade_decide(machine);
    rc = judge(machine);
    if (rc != NODE_SESSION_NEW)
        return rc == NODE_SESSION_AGAIN ? 1 : rc;
    if (vm_upgrade_is_pending(machine))
        return peri_fail_plain(job->err, PERI_EBUSY,
                               "an upgrade of the machine is being decided: try again");
    if (entry->kind == VM_ENTRY_OPEN || entry->kind == VM_ENTRY_SHUT) {
        rc = open_or_shut(machine);
        return rc == 0 ? 1 : rc;
    }
    return 0;
}

static int l_begin(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_tables_begin(L, &machine->tables, machine->job->kind == VM_MACHINE_APPLY);
    return 0;
}

/* The rest of the job is code of Lua. */
static bool run(struct vm_machine *machine)
{
    machine->payer = vm_compare_charge(NULL);
    vm_alloc_forget(&machine->vm->alloc);
    vm_call_begin_budget(machine, &machine->program);
    lua_pushcfunction(machine->co, vm_call_run);
    lua_pushlightuserdata(machine->co, machine);
    return resume(machine, 1);
}

/* What the keys say has been read, or not (vm_store_load). */
static bool go_on_loading(struct vm_machine *machine, int rc)
{
    if (rc < 0)
        return end_job(machine, peri_fail(machine->job->err, rc, "the keys of a machine"));
    return rc == 1 && run(machine);
}

bool vm_machine_start(struct vm_machine *machine, struct vm_machine_job *job)
{
    PERI_ASSERT(machine->job == NULL && !machine->is_lent);
    PERI_ASSERT(job->kind != VM_MACHINE_RESTORE || !machine->shot.is_open);
    machine->job = job;
    machine->entry = (struct vm_entry){.seed = 0};
    vm_store_begin(machine, job->keys);
    if (!call_protected(machine, l_begin))
        return end_job(machine, peri_fail(job->err, PERI_EMEMORY, "a machine"));
    if (job->kind == VM_MACHINE_APPLY) {
        int rc = begin_entry(machine);
        if (rc != 0)
            return end_job(machine, rc < 0 ? rc : 0);
    }
    if (job->kind == VM_MACHINE_SNAPSHOT && !machine->program.is_stored &&
        machine->program.functions[VM_FUNCTION_SNAPSHOT] == LUA_NOREF)
        return end_job(machine, vm_snapshot_whole(machine));
    if (job->kind == VM_MACHINE_RESTORE && machine->program.is_stored)
        return go_on_loading(machine, vm_store_load(machine, job->input));
    return run(machine);
}

bool vm_machine_continue(struct vm_machine *machine)
{
    PERI_ASSERT(machine->job != NULL && !machine->store.is_reading);
    if (machine->has_work) { /* it is done */
        machine->has_work = machine->is_lent = false;
        return end_job(machine, end_call(machine, machine->work_status));
    }
    if (machine->store.is_loading)
        return go_on_loading(machine, vm_store_load_on(machine));
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
    machine->tables.shot = &machine->shot;
    vm_store_open(L, machine);
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
    machine->on_read = options->on_read;
    machine->on_read_data = options->on_read_data;
    machine->options = (struct vm_options){
        .env = options->env, .memory_limit_bytes = options->memory_limit_bytes, .bare = true};
    machine->deterministic = (struct vm_deterministic){on_print, machine};
    vm_program_init(&machine->program);
    vm_program_init(&machine->next);
    machine->sessions.next_us = UINT64_MAX;
    machine->tables.hash = vm_hash_bytes(text.data, text.size);
    int rc = vm_upgrade_set_text(machine, peri_slice_of(name, strlen(name)), text)
                 ? open_lua(machine, err)
                 : peri_fail(err, PERI_ENOMEM, "machine %s", name);
    if (rc != 0) {
        vm_machine_close(machine);
        return rc;
    }
    machine->sessions.is_tracked = machine->program.is_stored;
    *out = machine;
    return 0;
}

void vm_machine_close(struct vm_machine *machine)
{
    if (machine == NULL)
        return;
    if (machine->shot.is_open)
        vm_shot_end(machine->vm->L, &machine->shot);
    vm_state_close(machine->vm);
    vm_sessions_deinit(&machine->sessions);
    vm_store_close(machine);
    peri_buffer_deinit(&machine->text);
    peri_buffer_deinit(&machine->name);
    peri_buffer_deinit(&machine->prepared.body);
    free(machine);
}

bool vm_machine_is_broken(const struct vm_machine *machine)
{
    return machine->is_broken;
}

bool vm_machine_is_waiting(const struct vm_machine *machine)
{
    return machine->store.is_reading;
}

bool vm_machine_is_stored(const struct vm_machine *machine)
{
    return machine->program.is_stored;
}

uint64_t vm_machine_hash(const struct vm_machine *machine)
{
    return machine->is_lent ? machine->lent_hash : machine->tables.hash;
}

bool vm_machine_hash_at(const struct vm_machine *machine, uint64_t index, uint64_t *hash)
{
    return node_hashes_find(&machine->hashes, index, hash);
}

uint64_t vm_machine_used(const struct vm_machine *machine)
{
    return machine->used;
}

size_t vm_machine_memory(const struct vm_machine *machine)
{
    return machine->is_lent ? machine->lent_memory : machine->vm->alloc.used_bytes;
}

int64_t vm_machine_version(const struct vm_machine *machine)
{
    return machine->program.version;
}
