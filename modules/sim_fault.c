/* What the controller does to nodes and to the network: part of perilune.core.sim. */
#include "sim/fault.h"

#include <math.h>
#include <string.h>

#include "box.h"
#include "sim/disk.h"
#include "sim/net.h"
#include "sim_parts.h"

/* ---- values: true, 0.01, "1%", 0.5, "10ms", { "uniform", "1ms", "10ms" } ---- */

/* Numbers are what the library counts in: seconds, parts of one, bytes. */
static double number_scale(enum env_fault_unit unit)
{
    static const double million = 1e6;
    switch (unit) {
    case ENV_FAULT_UNIT_PPM:
    case ENV_FAULT_UNIT_SIGNED_PPM:
    case ENV_FAULT_UNIT_US:
    case ENV_FAULT_UNIT_SIGNED_US:
        return million;
    default:
        return 1;
    }
}

/* What a setting would be cut to must not go unsaid: half a bit, a loss of a tenth of a millionth.
 */
static int read_number(double number, enum env_fault_unit unit, int64_t *out,
                       struct peri_error *err)
{
    double scaled = number * number_scale(unit);
    if (!(fabs(scaled) < (double)INT64_MAX))
        return peri_fail_plain(err, PERI_EINVAL, "%g is out of range", number);
    if (unit == ENV_FAULT_UNIT_COUNT && floor(scaled) < scaled)
        return peri_fail_plain(err, PERI_EINVAL,
                               "%g is not a whole number: this is a count, not a share", number);
    *out = llround(scaled);
    if (*out == 0 && fabs(number) > 0)
        return peri_fail_plain(err, PERI_EINVAL, "%g is too small: %s has no finer steps than %g",
                               number, env_fault_unit_name(unit), 1 / number_scale(unit));
    return 0;
}

static int read_amount(lua_State *L, int index, enum env_fault_unit unit, int64_t *out,
                       struct peri_error *err)
{
    size_t size;
    if (lua_type(L, index) == LUA_TBOOLEAN && unit == ENV_FAULT_UNIT_FLAG) {
        *out = lua_toboolean(L, index);
        return 0;
    }
    if (lua_type(L, index) == LUA_TNUMBER)
        return read_number(lua_tonumber(L, index), unit, out, err);
    if (lua_type(L, index) != LUA_TSTRING)
        return peri_fail_plain(err, PERI_EINVAL, "a %s cannot be a %s", luaL_typename(L, index),
                               env_fault_unit_name(unit));
    const char *text = lua_tolstring(L, index, &size);
    return env_fault_parse(unit, peri_slice_of(text, size), out, err);
}

static int read_part(lua_State *L, int index, int part, uint64_t *out, struct peri_error *err)
{
    int64_t number = 0;
    int rc = 0;
    if (lua_geti(L, index, part) != LUA_TNIL)
        rc = read_amount(L, -1, ENV_FAULT_UNIT_US, &number, err);
    lua_pop(L, 1);
    if (rc == 0 && number < 0)
        rc = peri_fail_plain(err, PERI_EINVAL, "a time cannot be negative");
    *out = (uint64_t)number;
    return rc;
}

static int read_delay(lua_State *L, int index, struct env_delay *out, struct peri_error *err)
{
    int64_t number = 0;
    if (!lua_istable(L, index)) {
        int rc = read_amount(L, index, ENV_FAULT_UNIT_US, &number, err);
        if (rc == 0 && number < 0)
            rc = peri_fail_plain(err, PERI_EINVAL, "a time cannot be negative");
        *out = (struct env_delay){ENV_DELAY_CONSTANT, (uint64_t)number, (uint64_t)number, 0};
        return rc;
    }
    (void)lua_geti(L, index, 1);
    const char *name = lua_tostring(L, -1);
    int shape = name != NULL ? env_delay_shape_from_name(name) : -1;
    lua_pop(L, 1); /* the table keeps the name */
    if (shape < 0)
        return peri_fail_plain(err, PERI_EINVAL,
                               "a distribution is { \"constant\"|\"uniform\"|\"exponential\"|"
                               "\"long_tail\", times... }");
    static const int part_counts[] = {[ENV_DELAY_CONSTANT] = 1,
                                      [ENV_DELAY_UNIFORM] = 2,
                                      [ENV_DELAY_EXPONENTIAL] = 2,
                                      [ENV_DELAY_LONG_TAIL] = 3};
    int count = (int)lua_rawlen(L, index) - 1;
    if (count != part_counts[shape])
        return peri_fail_plain(err, PERI_EINVAL, "%s takes %d times behind its name, not %d",
                               env_delay_shape_name((enum env_delay_shape)shape),
                               part_counts[shape], count);
    out->shape = (enum env_delay_shape)shape;
    int rc = read_part(L, index, 2, &out->low_us, err);
    if (rc == 0)
        rc = read_part(L, index, 3, &out->high_us, err);
    return rc == 0 ? read_part(L, index, 4, &out->tail_us, err) : rc;
}

