#include "vm/compare.h"

#include <string.h>

#include "base/assert.h"

/* Lua's long strings, as lobject.h of 5.4 has them; vm_compare_open looks whether it is so. */
struct long_string {
    void *next;
    unsigned char type, marked, has_hash, unused;
    unsigned int hash;
    size_t size;
    char bytes[];
};

static _Thread_local struct vm_budget *payer;

int __real_luaS_eqlngstr(struct long_string *a, struct long_string *b);
int __wrap_luaS_eqlngstr(struct long_string *a, struct long_string *b);
unsigned int luaS_hashlongstr(struct long_string *string); /* keeps what it computes */
int __real_strcoll(const char *a, const char *b);
int __wrap_strcoll(const char *a, const char *b);

struct vm_budget *vm_compare_charge(struct vm_budget *budget)
{
    struct vm_budget *before = payer;
    payer = budget;
    return before;
}

static void charge(size_t size)
{
    (void)vm_budget_take_units(payer,
                               size / VM_BUDGET_BYTES); /* when it is spent, the next look raises */
}

int __wrap_luaS_eqlngstr(struct long_string *a, struct long_string *b)
{
    if (payer == NULL || !payer->is_counting || a->size < VM_BUDGET_STRING_MIN)
        return __real_luaS_eqlngstr(a, b);
    if (a->size != b->size || luaS_hashlongstr(a) != luaS_hashlongstr(b) ||
        !__real_luaS_eqlngstr(a, b))
        return 0;
    charge(a->size);
    return 1;
}

/* Lua asks for each part of a string that ends with a zero byte. No locale is ever set, so the
 * order is that of bytes. */
int __wrap_strcoll(const char *a, const char *b)
{
    if (payer == NULL || !payer->is_counting)
        return __real_strcoll(a, b);
    size_t same = 0;
    while (a[same] == b[same] && a[same] != '\0')
        same++;
    if (same >= VM_BUDGET_STRING_MIN)
        charge(same);
    return (unsigned char)a[same] - (unsigned char)b[same];
}

void vm_compare_open(lua_State *L)
{
    enum { LONG = 100 };
    static const char text[LONG + 1] =
        "a string that is longer than those of which Lua keeps one object each; a hundred bytes: "
        "0123456789";
    size_t size;
    const char *bytes = lua_pushlstring(L, text, LONG);
    const struct long_string *string = lua_topointer(L, -1);
    (void)lua_tolstring(L, -1, &size);
    PERI_ASSERT(string->bytes == bytes && string->size == size);
    PERI_ASSERT(string->has_hash == 0); /* until somebody asks for it */
    unsigned int hash = luaS_hashlongstr((struct long_string *)string);
    PERI_ASSERT(string->has_hash == 1 && string->hash == hash);
    lua_pop(L, 1);
}
