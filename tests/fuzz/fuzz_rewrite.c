/* Text for replicated machines: whatever stock Lua compiles, the rewritten text does, and no more.
 */
#include <lauxlib.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vm/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(lua_State *L, struct peri_slice text, struct peri_slice rewritten)
{
    int status = luaL_loadbufferx(L, text.data, text.size, "=x", "t");
    int rewritten_status =
        luaL_loadbufferx(L, rewritten.size > 0 ? rewritten.data : "", rewritten.size, "=x", "t");
    if (status == rewritten_status)
        return;
    const char *why = lua_tostring(L, status == LUA_OK ? -1 : -2);
    if (strstr(why, "overflow") != NULL || strstr(why, "too many") != NULL ||
        strstr(why, "too complex") != NULL)
        return; /* an operand more may be one too many */
    (void)fprintf(stderr, "%s\n", why);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peri_slice text = peri_slice_of((const char *)data, size);
    struct peri_buffer out = {0};
    struct peri_error err = PERI_ERROR_INIT;
    if (size == 0 || *data == '#' || *data == *(const uint8_t *)LUA_SIGNATURE)
        return 0;
    if (vm_rewrite(text, "x", &out, &err) == 0) {
        lua_State *L = luaL_newstate();
        check(L, text, peri_buffer_slice(&out));
        lua_close(L);
    }
    peri_buffer_deinit(&out);
    return 0;
}
