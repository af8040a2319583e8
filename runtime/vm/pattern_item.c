#include "vm/pattern_item.h"

#include <lauxlib.h>

#include "vm/budget.h"
#include "vm/preempt.h"

#define SHOWN_MAX 60      /* bytes of a pattern that an error shows */
#define STEPS_PER_UNIT 4u /* of a machine's budget */

static const char *set_end(lua_State *L, const char *open, const char *pattern_end)
{
    const char *p = open + 1;
    if (*p == '^')
        p++;
    do {
        if (p == pattern_end)
            luaL_error(L, "malformed pattern (missing ']')");
        if (*p++ == PATTERN_ESCAPE && p < pattern_end)
            p++;
    } while (*p != ']');
    return p + 1;
}

void pattern_read_set(lua_State *L, struct pattern *pattern, const char *open,
                      struct pattern_item *item)
{
    item->kind = ITEM_SET;
    item->byte = 0;
    for (size_t i = 0; i < PATTERN_SETS_MAX; i++) {
        if (pattern->sets[i].open == open) {
            item->set = &pattern->sets[i].set;
            item->end = pattern->sets[i].end;
            return;
        }
    }
    item->end = set_end(L, open, pattern->end);
    size_t slot = pattern->next_set++ % PATTERN_SETS_MAX;
    pattern->sets[slot].open = open;
    pattern->sets[slot].end = item->end;
    charset_parse(&pattern->sets[slot].set, open, item->end - 1);
    item->set = &pattern->sets[slot].set;
}

void pattern_read_escape(lua_State *L, struct pattern *pattern, const char *p,
                         struct pattern_item *item)
{
    if (p + 1 == pattern->end)
        luaL_error(L, "malformed pattern (ends with '%%')");
    item->end = p + 2;
    item->set = charset_class((unsigned char)p[1]);
    item->kind = item->set == NULL ? ITEM_BYTE : ITEM_SET;
    item->byte = (unsigned char)p[1];
}

const char *pattern_item_span(const struct pattern_item *item, const char *at, const char *end)
{
    if (item->kind == ITEM_ANY)
        return end;
    if (item->kind == ITEM_BYTE) {
        while (at < end && (unsigned char)*at == item->byte)
            at++;
        return at;
    }
    const struct charset set = *item->set;
    while (at < end && charset_has(&set, (unsigned char)*at))
        at++;
    return at;
}

static void raise_exhausted(struct pattern_search *search)
{
    const struct pattern *pattern = search->pattern;
    size_t size = (size_t)(pattern->end - pattern->text);
    lua_pushlstring(search->L, pattern->text, size < SHOWN_MAX ? size : SHOWN_MAX);
    luaL_error(search->L, "pattern '%s%s' took more than %I steps (it tries too many combinations)",
               lua_tostring(search->L, -1), size > SHOWN_MAX ? "..." : "",
               (LUAI_UACINT)search->steps_max);
}

bool pattern_refuel(struct pattern_search *search)
{
    search->steps += (uint64_t)(PATTERN_FUEL - search->fuel);
    vm_budget_charge(search->L, (uint64_t)(PATTERN_FUEL - search->fuel) / STEPS_PER_UNIT);
    search->fuel = PATTERN_FUEL;
    if (search->steps > search->steps_max)
        raise_exhausted(search);
    return vm_attention(search->L);
}
