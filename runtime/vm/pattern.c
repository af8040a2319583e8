#include "vm/pattern.h"

#include <lauxlib.h>

#include <string.h>

#include "base/assert.h"
#include "vm/preempt.h"

#define ESCAPE '%'
#define FUEL 512       /* steps between two looks at the clock */
#define SCAN_MAX 65536 /* bytes that one item may scan in between */
#define STEPS_PER_BYTE 16
#define SHOWN_MAX 60 /* bytes of a pattern that an error shows */

enum frame_kind { FRAME_MAX, FRAME_MIN, FRAME_OPTIONAL, FRAME_OPEN, FRAME_CLOSE };

enum literal { LITERAL_UNKNOWN = -2, LITERAL_NONE = -1 };

/* What one pattern item accepts. */
struct item {
    enum { ITEM_ANY, ITEM_BYTE, ITEM_SET } kind;
    unsigned char byte;
    const struct charset *set;
    const char *end; /* behind the item, where its repetition may stand */
};

enum progress { GO_ON, FAIL, PAUSE };

void pattern_init(struct pattern *pattern, struct peri_slice text)
{
    pattern->text = text.data;
    pattern->end = text.data + text.size;
    pattern->first = PATTERN_UNKNOWN;
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
    search->fuel = FUEL;
    search->level = 0;
    search->phase = PATTERN_SEARCHING;
    search->anchored = false;
}

/* ---- items ---- */

static const char *set_end(lua_State *L, const char *open, const char *pattern_end)
{
    const char *p = open + 1;
    if (*p == '^')
        p++;
    do {
        if (p == pattern_end)
            luaL_error(L, "malformed pattern (missing ']')");
        if (*p++ == ESCAPE && p < pattern_end)
            p++;
    } while (*p != ']');
    return p + 1;
}

