#include "kv_script.h"

#include <lauxlib.h>
#include <lualib.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "kv/limits.h"
#include "vm/budget.h"
#include "vm/deterministic.h"
#include "vm/refusal.h"
#include "vm/state.h"

enum { DEPTH_MAX = 32, NUMBER_MAX = 40 };

#define TIME "give EVAL the time as an argument: ARGV has it"
#define RANDOM "give EVAL random numbers as arguments: ARGV has them"
#define WORLD "a script reaches keys, with redis.call, and nothing else"
#define ONE_SCRIPT "a script is one text"

/* A script that runs. Its buffers outlive whatever the script raises. */
struct script {
    const struct kv_script_call *call;
    struct peri_buffer *out;
    struct peri_buffer reply; /* of the last command */
    struct resp_command command;
    char numbers[RESP_ARGS_MAX][NUMBER_MAX]; /* arguments that were no strings */
    int status;                              /* not 0: the script ends so */
};

static struct script *script_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- replies of commands, as values ---- */

static const char *line_end(const char *at)
{
    while (*at != '\r') /* our own writer ends each line */
        at++;
    return at;
}

static void push_text_table(lua_State *L, const char *field, const char *from, const char *end)
{
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, from, (size_t)(end - from));
    lua_setfield(L, -2, field);
}

/* Pushes the value of a reply in version 2 of the protocol; what comes behind it. */
static const char *push_reply(lua_State *L, const char *at)
{
    const char *end = line_end(at);
    long long number = 0;
    switch (*at) {
    case '+':
        push_text_table(L, "ok", at + 1, end);
        return end + 2;
    case '-':
        push_text_table(L, "err", at + 1, end);
        return end + 2;
    case ':':
        lua_pushinteger(L, strtoll(at + 1, NULL, 10));
        return end + 2;
    case '$':
        number = strtoll(at + 1, NULL, 10);
        if (number < 0) {
            lua_pushboolean(L, 0); /* nil would end lists */
            return end + 2;
        }
        lua_pushlstring(L, end + 2, (size_t)number);
        return end + 2 + number + 2;
    default: /* '*': of values that are none */
        number = strtoll(at + 1, NULL, 10);
        lua_createtable(L, (int)number, 0);
        at = end + 2;
        for (long long i = 1; i <= number; i++) {
            at = push_reply(L, at);
            lua_rawseti(L, -2, (lua_Integer)i);
        }
        return at;
    }
}

/* ---- redis.call ---- */

static struct peri_slice read_argument(lua_State *L, struct script *script, int index)
{
    char *text = script->numbers[index - 1];
    size_t size = 0;
    if (lua_type(L, index) == LUA_TSTRING) {
        const char *bytes = lua_tolstring(L, index, &size);
        return peri_slice_of(bytes, size);
    }
    if (lua_type(L, index) != LUA_TNUMBER)
        luaL_error(L, "redis.call takes strings and numbers: argument %d is a %s", index,
                   luaL_typename(L, index));
    lua_Number number = lua_tonumber(L, index);
    lua_Integer whole = 0;
    int length = lua_numbertointeger(number, &whole) && (lua_Number)whole == number
                     ? snprintf(text, NUMBER_MAX, "%lld",
                                lua_isinteger(L, index) ? (long long)lua_tointeger(L, index)
                                                        : (long long)whole)
                     : snprintf(text, NUMBER_MAX, "%.17g", number);
    return peri_slice_of(text, (size_t)length);
}

/* Leaves the reply on the stack. */
static void call_command(lua_State *L)
{
    struct script *script = script_of(L);
    int count = lua_gettop(L);
    if (count < 1 || count > RESP_ARGS_MAX)
        luaL_error(L, "redis.call takes 1 to %d arguments", RESP_ARGS_MAX);
    for (int i = 1; i <= count; i++)
        script->command.args[i - 1] = read_argument(L, script, i);
    script->command.count = (uint32_t)count;
    script->reply.size = 0;
    if (script->status == 0)
        script->status =
            script->call->command(script->call->host, &script->command, &script->reply);
    if (script->status == 0 && peri_buffer_append(&script->reply, "", 1) != 0)
        script->status = PERI_ENOMEM;
    if (script->status != 0) /* and nothing that it catches changes that */
        luaL_error(L, "the script has ended");
    vm_budget_charge(L, VM_BUDGET_STEP / 10 + script->reply.size / VM_BUDGET_BYTES);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    (void)push_reply(L, script->reply.data);
}

