#include "vm/pattern.h"

#include <lauxlib.h>

#include <string.h>

#include "vm/pattern_item.h"

#define STEPS_PER_BYTE 16

void pattern_init(struct pattern *pattern, struct peri_slice text)
{
    pattern->text = text.data;
    pattern->end = text.data + text.size;
    pattern->first = PATTERN_UNKNOWN;
    pattern->is_run = false;
    pattern->next_set = 0;
    for (size_t i = 0; i < PATTERN_SETS_MAX; i++)
        pattern->sets[i].open = NULL;
}

void pattern_search_init(struct pattern_search *search, lua_State *L, struct pattern *pattern,
                         struct peri_slice subject, uint64_t steps_max)
{
    search->L = L;
    search->pattern = pattern;
    search->subject = subject.data;
    search->subject_end = subject.data + subject.size;
    search->start = subject.data;
    search->refuse = NULL;
    search->steps = 0;
    search->steps_max = steps_max + STEPS_PER_BYTE * (uint64_t)subject.size;
    search->fuel = PATTERN_FUEL;
    search->level = 0;
    search->phase = PATTERN_SEARCHING;
    search->anchored = false;
}

/* ---- the search for a start ---- */

/* Learns which bytes a match can start with, looking through leading "(" captures. */
static void learn_first(struct pattern_search *search)
{
    struct pattern *pattern = search->pattern;
    const char *p = pattern->text;
    pattern->first = PATTERN_ANY;
    for (int level = 0; *p == '(' && level < PATTERN_CAPTURES_MAX; level++)
        p += p[1] == ')' ? 2 : 1;
    if (p >= pattern->end || *p == '(' || *p == ')' || *p == '$')
        return;
    if (*p == PATTERN_ESCAPE && p + 1 < pattern->end && strchr("bf0123456789", p[1]) != NULL)
        return;
    struct pattern_item item;
    pattern_read_item(search->L, pattern, p, &item);
    if (item.kind == ITEM_ANY || (*item.end != '\0' && strchr("*?-", *item.end) != NULL))
        return;
    pattern->first = item.kind == ITEM_BYTE ? PATTERN_BYTE : PATTERN_SET;
    pattern->first_byte = item.byte;
    if (item.kind == ITEM_SET)
        pattern->first_set = *item.set;
    pattern->is_run = item.kind == ITEM_SET && p == pattern->text && *item.end == '+' &&
                      item.end + 1 == pattern->end;
}

/* The first place from at to end where a match can start, or end. */
static const char *find_first(const struct pattern *pattern, const char *at, const char *end)
{
    if (pattern->first == PATTERN_BYTE) {
        const char *found = memchr(at, pattern->first_byte, (size_t)(end - at));
        return found == NULL ? end : found;
    }
    const struct charset set = pattern->first_set;
    while (at < end && !charset_has(&set, (unsigned char)*at))
        at++;
    return at;
}

/* Moves start to where a match can start. FAIL: there is no such place. */
static enum pattern_progress skip(struct pattern_search *search)
{
    const struct pattern *pattern = search->pattern;
    if (pattern->first == PATTERN_UNKNOWN)
        learn_first(search);
    if (pattern->first == PATTERN_ANY)
        return GO_ON;
    for (;;) {
        const char *end =
            search->anchored ? search->start + 1 : pattern_scan_end(search, search->start);
        if (search->start >= search->subject_end)
            return FAIL;
        const char *found = find_first(pattern, search->start, end);
        search->fuel -= (int)((found - search->start) / 4);
        search->start = found;
        if (found < end)
            return GO_ON;
        if (search->anchored || end == search->subject_end)
            return FAIL;
        if (pattern_is_spent(search))
            return PAUSE;
    }
}

static void begin_attempt(struct pattern_search *search)
{
    search->at = search->start;
    search->item = search->pattern->text;
    search->depth = 0;
    search->level = 0;
    search->phase = PATTERN_MATCHING;
}

/* Matches a pattern that is one repeated set, where no choice can be taken back. False, for
 * pattern_attempt to do it, when the run is long or it is time to look up. */
static bool match_run(struct pattern_search *search)
{
    const struct charset set = search->pattern->first_set;
    const char *at = search->start + 1;
    const char *end = pattern_scan_end(search, at);
    while (at < end && charset_has(&set, (unsigned char)*at))
        at++;
    search->fuel -= (int)(at - search->start);
    if (search->fuel < 0 || (at == end && end != search->subject_end))
        return false;
    search->at = at;
    search->phase = PATTERN_SEARCHING;
    return true;
}

enum pattern_result pattern_search_run(struct pattern_search *search)
{
    for (;;) {
        if (search->phase == PATTERN_SEARCHING) {
            enum pattern_progress progress = skip(search);
            if (progress != GO_ON)
                return progress == FAIL ? PATTERN_FAILED : PATTERN_PAUSED;
            begin_attempt(search);
            if (search->pattern->is_run && match_run(search))
                return PATTERN_MATCHED;
        }
        enum pattern_result result = pattern_attempt(search);
        if (result == PATTERN_PAUSED)
            return result;
        search->phase = PATTERN_SEARCHING;
        if (result == PATTERN_MATCHED && search->at != search->refuse)
            return result;
        if (search->anchored || search->start >= search->subject_end)
            return PATTERN_FAILED;
        search->start++;
    }
}

/* ---- captures of a match ---- */

bool pattern_capture_bytes(struct pattern_search *search, int index, struct peri_slice *bytes)
{
    if (index >= search->level) {
        if (index != 0)
            luaL_error(search->L, "invalid capture index %%%d", index + 1);
        *bytes = peri_slice_of(search->start, (size_t)(search->at - search->start));
        return true;
    }
    const struct pattern_capture *capture = &search->captures[index];
    if (capture->size == PATTERN_UNFINISHED)
        luaL_error(search->L, "unfinished capture");
    if (capture->size == PATTERN_POSITION) {
        lua_pushinteger(search->L, (capture->start - search->subject) + 1);
        return false;
    }
    *bytes = peri_slice_of(capture->start, (size_t)capture->size);
    return true;
}

void pattern_push_capture(struct pattern_search *search, int index)
{
    struct peri_slice bytes;
    if (pattern_capture_bytes(search, index, &bytes))
        lua_pushlstring(search->L, bytes.data, bytes.size);
}

int pattern_push_captures(struct pattern_search *search, bool whole)
{
    int count = search->level == 0 && whole ? 1 : search->level;
    luaL_checkstack(search->L, count, "too many captures");
    for (int i = 0; i < count; i++)
        pattern_push_capture(search, i);
    return count;
}
