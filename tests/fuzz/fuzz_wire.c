/* Fuzzes the decoders of messages: the first byte chooses MessagePack or JSON.
 *
 * Beyond the sanitizers: what decodes encodes again, and decodes to the same bytes; decoder and
 * scanner agree where a MessagePack value ends. */
#include <lauxlib.h>
#include <stdint.h>

#include "base/assert.h"
#include "wire/codec.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENCODED_MAX = 64 << 20 };

static void check_scanner(struct peri_slice bytes, size_t used)
{
    struct wire_scanner scanner;
    int rc = 0;
    wire_scanner_init(&scanner);
    for (size_t at = 0; at < used; at++) {
        size_t taken = 0;
        PERI_ASSERT(rc == 0);
        rc = wire_scanner_feed(&scanner, peri_slice_of(bytes.data + at, 1), &taken, NULL);
        PERI_ASSERT(taken == 1);
    }
    PERI_ASSERT(rc == 1);
}

static void fuzz_msgpack(lua_State *L, struct peri_slice bytes)
{
    struct peri_buffer first = {NULL, 0, 0};
    struct peri_buffer second = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    size_t used = 0;
    if (wire_decode(L, bytes, &used, &err) != 0)
        return;
    check_scanner(bytes, used);
    PERI_ASSERT(wire_encode(L, -1, NULL, ENCODED_MAX, &first, &err) == 0);
    PERI_ASSERT(wire_decode(L, peri_buffer_slice(&first), &used, &err) == 0);
    PERI_ASSERT(used == first.size);
    PERI_ASSERT(wire_encode(L, -1, NULL, ENCODED_MAX, &second, &err) == 0);
    PERI_ASSERT(peri_slice_compare(peri_buffer_slice(&first), peri_buffer_slice(&second)) == 0);
    peri_buffer_deinit(&first);
    peri_buffer_deinit(&second);
}

static void fuzz_json(lua_State *L, struct peri_slice text)
{
    struct wire_json_options options = {.is_pretty = true};
    struct peri_buffer first = {NULL, 0, 0};
    struct peri_buffer second = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_json_decode(L, text, &err) != 0)
        return;
    PERI_ASSERT(wire_json_encode(L, -1, &options, &first, &err) == 0);
    PERI_ASSERT(wire_json_decode(L, peri_buffer_slice(&first), &err) == 0);
    PERI_ASSERT(wire_json_encode(L, -1, &options, &second, &err) == 0);
    PERI_ASSERT(peri_slice_compare(peri_buffer_slice(&first), peri_buffer_slice(&second)) == 0);
    peri_buffer_deinit(&first);
    peri_buffer_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = size > 0 ? luaL_newstate() : NULL;
    if (L == NULL)
        return 0;
    (void)luaL_newmetatable(L, WIRE_JSON_ARRAY);
    struct peri_slice rest = peri_slice_of((const char *)data + 1, size - 1);
    if (data[0] % 2 == 0)
        fuzz_msgpack(L, rest);
    else
        fuzz_json(L, rest);
    lua_close(L);
    return 0;
}