static int l_pcall(lua_State *L)
{
    call_command(L);
    return 1;
}

static int l_call(lua_State *L)
{
    call_command(L);
    if (lua_istable(L, -1)) {
        bool is_error = lua_getfield(L, -1, "err") == LUA_TSTRING;
        lua_pop(L, 1);
        if (is_error)
            return lua_error(L); /* the table */
    }
    return 1;
}

/* redis.error_reply, redis.status_reply: a table with that field. */
static int l_reply(lua_State *L)
{
    size_t size = 0;
    const char *text = luaL_checklstring(L, 1, &size);
    push_text_table(L, lua_tostring(L, lua_upvalueindex(1)), text, text + size);
    return 1;
}

/* ---- the reply of a script ---- */

static bool write_field(lua_State *L, int index, const char *field,
                        void (*write)(struct resp_writer *writer, const char *format, ...),
                        struct resp_writer *writer)
{
    lua_pushstring(L, field);
    bool is_there = lua_rawget(L, index) == LUA_TSTRING;
    if (is_there)
        write(writer, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return is_there;
}

static void write_status(struct resp_writer *writer, const char *format, ...)
{
    va_list arguments;
    char text[RESP_ERROR_MAX];
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at != '\0'; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' ';
    resp_status(writer, text);
}

static void write_value(lua_State *L, int index, struct resp_writer *writer, int depth);

/* A list up to the first nil. */
static void write_list(lua_State *L, int index, struct resp_writer *writer, int depth)
{
    lua_Integer count = 0;
    if (depth == DEPTH_MAX)
        luaL_error(L, "a reply has at most %d lists in lists", DEPTH_MAX);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    while (lua_rawgeti(L, index, count + 1) != LUA_TNIL) {
        lua_pop(L, 1);
        vm_budget_charge(L, 1);
        count++;
    }
    lua_pop(L, 1);
    resp_array(writer, (size_t)count);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        write_value(L, lua_gettop(L), writer, depth + 1);
        lua_pop(L, 1);
    }
}

static void write_value(lua_State *L, int index, struct resp_writer *writer, int depth)
{
    size_t size = 0;
    lua_Number number;
    const char *bytes;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        bytes = lua_tolstring(L, index, &size);
        resp_bulk(writer, peri_slice_of(bytes, size));
        break;
    case LUA_TNUMBER: /* cut off, as in Redis */
        number = trunc(lua_tonumber(L, index));
        resp_integer(writer, lua_isinteger(L, index)                ? lua_tointeger(L, index)
                             : number >= -0x1p63 && number < 0x1p63 ? (int64_t)number
                                                                    : INT64_MIN);
        break;
    case LUA_TTABLE:
        if (!write_field(L, index, "err", resp_error, writer) &&
            !write_field(L, index, "ok", write_status, writer))
            write_list(L, index, writer, depth);
        break;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, index)) {
            resp_integer(writer, 1);
            break;
        }
        /* fall through */
    default:
        resp_nil(writer);
    }
    if (writer->rc == 0 && writer->out->size > KV_RESULT_MAX)
        luaL_error(L, "the result of a command has at most %d bytes", KV_RESULT_MAX);
}

/* ---- a run ---- */

