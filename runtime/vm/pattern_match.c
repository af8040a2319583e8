#include <lauxlib.h>

#include <string.h>

#include "vm/pattern_item.h"

enum frame_kind { FRAME_MAX, FRAME_MIN, FRAME_OPTIONAL, FRAME_OPEN, FRAME_CLOSE };

enum literal { LITERAL_UNKNOWN = -2, LITERAL_NONE = -1 };

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

static enum pattern_progress open_capture(struct pattern_search *search)
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

static enum pattern_progress close_capture(struct pattern_search *search)
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

static enum pattern_progress match_back_reference(struct pattern_search *search)
{
    int index = search->item[1] - '1';
    if (index < 0 || index >= search->level || search->captures[index].size == PATTERN_UNFINISHED)
        luaL_error(search->L, "invalid capture index %%%d", index + 1);
    /* A position's size is huge as size_t, so that it never matches: as stock does. */
    size_t size = (size_t)search->captures[index].size;
    if ((size_t)(search->subject_end - search->at) < size ||
        memcmp(search->captures[index].start, search->at, size) != 0)
        return FAIL;
    search->fuel -= size > PATTERN_SCAN_MAX ? PATTERN_SCAN_MAX / 16 : (int)(size / 16);
    search->at += size;
    search->item += 2;
    return GO_ON;
}

static enum pattern_progress match_frontier(struct pattern_search *search)
{
    const char *open = search->item + 2;
    if (*open != '[')
        luaL_error(search->L, "missing '[' after '%%f' in pattern");
    struct pattern_item item;
    pattern_read_set(search->L, search->pattern, open, &item);
    unsigned char before = search->at == search->subject ? 0 : (unsigned char)search->at[-1];
    if (charset_has(item.set, before) || !charset_has(item.set, (unsigned char)*search->at))
        return FAIL;
    search->item = item.end;
    return GO_ON;
}

/* Goes on with "%bxy" from search->scan, search->balance opening bytes deep. */
static enum pattern_progress scan_balance(struct pattern_search *search)
{
    char open = search->item[2];
    char close = search->item[3];
    do {
        const char *end = pattern_scan_end(search, search->scan);
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
    } while (!pattern_is_spent(search));
    return PAUSE;
}

static enum pattern_progress match_balance(struct pattern_search *search)
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
static enum pattern_progress grow(struct pattern_search *search)
{
    struct pattern_frame *frame = &search->frames[search->depth - 1];
    struct pattern_item item;
    pattern_read_item(search->L, search->pattern, search->item, &item);
    for (;;) {
        const char *end = pattern_scan_end(search, search->at);
        const char *stop = pattern_item_span(&item, search->at, end);
        search->fuel -= item.kind == ITEM_ANY ? 1 : (int)(stop - search->at);
        search->at = stop;
        if (stop < end || end == search->subject_end)
            break;
        if (pattern_is_spent(search))
            return PAUSE;
    }
    search->phase = PATTERN_MATCHING;
    search->item = item.end + 1;
    frame->at = search->at;
    frame->item = search->item;
    return GO_ON;
}

static enum pattern_progress match_most(struct pattern_search *search, const char *low)
{
    push_frame(search, FRAME_MAX)->low = low;
    search->at = low;
    search->phase = PATTERN_GROWING;
    return grow(search);
}

static enum pattern_progress match_least(struct pattern_search *search,
                                         const struct pattern_item *item)
{
    struct pattern_frame *frame = push_frame(search, FRAME_MIN);
    frame->at = search->at;
    frame->item = search->item;
    search->item = item->end + 1;
    return GO_ON;
}

static enum pattern_progress match_single(struct pattern_search *search)
{
    struct pattern_item item;
    pattern_read_item(search->L, search->pattern, search->item, &item);
    /* Behind the last item lies '\0', which is no repetition; an item "\0" is never read there. */
    char repetition = *item.end;
    if (!pattern_item_takes(&item, search->at, search->subject_end)) {
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

static enum pattern_progress match_escape(struct pattern_search *search)
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

static inline enum pattern_progress match_item(struct pattern_search *search)
{
    switch (*search->item) {
    case '(':
        return open_capture(search);
    case ')':
        return close_capture(search);
    case PATTERN_ESCAPE:
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
    const char *low = at - frame->low > PATTERN_SCAN_MAX ? at - PATTERN_SCAN_MAX : frame->low;
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
    struct pattern_item item;
    pattern_read_item(search->L, search->pattern, frame->item, &item);
    if (frame->literal == LITERAL_UNKNOWN)
        frame->literal = literal_after(search->pattern, item.end + 1);
    const char *at = frame->at;
    if (!pattern_item_takes(&item, at, search->subject_end))
        return false;
    at++;
    if (frame->literal >= 0) {
        const char *end = pattern_scan_end(search, at);
        while (at < end && (unsigned char)*at != frame->literal &&
               pattern_item_takes(&item, at, end))
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

enum pattern_result pattern_attempt(struct pattern_search *search)
{
    const char *pattern_end = search->pattern->end;
    for (;;) {
        enum pattern_progress progress;
        if (search->phase == PATTERN_GROWING)
            progress = grow(search);
        else if (search->phase == PATTERN_BALANCING)
            progress = scan_balance(search);
        else if (search->item == pattern_end)
            return PATTERN_MATCHED;
        else if (--search->fuel < 0 && pattern_refuel(search))
            return PATTERN_PAUSED;
        else
            progress = match_item(search);
        if (progress == PAUSE)
            return PATTERN_PAUSED;
        if (progress == FAIL && !backtrack(search))
            return PATTERN_FAILED;
    }
}
