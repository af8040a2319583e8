/* machine_store_lua.c - ctx.store: what a machine's functions do with its keys.
 *
 *   store:get(key)                      the value, or nil
 *   store:put(key, value)               a value of data; only in apply and migrate
 *   store:delete(key)
 *   for key, value in store:range { prefix =, from =, to =, limit =, reverse = } do
 *
 * A walk looks for the next key at each step, so it sees what the loop writes in front of it. */
#include <lauxlib.h>
#include <string.h>

#include "check/hash.h"
#include "vm/machine_parts.h"

/* What is charged: as for the code that would do it in memory, about. */
enum { READ_UNITS = 100, WRITE_UNITS = 50, STEP_UNITS = 20, ENTRY_BYTES = 128 };

static const char store_key = 0; /* its address names a registry field */

static struct vm_machine *machine_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- arguments ---- */

static void check_self(lua_State *L, const char *name)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &store_key);
    bool is_self = lua_rawequal(L, 1, -1);
    lua_pop(L, 1);
    if (!is_self)
        luaL_error(L, "store.%s is called with a colon: ctx.store:%s(...)", name, name);
}

/* Whether an answer comes from memory differs between replicas, so this is asked first. */
static void check_waits(lua_State *L, const struct vm_machine *machine)
{
    if (L != machine->co)
        luaL_error(L, "ctx.store cannot be read inside of a coroutine");
    if (!lua_isyieldable(L))
        luaL_error(L, "ctx.store cannot be read by a function that a library function calls "
                      "(load ...), nor by a handler");
}

static struct peri_slice check_key(lua_State *L, int index)
{
    struct peri_slice key;
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "a key of the store is a string, not a %s", luaL_typename(L, index));
    key.data = lua_tolstring(L, index, &key.size);
    if (key.size > VM_STORE_KEY_MAX)
        luaL_error(L, "a key of the store has at most %d bytes, not %I", VM_STORE_KEY_MAX,
                   (LUAI_UACINT)key.size);
    return key;
}

static void check_memory(lua_State *L, struct vm_machine *machine, int rc)
{
    if (rc >= 0)
        return;
    machine->is_broken = true; /* others could do it */
    luaL_error(L, "the store: %s", peri_strerror(rc));
}

/* The key as the core has it, with something behind it; lent until the next one. */
static struct peri_slice full_key(lua_State *L, struct peri_buffer *out, struct peri_slice key,
                                  const char *behind, size_t behind_size)
{
    struct vm_machine *machine = machine_of(L);
    out->size = 0;
    int rc = peri_buffer_append(out, "u", 1);
    if (rc == 0)
        rc = peri_buffer_append(out, key.data, key.size);
    if (rc == 0)
        rc = peri_buffer_append(out, behind, behind_size);
    check_memory(L, machine, rc);
    return peri_buffer_slice(out);
}

static void charge(lua_State *L, uint64_t units, size_t bytes)
{
    vm_budget_charge(L, units + bytes / VM_BUDGET_BYTES);
}

/* ---- writing ---- */

static void stage(lua_State *L, struct vm_machine *machine, struct peri_slice value)
{
    struct vm_store *store = &machine->store;
    if (!machine->tables.is_writable)
        luaL_error(L, "only commands change the store: not a query");
    struct peri_slice key = check_key(L, 2);
    size_t bytes = key.size + value.size + ENTRY_BYTES;
    charge(L, WRITE_UNITS, bytes);
    vm_budget_charge_bytes(L, bytes);
    if (store->effect_bytes + bytes > VM_STORE_EFFECT_MAX)
        luaL_error(L, "a command writes at most %d MiB to the store", VM_STORE_EFFECT_MAX >> 20);
    store->effect_bytes += bytes;
    check_memory(L, machine, vm_store_stage(store, full_key(L, &store->key, key, "", 0), value));
    uint64_t hash = value.data != NULL ? vm_hash_bytes(value.data, value.size) : 0;
    machine->tables.pending =
        check_mix(check_mix(machine->tables.pending, vm_hash_bytes(key.data, key.size)), hash);
}

static int l_put(lua_State *L)
{
    struct vm_machine *machine = machine_of(L);
    check_self(L, "put");
    if (lua_isnoneornil(L, 3))
        return luaL_error(L,
                          "a value of the store is not nil: ctx.store:delete(key) removes a key");
    machine->store.value.size = 0;
    vm_call_encode(L, 3, "value", VM_STORE_VALUE_MAX, &machine->store.value);
    stage(L, machine, peri_buffer_slice(&machine->store.value));
    return 0;
}

