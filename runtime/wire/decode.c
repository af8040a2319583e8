#include <math.h>
#include <string.h>

#include "wire/codec.h"

struct decoder {
    mpack_tokbuf_t tokens;
    const char *at;
    size_t left;
    size_t size;
    struct peri_error *err;
    int rc;
};

static int fail(struct decoder *decoder, int code, const char *what)
{
    return decoder->rc = peri_fail_plain(decoder->err, code, "MessagePack: %s at byte %zu", what,
                                         decoder->size - decoder->left);
}

/* libmpack reads past the end when it is asked with no byte left; hence the test. */
static int read_token(struct decoder *decoder, mpack_token_t *token)
{
    if (decoder->left == 0)
        return fail(decoder, PERI_EFORMAT, "unfinished value");
    switch (mpack_read(&decoder->tokens, &decoder->at, &decoder->left, token)) {
    case MPACK_OK:
        return 0;
    case MPACK_EOF:
        return fail(decoder, PERI_EFORMAT, "unfinished value");
    default:
        return fail(decoder, PERI_EFORMAT, "invalid type byte");
    }
}

static int push_integer(lua_State *L, struct decoder *decoder, const mpack_token_t *token)
{
    if (token->type == MPACK_TOKEN_SINT) {
        lua_pushinteger(L, mpack_unpack_sint(*token));
        return 0;
    }
    uint64_t value = mpack_unpack_uint(*token);
    if (value > LUA_MAXINTEGER)
        return fail(decoder, PERI_EFORMAT, "integer above 2^63 - 1");
    lua_pushinteger(L, (lua_Integer)value);
    return 0;
}

/* All bytes are here, so the string is in one piece. */
static int push_string(lua_State *L, struct decoder *decoder, uint32_t size)
{
    mpack_token_t chunk = {.length = 0};
    if (size > decoder->left)
        return fail(decoder, PERI_EFORMAT, "string longer than the message");
    if (size > 0 && read_token(decoder, &chunk) != 0)
        return decoder->rc;
    lua_pushlstring(L, size > 0 ? chunk.data.chunk_ptr : "", size);
    return 0;
}

static int push_value(lua_State *L, struct decoder *decoder, size_t depth);

static int table_size(uint32_t count)
{
    return count < INT32_MAX ? (int)count : INT32_MAX;
}

static int push_array(lua_State *L, struct decoder *decoder, uint32_t count, size_t depth)
{
    if (count > decoder->left)
        return fail(decoder, PERI_EFORMAT, "array longer than the message");
    lua_createtable(L, table_size(count), 0);
    for (uint32_t i = 1; i <= count; i++) {
        if (push_value(L, decoder, depth + 1) != 0)
            return decoder->rc;
        lua_rawseti(L, -2, i);
    }
    return 0;
}

static bool is_key(lua_State *L)
{
    if (lua_type(L, -1) == LUA_TNUMBER && !lua_isinteger(L, -1))
        return !isnan(lua_tonumber(L, -1));
    return !lua_isnil(L, -1) && !lua_istable(L, -1);
}

static int push_map(lua_State *L, struct decoder *decoder, uint32_t count, size_t depth)
{
    if (count > decoder->left / 2)
        return fail(decoder, PERI_EFORMAT, "map longer than the message");
    lua_createtable(L, 0, table_size(count));
    for (uint32_t i = 0; i < count; i++) {
        if (push_value(L, decoder, depth + 1) != 0)
            return decoder->rc;
        if (!is_key(L))
            return fail(decoder, PERI_EFORMAT, "nil, NaN, array or map as a key");
        if (push_value(L, decoder, depth + 1) != 0)
            return decoder->rc;
        lua_rawset(L, -3);
    }
    return 0;
}

static int push_value(lua_State *L, struct decoder *decoder, size_t depth)
{
    enum { SLOTS = 4 };
    mpack_token_t token = {.length = 0};
    if (!lua_checkstack(L, SLOTS))
        return fail(decoder, PERI_ENOMEM, "no memory");
    if (read_token(decoder, &token) != 0)
        return decoder->rc;
    bool is_open = token.type == MPACK_TOKEN_ARRAY || token.type == MPACK_TOKEN_MAP;
    if (is_open && depth == WIRE_DEPTH_MAX)
        return fail(decoder, PERI_ETOOBIG, "nesting too deep");
    switch (token.type) {
    case MPACK_TOKEN_NIL:
        lua_pushnil(L);
        return 0;
    case MPACK_TOKEN_BOOLEAN:
        lua_pushboolean(L, (int)mpack_unpack_boolean(token));
        return 0;
    case MPACK_TOKEN_UINT:
    case MPACK_TOKEN_SINT:
        return push_integer(L, decoder, &token);
    case MPACK_TOKEN_FLOAT:
        lua_pushnumber(L, mpack_unpack_float(token));
        return 0;
    case MPACK_TOKEN_STR:
    case MPACK_TOKEN_BIN:
        return push_string(L, decoder, token.length);
    case MPACK_TOKEN_ARRAY:
        return push_array(L, decoder, token.length, depth);
    case MPACK_TOKEN_MAP:
        return push_map(L, decoder, token.length, depth);
    default:
        return fail(decoder, PERI_EFORMAT, "extension type");
    }
}

/* Leaves the value, or nil after an error. */
static int decode_protected(lua_State *L)
{
    struct decoder *decoder = lua_touserdata(L, 1);
    if (push_value(L, decoder, 0) != 0)
        lua_pushnil(L);
    return 1;
}

int wire_decode(lua_State *L, struct peri_slice bytes, size_t *used, struct peri_error *err)
{
    struct decoder decoder = {.tokens = MPACK_TOKBUF_INITIAL_VALUE,
                              .at = bytes.data,
                              .left = bytes.size,
                              .size = bytes.size,
                              .err = err};
    if (!lua_checkstack(L, 2))
        return fail(&decoder, PERI_ENOMEM, "no memory");
    lua_pushcfunction(L, decode_protected);
    lua_pushlightuserdata(L, &decoder);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        (void)fail(&decoder, PERI_ENOMEM, "no memory");
    if (decoder.rc != 0) {
        lua_pop(L, 1);
        return decoder.rc;
    }
    *used = bytes.size - decoder.left;
    return 0;
}

int wire_push_list(lua_State *L, struct peri_slice bytes, int *count, struct peri_error *err)
{
    struct decoder decoder = {.tokens = MPACK_TOKBUF_INITIAL_VALUE,
                              .at = bytes.data,
                              .left = bytes.size,
                              .size = bytes.size,
                              .err = err};
    mpack_token_t token = {.length = 0};
    if (read_token(&decoder, &token) != 0)
        return decoder.rc;
    if (token.type != MPACK_TOKEN_ARRAY)
        return fail(&decoder, PERI_EFORMAT, "not an array");
    if (token.length > decoder.left)
        return fail(&decoder, PERI_EFORMAT, "array longer than the message");
    for (uint32_t i = 0; i < token.length; i++)
        if (push_value(L, &decoder, 1) != 0)
            return decoder.rc;
    if (decoder.left > 0)
        return fail(&decoder, PERI_EFORMAT, "something behind the array");
    *count = (int)token.length;
    return 0;
}
