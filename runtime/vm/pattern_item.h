/* pattern_item.h - the insides of the matcher, for the files that make it up.
 *
 * pattern.c        the search for a start, and the captures of a match
 * pattern_match.c  one attempt at one start
 * pattern_item.c   single items, and the account of steps */
#ifndef PERI_VM_PATTERN_ITEM_H
#define PERI_VM_PATTERN_ITEM_H

#include <lua.h>

#include "vm/pattern.h"

#define PATTERN_ESCAPE '%'
#define PATTERN_FUEL 512       /* steps between two looks at the clock */
#define PATTERN_SCAN_MAX 65536 /* bytes that one item may scan in between */

/* What one pattern item accepts. */
struct pattern_item {
    enum { ITEM_ANY, ITEM_BYTE, ITEM_SET } kind;
    unsigned char byte;
    const struct charset *set;
    const char *end; /* behind the item, where its repetition may stand */
};

enum pattern_progress { GO_ON, FAIL, PAUSE };

/* Reads the "[set]" at open. Raises when it is malformed, as the other readers do. */
void pattern_read_set(lua_State *L, struct pattern *pattern, const char *open,
                      struct pattern_item *item);

/* Reads the "%c" at p. */
void pattern_read_escape(lua_State *L, struct pattern *pattern, const char *p,
                         struct pattern_item *item);

/* The first position from at to end that item does not take. */
const char *pattern_item_span(const struct pattern_item *item, const char *at, const char *end);

/* Accounts the steps taken since the last look; true when the runtime wants attention. Raises when
 * the budget is spent. */
bool pattern_refuel(struct pattern_search *search);

/* Matches at search->start, from wherever the attempt was left. */
enum pattern_result pattern_attempt(struct pattern_search *search);

static inline void pattern_read_item(lua_State *L, struct pattern *pattern, const char *p,
                                     struct pattern_item *item)
{
    if (*p == '[') {
        pattern_read_set(L, pattern, p, item);
    } else if (*p == PATTERN_ESCAPE) {
        pattern_read_escape(L, pattern, p, item);
    } else {
        item->kind = *p == '.' ? ITEM_ANY : ITEM_BYTE;
        item->set = NULL;
        item->byte = (unsigned char)*p;
        item->end = p + 1;
    }
}

static inline bool pattern_item_takes(const struct pattern_item *item, const char *at,
                                      const char *end)
{
    if (at >= end)
        return false;
    switch (item->kind) {
    case ITEM_ANY:
        return true;
    case ITEM_BYTE:
        return (unsigned char)*at == item->byte;
    default:
        return charset_has(item->set, (unsigned char)*at);
    }
}

static inline bool pattern_is_spent(struct pattern_search *search)
{
    return search->fuel < 0 && pattern_refuel(search);
}

/* The end of the part of the subject that may be scanned from at before the next look. */
static inline const char *pattern_scan_end(const struct pattern_search *search, const char *at)
{
    return search->subject_end - at > PATTERN_SCAN_MAX ? at + PATTERN_SCAN_MAX
                                                       : search->subject_end;
}

#endif