static int l_delete(lua_State *L)
{
    check_self(L, "delete");
    stage(L, machine_of(L), peri_slice_of(NULL, 0));
    return 0;
}

/* ---- a key ---- */

static int push_value(lua_State *L, struct peri_slice value)
{
    charge(L, READ_UNITS, value.size);
    vm_call_push_decoded(L, value, "value of the store");
    return 1;
}

static int push_nothing(lua_State *L)
{
    charge(L, READ_UNITS, 0);
    lua_pushnil(L);
    return 1;
}

static int push_read(lua_State *L, struct vm_machine *machine)
{
    const struct vm_store *store = &machine->store;
    check_memory(L, machine, store->read_status);
    return store->read.count == 0 ? push_nothing(L)
                                  : push_value(L, peri_buffer_slice(&store->read.found));
}

static int get_continue(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    return push_read(L, machine_of(L));
}

static int l_get(lua_State *L)
{
    struct vm_machine *machine = machine_of(L);
    struct vm_store *store = &machine->store;
    struct peri_slice value;
    check_self(L, "get");
    check_waits(L, machine);
    struct peri_slice key = full_key(L, &store->key, check_key(L, 2), "", 0);
    const struct node_keymap_entry *entry = node_keymap_find(&store->staged, key);
    if (entry != NULL)
        return entry->is_deleted ? push_nothing(L) : push_value(L, node_keymap_value(entry));
    int rc = store->keys != NULL ? node_keys_peek(store->keys, key, &value) : -1;
    if (rc >= 0)
        return rc == 0 ? push_nothing(L) : push_value(L, value);
    rc = vm_store_get(machine, key);
    check_memory(L, machine, rc);
    return rc == 0 ? lua_yieldk(L, 0, 0, get_continue) : push_read(L, machine);
}

/* ---- walks ---- */

/* Its number and kind; its bounds and the last key are upvalues, too. */
enum { WALK = 2, LOW, HIGH, LAST, WALK_UPVALUES = LAST };

static struct peri_slice bound(lua_State *L, int upvalue)
{
    struct peri_slice bytes;
    bytes.data = lua_tolstring(L, lua_upvalueindex(upvalue), &bytes.size);
    return bytes;
}

static int step_continue(lua_State *L, int status, lua_KContext context);

static int step(lua_State *L)
{
    struct vm_machine *machine = machine_of(L);
    struct vm_walk *walk = lua_touserdata(L, lua_upvalueindex(WALK));
    struct peri_slice from = bound(L, LOW), to = bound(L, HIGH), last = bound(L, LAST);
    struct vm_pair found = {.key = {NULL, 0}};
    uint64_t passed = 0;
    if (walk->is_bound && walk->left == 0)
        return 0;
    if (last.data != NULL && walk->is_reverse)
        to = full_key(L, &machine->store.key, last, "", 0);
    else if (last.data != NULL)
        from = full_key(L, &machine->store.key, last, "", 1);
    int rc = vm_walk_next(machine, walk, from, to, &found, &passed);
    check_memory(L, machine, rc);
    if (rc == 0)
        return lua_yieldk(L, 0, 0, step_continue);
    charge(L, STEP_UNITS + STEP_UNITS * passed, found.value.size);
    if (found.key.data == NULL) {
        walk->left = 0;
        walk->is_bound = true;
        return 0;
    }
    walk->left--;
    lua_pushlstring(L, found.key.data + 1, found.key.size - 1);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(LAST));
    vm_call_push_decoded(L, found.value, "value of the store");
    return 2;
}

static int step_continue(lua_State *L, int status, lua_KContext context)
{
    struct vm_machine *machine = machine_of(L);
    (void)status;
    (void)context;
    check_memory(L, machine, machine->store.read_status);
    vm_walk_keep_page(&machine->store);
    return step(L);
}

static int l_step(lua_State *L)
{
    const struct vm_walk *walk = lua_touserdata(L, lua_upvalueindex(WALK));
    struct vm_machine *machine = machine_of(L);
    check_waits(L, machine);
    if (walk->number > machine->store.walks)
        return luaL_error(L, "a range of the store ends with its command");
    return step(L);
}

/* Pushes the larger of two bounds, or the smaller. */
static void push_bound(lua_State *L, struct peri_slice a, struct peri_slice b, bool is_larger)
{
    bool is_a = (peri_slice_compare(a, b) > 0) == is_larger;
    lua_pushlstring(L, is_a ? a.data : b.data, is_a ? a.size : b.size);
}

