/* perilune.core.msgpack: MessagePack; lua/perilune/msgpack.lua stands in front. */
#include <string.h>

#include "box.h"
#include "wire/codec.h"

#define UNPACKER_METATABLE "perilune.msgpack.unpacker"

enum { ENCODED_MAX = 256 << 20 };

/* ---- whole values ---- */

static int l_encode(lua_State *L)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    luaL_checkany(L, 1);
    const char *name = luaL_optstring(L, 2, NULL);
    lua_Integer size_max = luaL_optinteger(L, 3, ENCODED_MAX);
    luaL_argcheck(L, size_max >= 0, 3, "must not be negative");
    if (wire_encode(L, 1, name, (size_t)size_max, &out, &err) != 0) {
        peri_buffer_deinit(&out);
        return box_error(L, &err);
    }
    return box_take_buffer(L, &out);
}

/* decode(bytes, position): value, position behind it. */
static int l_decode(lua_State *L)
{
    size_t size;
    size_t used = 0;
    struct peri_error err = PERI_ERROR_INIT;
    const char *bytes = luaL_checklstring(L, 1, &size);
    lua_Integer position = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, position >= 1 && (lua_Unsigned)position <= size + 1, 2, "outside the string");
    size_t skip = (size_t)position - 1;
    if (wire_decode(L, peri_slice_of(bytes + skip, size - skip), &used, &err) != 0)
        return box_error(L, &err);
    lua_pushinteger(L, position + (lua_Integer)used);
    return 2;
}

/* ---- streams ---- */

/* Collects pieces until a value is complete, and looks at each byte once however small they are. */
struct unpacker {
    struct wire_scanner scanner;
    struct peri_buffer bytes;
    size_t start;   /* of the value that is next */
    size_t scanned; /* bytes behind start that the scanner has seen */
    size_t size_max;
    int status; /* the error that ended the stream, or 0 */
};

static struct unpacker *check_unpacker(lua_State *L)
{
    return luaL_checkudata(L, 1, UNPACKER_METATABLE);
}

static int l_unpacker(lua_State *L)
{
    lua_Integer size_max = luaL_optinteger(L, 1, ENCODED_MAX);
    luaL_argcheck(L, size_max >= 1, 1, "must be positive");
    struct unpacker *unpacker = lua_newuserdatauv(L, sizeof *unpacker, 0);
    *unpacker = (struct unpacker){.size_max = (size_t)size_max};
    wire_scanner_init(&unpacker->scanner);
    luaL_setmetatable(L, UNPACKER_METATABLE);
    return 1;
}

static void drop_taken(struct unpacker *unpacker)
{
    if (unpacker->start == 0)
        return;
    unpacker->bytes.size -= unpacker->start;
    memmove(unpacker->bytes.data, unpacker->bytes.data + unpacker->start, unpacker->bytes.size);
    unpacker->start = 0;
}

static int l_feed(lua_State *L)
{
    size_t size;
    struct unpacker *unpacker = check_unpacker(L);
    const char *bytes = luaL_checklstring(L, 2, &size);
    drop_taken(unpacker);
    int rc = peri_buffer_append(&unpacker->bytes, bytes, size);
    if (rc != 0)
        return box_fail(L, rc, "MessagePack stream: no memory");
    lua_pushboolean(L, 1);
    return 1;
}

static int end_stream(lua_State *L, struct unpacker *unpacker, const struct peri_error *err)
{
    unpacker->status = err->code;
    return box_error(L, err);
}

/* True and the value, or false when more bytes are needed. */
static int l_next(lua_State *L)
{
    struct unpacker *unpacker = check_unpacker(L);
    struct peri_error err = PERI_ERROR_INIT;
    size_t used = 0;
    if (unpacker->status != 0)
        return box_fail(L, unpacker->status, "MessagePack stream: it was malformed before");
    size_t from = unpacker->start + unpacker->scanned;
    const char *data = unpacker->bytes.data;
    struct peri_slice rest = peri_slice_of(data + from, unpacker->bytes.size - from);
    int rc = rest.size == 0 ? 0 : wire_scanner_feed(&unpacker->scanner, rest, &used, &err);
    if (rc < 0)
        return end_stream(L, unpacker, &err);
    unpacker->scanned += used;
    if (unpacker->scanned > unpacker->size_max) {
        (void)peri_fail(&err, PERI_ETOOBIG, "MessagePack stream: a value above %zu bytes",
                        unpacker->size_max);
        return end_stream(L, unpacker, &err);
    }
    lua_pushboolean(L, rc);
    if (rc == 0)
        return 1;
    struct peri_slice whole = peri_slice_of(data + unpacker->start, unpacker->scanned);
    unpacker->start += unpacker->scanned;
    unpacker->scanned = 0;
    if (wire_decode(L, whole, &used, &err) != 0)
        return end_stream(L, unpacker, &err);
    return 2;
}

static int l_unpacker_gc(lua_State *L)
{
    peri_buffer_deinit(&check_unpacker(L)->bytes);
    return 0;
}

int luaopen_perilune_msgpack(lua_State *L);

int luaopen_perilune_msgpack(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"feed", l_feed}, {"next", l_next}, {"__gc", l_unpacker_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"encode", l_encode}, {"decode", l_decode}, {"unpacker", l_unpacker}, {NULL, NULL}};
    if (luaL_newmetatable(L, UNPACKER_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    luaL_newlib(L, functions);
    return 1;
}