static void push_words(lua_State *L, const struct peri_slice *words, uint32_t count)
{
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushlstring(L, words[i].data, words[i].size);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void set_function(lua_State *L, const char *name, lua_CFunction function)
{
    lua_pushcclosure(L, function, 1); /* what it closes over is on top */
    lua_setfield(L, -2, name);
}

static void set_globals(lua_State *L, struct script *script)
{
    const struct kv_script_call *call = script->call;
    push_words(L, call->words, call->key_count);
    lua_setglobal(L, "KEYS");
    push_words(L, call->words + call->key_count, call->arg_count);
    lua_setglobal(L, "ARGV");
    lua_getglobal(L, LUA_TABLIBNAME);
    lua_getfield(L, -1, "unpack");
    lua_setglobal(L, "unpack"); /* where scripts of Redis' Lua 5.1 have it */
    lua_createtable(L, 0, 4);
    lua_pushlightuserdata(L, script);
    set_function(L, "call", l_call);
    lua_pushlightuserdata(L, script);
    set_function(L, "pcall", l_pcall);
    lua_pushliteral(L, "err");
    set_function(L, "error_reply", l_reply);
    lua_pushliteral(L, "ok");
    set_function(L, "status_reply", l_reply);
    lua_setglobal(L, "redis");
    lua_settop(L, 0);
}

static int l_run(lua_State *L)
{
    struct script *script = lua_touserdata(L, 1);
    struct resp_writer writer = {script->out, script->call->version, 0};
    vm_budget_bound(L, KV_SCRIPT_BYTES, 0);
    set_globals(L, script);
    vm_budget_charge(L, script->call->text.size);
    if (vm_deterministic_load(L, script->call->text, "=user_script") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    if (lua_istable(L, 1) && lua_getfield(L, 1, "err") == LUA_TSTRING) {
        lua_pop(L, 1);
        return lua_error(L); /* an error is no effect, however it is said */
    }
    lua_settop(L, 1);
    write_value(L, 1, &writer, 0);
    if (writer.rc != 0)
        script->status = writer.rc;
    return 0;
}

/* What the sandbox of machines refuses with a word on machines. */
static const struct vm_refusal refusals[] = {
    {"os", "time", TIME},          {"os", "clock", TIME},        {"os", "date", TIME},
    {"os", "difftime", TIME},      {"math", "random", RANDOM},   {"math", "randomseed", RANDOM},
    {"os", "getenv", WORLD},       {"os", "execute", WORLD},     {"os", "exit", WORLD},
    {"io", "open", WORLD},         {"io", "read", WORLD},        {"io", "write", "nobody reads it"},
    {NULL, "require", ONE_SCRIPT}, {NULL, "dofile", ONE_SCRIPT}, {NULL, "loadfile", ONE_SCRIPT},
};

static int l_open(lua_State *L)
{
    const struct vm_deterministic options = {NULL, NULL};
    vm_deterministic_open(L, &options);
    vm_refuse(L, refusals, sizeof refusals / sizeof *refusals, "in a script");
    return 0;
}

/* What the script raised, for the client. */
static int tell(lua_State *L, struct peri_error *err)
{
    if (lua_istable(L, -1)) {
        lua_pushliteral(L, "err");
        if (lua_rawget(L, -2) == LUA_TSTRING)
            return peri_fail_plain(err, PERI_ELUA, "%s", lua_tostring(L, -1));
        return peri_fail_plain(err, PERI_ELUA, "ERR Error running script: it raised a table");
    }
    return peri_fail_plain(err, PERI_ELUA, "ERR Error running script: %s",
                           lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                          : lua_typename(L, lua_type(L, -1)));
}

static int finish(const struct vm_state *vm, const struct script *script, int rc,
                  struct peri_error *err)
{
    if (script->status != 0)
        return script->status;
    if (rc == PERI_ELUA)
        return tell(vm->L, err);
    if (rc == PERI_ECPU && vm->budget.is_out_of_bytes)
        return peri_fail_plain(err, rc, "a script may make at most %d bytes", KV_SCRIPT_BYTES);
    if (rc == PERI_ECPU)
        return peri_fail_plain(err, rc, "a script may run for at most %d instructions",
                               KV_SCRIPT_INSTRUCTIONS);
    return rc == 0 ? 0 : PERI_ENOMEM; /* this replica's own lack */
}

static int run(struct kv_engine *kv_engine, const struct kv_script_call *call,
               struct peri_buffer *reply, struct peri_error *err)
{
    struct kv_script_engine *engine = container_of(kv_engine, struct kv_script_engine, engine);
    const struct vm_options options = {.env = engine->env, .bare = true};
    struct script *script = calloc(1, sizeof *script);
    struct vm_state *vm = NULL;
    int rc = script == NULL ? PERI_ENOMEM : vm_state_create(&vm, &options, NULL);
    if (rc == 0) {
        lua_State *L = vm->L;
        script->call = call;
        script->out = reply;
        lua_pushcfunction(L, l_open);
        rc = lua_pcall(L, 0, 0, 0) == LUA_OK ? 0 : PERI_ENOMEM;
        if (rc == 0) {
            lua_pushcfunction(L, l_run);
            lua_pushlightuserdata(L, script);
            rc = vm_deterministic_call(L, 1, 0, KV_SCRIPT_INSTRUCTIONS, NULL);
            rc = finish(vm, script, rc, err);
        }
    }
    vm_state_close(vm);
    if (script != NULL)
        peri_buffer_deinit(&script->reply);
    free(script);
    return rc;
}

void kv_script_engine_init(struct kv_script_engine *engine, struct env *env)
{
    engine->engine.run = run;
    engine->env = env;
}