/* What is behind all keys with the prefix that key is; ends with the last byte that counts. */
static struct peri_slice behind(struct peri_buffer *key)
{
    while (key->size > 1 && (unsigned char)key->data[key->size - 1] == UINT8_MAX)
        key->size--;
    key->data[key->size - 1]++;
    return peri_buffer_slice(key);
}

/* An option that is a key, or absent. */
static bool option_key(lua_State *L, const char *name, struct peri_slice *out)
{
    if (lua_getfield(L, 2, name) == LUA_TNIL)
        return false;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "store:range: %s is a string, not a %s", name, luaL_typename(L, -1));
    out->data = lua_tolstring(L, -1, &out->size); /* stays on the stack */
    return true;
}

static void check_options(lua_State *L)
{
    static const char *const known[] = {"from", "limit", "prefix", "reverse", "to"};
    const char *unknown = NULL;
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        bool is_known = false;
        lua_pop(L, 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "[...]";
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            is_known = is_known || strcmp(known[i], name) == 0;
        if (!is_known && (unknown == NULL || strcmp(name, unknown) < 0))
            unknown = name;
    }
    if (unknown != NULL)
        luaL_error(L, "store:range has no option '%s'; it has from, limit, prefix, reverse, to",
                   unknown);
}

static void read_limit(lua_State *L, struct vm_walk *walk)
{
    int is_integer = 0;
    int type = lua_getfield(L, 2, "limit");
    lua_Integer limit = lua_tointegerx(L, -1, &is_integer);
    if (type == LUA_TNIL)
        return;
    if (type != LUA_TNUMBER || !is_integer || limit < 0)
        luaL_error(L, "store:range: limit is an integer from 0");
    walk->is_bound = true;
    walk->left = (uint64_t)limit;
}

/* Pushes the bounds that the options at 2 name. */
static void push_bounds(lua_State *L, struct vm_store *store)
{
    struct peri_slice prefix = {"", 0}, from = {"", 0}, to;
    (void)option_key(L, "prefix", &prefix);
    (void)option_key(L, "from", &from);
    bool has_to = option_key(L, "to", &to);
    struct peri_slice low = full_key(L, &store->key, prefix, "", 0);
    push_bound(L, low, full_key(L, &store->bound, from, "", 0), true);
    struct peri_slice high = behind(&store->key);
    if (has_to)
        push_bound(L, high, full_key(L, &store->bound, to, "", 0), false);
    else
        lua_pushlstring(L, high.data, high.size);
}

/* store:range { ... }, or store:range(from, to) */
static int l_range(lua_State *L)
{
    struct vm_machine *machine = machine_of(L);
    check_self(L, "range");
    charge(L, READ_UNITS, 0);
    if (lua_isnoneornil(L, 2) || lua_type(L, 2) == LUA_TSTRING) {
        lua_settop(L, 3);
        lua_createtable(L, 0, 2);
        lua_insert(L, 2);
        lua_setfield(L, 2, "to");
        lua_setfield(L, 2, "from");
    }
    if (lua_type(L, 2) != LUA_TTABLE)
        return luaL_error(L, "store:range takes a table of options, or two keys, not a %s",
                          luaL_typename(L, 2));
    lua_settop(L, 2);
    check_options(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    struct vm_walk *walk = lua_newuserdatauv(L, sizeof *walk, 0);
    *walk = (struct vm_walk){.number = ++machine->store.walks};
    read_limit(L, walk);
    walk->is_reverse = lua_getfield(L, 2, "reverse") != LUA_TNIL && lua_toboolean(L, -1);
    lua_pop(L, 2);
    int top = lua_gettop(L);
    push_bounds(L, &machine->store);
    lua_copy(L, -2, top + 1);
    lua_copy(L, -1, top + 2);
    lua_settop(L, top + 2);
    lua_pushnil(L);
    lua_pushcclosure(L, l_step, WALK_UPVALUES);
    return 1;
}

/* ---- the object ---- */

void vm_store_open(lua_State *L, struct vm_machine *machine)
{
    static const luaL_Reg methods[] = {
        {"get", l_get}, {"put", l_put}, {"delete", l_delete}, {"range", l_range}, {NULL, NULL}};
    (void)lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 3);
    luaL_newlibtable(L, methods);
    lua_pushlightuserdata(L, machine);
    luaL_setfuncs(L, methods, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false); /* what getmetatable shows */
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "store");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &store_key);
}

void vm_store_push(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &store_key);
}