static void read_set(lua_State *L, struct pattern *pattern, const char *open, struct item *item)
{
    item->kind = ITEM_SET;
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

static void read_escape(lua_State *L, struct pattern *pattern, const char *p, struct item *item)
{
    if (p + 1 == pattern->end)
        luaL_error(L, "malformed pattern (ends with '%%')");
    item->end = p + 2;
    item->set = charset_class((unsigned char)p[1]);
    item->kind = item->set == NULL ? ITEM_BYTE : ITEM_SET;
    item->byte = (unsigned char)p[1];
}

static inline void read_item(lua_State *L, struct pattern *pattern, const char *p,
                             struct item *item)
{
    if (*p == '[') {
        read_set(L, pattern, p, item);
    } else if (*p == ESCAPE) {
        read_escape(L, pattern, p, item);
    } else {
        item->kind = *p == '.' ? ITEM_ANY : ITEM_BYTE;
        item->set = NULL;
        item->byte = (unsigned char)*p;
        item->end = p + 1;
    }
}

static inline bool item_takes(const struct item *item, const char *at, const char *end)
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

/* The first position from at to end that item does not take. */
static const char *item_span(const struct item *item, const char *at, const char *end)
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

/* ---- steps ---- */

static void raise_exhausted(struct pattern_search *search)
{
    const struct pattern *pattern = search->pattern;
    size_t size = (size_t)(pattern->end - pattern->text);
    lua_pushlstring(search->L, pattern->text, size < SHOWN_MAX ? size : SHOWN_MAX);
    luaL_error(search->L, "pattern '%s%s' took more than %I steps (it tries too many combinations)",
               lua_tostring(search->L, -1), size > SHOWN_MAX ? "..." : "",
               (LUAI_UACINT)search->steps_max);
}

/* Accounts the steps taken since the last look; true when the runtime wants attention. */
static bool refuel(struct pattern_search *search)
{
    search->steps += (uint64_t)(FUEL - search->fuel);
    search->fuel = FUEL;
    if (search->steps > search->steps_max)
        raise_exhausted(search);
    return vm_attention(search->L);
}

static inline bool is_spent(struct pattern_search *search)
{
    return search->fuel < 0 && refuel(search);
}

/* The end of the part of the subject that may be scanned from at before the next look. */
static inline const char *scan_end(const struct pattern_search *search, const char *at)
{
    return search->subject_end - at > SCAN_MAX ? at + SCAN_MAX : search->subject_end;
}

static struct pattern_frame *push_frame(struct pattern_search *search, enum frame_kind kind)
{
    /* Stock's first call of match() counts too, hence one less. */
    if (search->depth >= PATTERN_DEPTH_MAX - 1)
        luaL_error(search->L, "pattern too complex");
    struct pattern_frame *frame = &search->frames[search->depth++];
    frame->kind = (uint8_t)kind;
    frame->literal = LITERAL_UNKNOWN;
    return frame;
}

/* ---- captures and the items that are not single bytes ---- */

static enum progress open_capture(struct pattern_search *search)
{
    if (search->level >= PATTERN_CAPTURES_MAX)
        luaL_error(search->L, "too many captures");
    bool is_position = search->item[1] == ')';
    search->captures[search->level].start = search->at;
    search->captures[search->level].size = is_position ? PATTERN_POSITION : PATTERN_UNFINISHED;
    search->level++;
    search->item += is_position ? 2 : 1;
    push_frame(search, FRAME_OPEN);
    return GO_ON;
}

static enum progress close_capture(struct pattern_search *search)
{
    int index = search->level - 1;
    while (index >= 0 && search->captures[index].size != PATTERN_UNFINISHED)
        index--;
    if (index < 0)
        luaL_error(search->L, "invalid pattern capture");
    search->captures[index].size = search->at - search->captures[index].start;
    search->item++;
    push_frame(search, FRAME_CLOSE)->capture = (uint8_t)index;
    return GO_ON;
}

static enum progress match_back_reference(struct pattern_search *search)
{
    int index = search->item[1] - '1';
    if (index < 0 || index >= search->level || search->captures[index].size == PATTERN_UNFINISHED)
        luaL_error(search->L, "invalid capture index %%%d", index + 1);
    /* A position's size is huge as size_t, so that it never matches: as stock does. */
    size_t size = (size_t)search->captures[index].size;
    if ((size_t)(search->subject_end - search->at) < size ||
        memcmp(search->captures[index].start, search->at, size) != 0)
        return FAIL;
    search->fuel -= size > SCAN_MAX ? SCAN_MAX / 16 : (int)(size / 16);
    search->at += size;
    search->item += 2;
    return GO_ON;
}

static enum progress match_frontier(struct pattern_search *search)
{
    const char *open = search->item + 2;
    if (*open != '[')
        luaL_error(search->L, "missing '[' after '%%f' in pattern");
    struct item item;
    read_set(search->L, search->pattern, open, &item);
    unsigned char before = search->at == search->subject ? 0 : (unsigned char)search->at[-1];
    if (charset_has(item.set, before) || !charset_has(item.set, (unsigned char)*search->at))
        return FAIL;
    search->item = item.end;
    return GO_ON;
}

/* Goes on with "%bxy" from search->scan, search->balance opening bytes deep. */
static enum progress scan_balance(struct pattern_search *search)
{
    char open = search->item[2];
    char close = search->item[3];
    do {
        const char *end = scan_end(search, search->scan);
        search->fuel -= (int)(end - search->scan);
        for (; search->scan < end; search->scan++) {
            if (*search->scan == close) {
                if (--search->balance == 0) {
                    search->at = search->scan + 1;
                    search->item += 4;
                    search->phase = PATTERN_MATCHING;
                    return GO_ON;
                }
            } else if (*search->scan == open) {
                search->balance++;
            }
        }
        if (search->scan == search->subject_end) {
            search->phase = PATTERN_MATCHING;
            return FAIL;
        }
    } while (!is_spent(search));
    return PAUSE;
}

static enum progress match_balance(struct pattern_search *search)
{
    if (search->item + 2 >= search->pattern->end - 1)
        luaL_error(search->L, "malformed pattern (missing arguments to '%%b')");
    if (*search->at != search->item[2] || search->at == search->subject_end)
        return FAIL;
    search->scan = search->at + 1;
    search->balance = 1;
    search->phase = PATTERN_BALANCING;
    return scan_balance(search);
}

/* ---- repetitions ---- */

/* Goes on with the longest run of the item of the top frame, which ends so far at search->at. */
static enum progress grow(struct pattern_search *search)
{
    struct pattern_frame *frame = &search->frames[search->depth - 1];
    struct item item;
    read_item(search->L, search->pattern, search->item, &item);
    for (;;) {
        const char *end = scan_end(search, search->at);
        const char *stop = item_span(&item, search->at, end);
        search->fuel -= item.kind == ITEM_ANY ? 1 : (int)(stop - search->at);
        search->at = stop;
        if (stop < end || end == search->subject_end)
            break;
        if (is_spent(search))
            return PAUSE;
    }
    search->phase = PATTERN_MATCHING;
    search->item = item.end + 1;
    frame->at = search->at;
    frame->item = search->item;
    return GO_ON;
}

static enum progress match_most(struct pattern_search *search, const char *low)
{
    push_frame(search, FRAME_MAX)->low = low;
    search->at = low;
    search->phase = PATTERN_GROWING;
    return grow(search);
}

static enum progress match_least(struct pattern_search *search, const struct item *item)
{
    struct pattern_frame *frame = push_frame(search, FRAME_MIN);
    frame->at = search->at;
    frame->item = search->item;
    search->item = item->end + 1;
    return GO_ON;
}

static enum progress match_single(struct pattern_search *search)
{
    struct item item;
    read_item(search->L, search->pattern, search->item, &item);
    /* Behind the last item lies '\0', which is no repetition; an item "\0" is never read there. */
    char repetition = *item.end;
    if (!item_takes(&item, search->at, search->subject_end)) {
        if (repetition != '*' && repetition != '?' && repetition != '-')
            return FAIL;
        search->item = item.end + 1;
        return GO_ON;
    }
    switch (repetition) {
    case '?': {
        struct pattern_frame *frame = push_frame(search, FRAME_OPTIONAL);
        frame->at = search->at;
        frame->item = item.end + 1;
        search->at++;
        search->item = item.end + 1;
        return GO_ON;
    }
    case '+':
        return match_most(search, search->at + 1);
    case '*':
        return match_most(search, search->at);
    case '-':
        return match_least(search, &item);
    default:
        search->at++;
        search->item = item.end;
        return GO_ON;
    }
}

static enum progress match_escape(struct pattern_search *search)
{
    switch (search->item[1]) {
    case 'b':
        return match_balance(search);
    case 'f':
        return match_frontier(search);
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return match_back_reference(search);
    default:
        return match_single(search);
    }
}

static inline enum progress match_item(struct pattern_search *search)
{
    switch (*search->item) {
    case '(':
        return open_capture(search);
    case ')':
        return close_capture(search);
    case ESCAPE:
        return match_escape(search);
    case '$':
        if (search->item + 1 != search->pattern->end)
            return match_single(search);
        if (search->at != search->subject_end)
            return FAIL;
        search->item++;
        return GO_ON;
    default:
        return match_single(search);
    }
}

/* The byte that every match of the items from p on starts with. Looks through ")": where it raises,
 * it did so when the first choice was tried. */
static int16_t literal_after(const struct pattern *pattern, const char *p)
{
    while (p < pattern->end && *p == ')')
        p++;
    if (p == pattern->end || strchr("$.([%", *p) != NULL)
        return LITERAL_NONE;
    if (p + 1 < pattern->end && strchr("*?-", p[1]) != NULL)
        return LITERAL_NONE;
    return (unsigned char)*p;
}

/* Gives back at least one byte of a longest run. */
static bool shorten(struct pattern_search *search, struct pattern_frame *frame)
{
    if (frame->literal == LITERAL_UNKNOWN)
        frame->literal = literal_after(search->pattern, frame->item);
    const char *at = frame->at;
    const char *low = at - frame->low > SCAN_MAX ? at - SCAN_MAX : frame->low;
    if (at == low)
        return false;
    at--;
    if (frame->literal >= 0)
        while (at > low && (unsigned char)*at != frame->literal)
            at--;
    search->fuel -= (int)((frame->at - at) / 4);
    search->at = frame->at = at;
    search->item = frame->item;
    return true;
}

/* Adds at least one byte to a shortest run. */
static bool lengthen(struct pattern_search *search, struct pattern_frame *frame)
{
    struct item item;
    read_item(search->L, search->pattern, frame->item, &item);
    if (frame->literal == LITERAL_UNKNOWN)
        frame->literal = literal_after(search->pattern, item.end + 1);
    const char *at = frame->at;
    if (!item_takes(&item, at, search->subject_end))
        return false;
    at++;
    if (frame->literal >= 0) {
        const char *end = scan_end(search, at);
        while (at < end && (unsigned char)*at != frame->literal && item_takes(&item, at, end))
            at++;
    }
    search->fuel -= (int)((at - frame->at) / 4);
    search->at = frame->at = at;
    search->item = item.end + 1;
    return true;
}

/* Takes the next choice of the top frame; false when it has none left. */
static bool retry(struct pattern_search *search, struct pattern_frame *frame)
{
    switch ((enum frame_kind)frame->kind) {
    case FRAME_MAX:
        return shorten(search, frame);
    case FRAME_MIN:
        return lengthen(search, frame);
    case FRAME_OPTIONAL:
        search->at = frame->at;
        search->item = frame->item;
        search->depth--; /* the choice without the item is the last one */
        return true;
    case FRAME_OPEN:
        search->level--;
        return false;
    case FRAME_CLOSE:
        search->captures[frame->capture].size = PATTERN_UNFINISHED;
        return false;
    }
    return false;
}

static bool backtrack(struct pattern_search *search)
{
    while (search->depth > 0) {
        if (retry(search, &search->frames[search->depth - 1]))
            return true;
        search->depth--;
    }
    return false;
}

/* Matches at search->start, from wherever the attempt was left. */
static enum pattern_result attempt(struct pattern_search *search)
{
    const char *pattern_end = search->pattern->end;
    for (;;) {
        enum progress progress;
        if (search->phase == PATTERN_GROWING)
            progress = grow(search);
        else if (search->phase == PATTERN_BALANCING)
            progress = scan_balance(search);
        else if (search->item == pattern_end)
            return PATTERN_MATCHED;
        else if (--search->fuel < 0 && refuel(search))
            return PATTERN_PAUSED;
        else
            progress = match_item(search);
        if (progress == PAUSE)
            return PATTERN_PAUSED;
        if (progress == FAIL && !backtrack(search))
            return PATTERN_FAILED;
    }
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
    if (*p == ESCAPE && p + 1 < pattern->end && strchr("bf0123456789", p[1]) != NULL)
        return;
    struct item item;
    read_item(search->L, pattern, p, &item);
    if (item.kind == ITEM_ANY || (*item.end != '\0' && strchr("*?-", *item.end) != NULL))
        return;
    pattern->first = item.kind == ITEM_BYTE ? PATTERN_BYTE : PATTERN_SET;
    pattern->first_byte = item.byte;
    if (item.kind == ITEM_SET)
        pattern->first_set = *item.set;
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
static enum progress skip(struct pattern_search *search)
{
    const struct pattern *pattern = search->pattern;
    if (pattern->first == PATTERN_UNKNOWN)
        learn_first(search);
    if (pattern->first == PATTERN_ANY)
        return GO_ON;
    for (;;) {
        const char *end = search->anchored ? search->start + 1 : scan_end(search, search->start);
        if (search->start >= search->subject_end)
            return FAIL;
        const char *found = find_first(pattern, search->start, end);
        search->fuel -= (int)((found - search->start) / 4);
        search->start = found;
        if (found < end)
            return GO_ON;
        if (search->anchored || end == search->subject_end)
            return FAIL;
        if (is_spent(search))
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

enum pattern_result pattern_search_run(struct pattern_search *search)
{
    for (;;) {
        if (search->phase == PATTERN_SEARCHING) {
            enum progress progress = skip(search);
            if (progress != GO_ON)
                return progress == FAIL ? PATTERN_FAILED : PATTERN_PAUSED;
            begin_attempt(search);
        }
        enum pattern_result result = attempt(search);
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