static int read_value(lua_State *L, int index, enum env_fault fault, struct env_fault_value *out,
                      struct peri_error *err)
{
    enum env_fault_unit unit = env_fault_info(fault)->unit;
    if (unit == ENV_FAULT_UNIT_NONE)
        return 0;
    if (unit == ENV_FAULT_UNIT_DELAY)
        return read_delay(L, index, &out->delay, err);
    return read_amount(L, index, unit, &out->number, err);
}

/* ---- faults ---- */

static struct sim_node *opt_node(lua_State *L, struct simulation *run, int index)
{
    if (lua_isnoneornil(L, index))
        return NULL;
    struct sim_node *node = sim_world_node(run->world, luaL_checkstring(L, index));
    if (node == NULL)
        luaL_argerror(L, index, lua_pushfstring(L, "there is no node %s", lua_tostring(L, index)));
    return node;
}

/* fault(name, from, to, value): true, or nil, message, code. */
static int l_fault(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    const char *name = luaL_checkstring(L, 1);
    int fault = env_fault_from_name(name);
    luaL_argcheck(L, fault >= 0, 1, "there is no such fault");
    struct sim_node *from = opt_node(L, run, 2);
    struct sim_node *to = opt_node(L, run, 3);
    struct env_fault_value value = {0};
    struct peri_error err = PERI_ERROR_INIT;
    lua_settop(L, 4);
    int rc = read_value(L, 4, (enum env_fault)fault, &value, &err);
    if (rc == 0)
        rc = env_fault_check((enum env_fault)fault, &value, &err);
    if (rc == 0)
        rc = sim_fault_apply(run->world, (enum env_fault)fault, from, to, &value, &err);
    if (rc != 0)
        return box_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* faults(): what fault.def knows, by name. */
static int l_faults(lua_State *L)
{
    lua_createtable(L, 0, ENV_FAULT_COUNT);
    for (int fault = 0; fault < ENV_FAULT_COUNT; fault++) {
        const struct env_fault_info *info = env_fault_info((enum env_fault)fault);
        lua_createtable(L, 0, 3);
        box_set_string(L, "target", info->target == ENV_FAULT_TARGET_LINK ? "link" : "node");
        box_set_string(L, "unit", env_fault_unit_name(info->unit));
        box_set_string(L, "text", info->text);
        lua_setfield(L, -2, info->name);
    }
    return 1;
}

/* ---- network ---- */

static int l_heal(lua_State *L)
{
    sim_net_heal(sim_check_controller(L)->run->world);
    return 0;
}

static bool flag(lua_State *L, int index, const char *name)
{
    (void)lua_getfield(L, index, name);
    bool is_set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is_set;
}

/* labs{ unreliable =, long_reordering =, long_delays = }, or labs(false). */
static int l_labs(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    struct sim_net_labs labs = {.is_on = lua_istable(L, 1)};
    if (labs.is_on) {
        labs.unreliable = flag(L, 1, "unreliable");
        labs.long_reordering = flag(L, 1, "long_reordering");
        labs.long_delays = flag(L, 1, "long_delays");
    }
    sim_net_set_labs(run->world, &labs);
    return 0;
}

void sim_push_stats(lua_State *L, const struct simulation *run)
{
    struct sim_net_counts net = sim_net_counts(run->world);
    lua_createtable(L, 0, 12);
    box_set_count(L, "events", sim_world_event_count(run->world));
    box_set_count(L, "nodes", sim_world_node_count(run->world) - 1);
    box_set_count(L, "sent", net.sent);
    box_set_count(L, "bytes", net.bytes);
    box_set_count(L, "delivered", net.delivered);
    box_set_count(L, "lost", net.lost);
    box_set_count(L, "duplicated", net.duplicated);
    box_set_count(L, "corrupted", net.corrupted);
    box_set_count(L, "cut", net.cut);
    box_set_count(L, "connects", net.connects);
    box_set_count(L, "refused", net.refused);
    box_set_count(L, "operations", run->history_count);
}

static int l_stats(lua_State *L)
{
    sim_push_stats(L, sim_check_controller(L)->run);
    return 1;
}

/* ---- disks ---- */

/* put(node, path, bytes): a file, durable. */
static int l_put(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    struct sim_node *node = opt_node(L, run, 1);
    luaL_argcheck(L, node != NULL, 1, "a node's name");
    struct peri_error err = PERI_ERROR_INIT;
    size_t size;
    const char *path = luaL_checkstring(L, 2);
    const char *bytes = luaL_checklstring(L, 3, &size);
    if (sim_disk_put(node, path, peri_slice_of(bytes, size), &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* get(node, path): what the node would read. */
static int l_get(lua_State *L)
{
    struct simulation *run = sim_check_controller(L)->run;
    const struct sim_node *node = opt_node(L, run, 1);
    luaL_argcheck(L, node != NULL, 1, "a node's name");
    struct peri_buffer content = {0};
    int rc = sim_disk_get(node, luaL_checkstring(L, 2), &content);
    if (rc == 0)
        return box_take_buffer(L, &content);
    peri_buffer_deinit(&content);
    return box_fail(L, rc, peri_strerror(rc));
}

const luaL_Reg sim_fault_functions[] = {
    {"fault", l_fault}, {"faults", l_faults}, {"heal", l_heal}, {"labs", l_labs},
    {"stats", l_stats}, {"put", l_put},       {"get", l_get},   {NULL, NULL},
};
