#include <lauxlib.h>

#include <ctype.h>
#include <string.h>

#include "vm/bounds.h"
#include "vm/buffer.h"
#include "vm/lstring.h"
#include "vm/pattern.h"
#include "vm/preempt.h"

/* The stack of a call: 1 subject, 2 pattern, 3 replacement, 4 how many, then: */
enum { REPLACEMENT = 3, SLOT_BUFFER = 5, SLOT_STATE, SLOT_SEARCH, SLOT_COUNT = SLOT_SEARCH };
#define MATCH_COST 4 /* steps that a replacement counts for */
#define SPARE lua_upvalueindex(3)

struct gsub {
    struct pattern pattern;
    struct peri_slice subject;
    const char *next;    /* the bytes before it are done */
    const char *refuse;  /* end of the latest match, or NULL */
    const char *matched; /* start of the match whose replacement is being asked for */
    lua_Integer count;
    lua_Integer count_max;
    uint64_t steps;
    uint64_t steps_max;
    int fuel; /* carried from search to search: many short ones must pause as well */
    bool anchored;
    bool changed;
    struct vm_buffer out;
};

/* A search that had to pause. */
struct gsub_paused {
    struct gsub *gsub;
    struct pattern_search search;
};

static int continue_search(lua_State *L, int status, lua_KContext context);
static int continue_call(lua_State *L, int status, lua_KContext context);

static void begin_search(lua_State *L, struct gsub *gsub, struct pattern_search *search)
{
    pattern_search_init(search, L, &gsub->pattern, gsub->subject, gsub->steps_max);
    search->start = gsub->next;
    search->refuse = gsub->refuse;
    search->anchored = gsub->anchored;
    search->steps = gsub->steps;
    search->fuel = gsub->fuel;
}

static struct gsub *to_heap(lua_State *L, struct gsub *gsub)
{
    if (lua_touserdata(L, SLOT_STATE) == gsub)
        return gsub;
    struct gsub *moved = lua_newuserdatauv(L, sizeof *moved, 0);
    memcpy(moved, gsub, sizeof *moved);
    lua_replace(L, SLOT_STATE);
    return moved;
}

static struct gsub_paused *pause_search(lua_State *L, struct gsub *gsub,
                                        struct pattern_search *search)
{
    struct gsub_paused *paused = lua_touserdata(L, SLOT_SEARCH);
    if (paused == NULL) {
        paused = lua_newuserdatauv(L, sizeof *paused, 0);
        lua_replace(L, SLOT_SEARCH);
    }
    if (search != &paused->search)
        memcpy(&paused->search, search, sizeof *search);
    paused->gsub = to_heap(L, gsub);
    paused->search.pattern = &paused->gsub->pattern;
    return paused;
}

/* Appends the replacement string, with its captures put in. */
static void add_string(lua_State *L, struct gsub *gsub, struct pattern_search *search)
{
    size_t size;
    const char *text = lua_tolstring(L, REPLACEMENT, &size);
    const char *end = text + size;
    const char *escape;
    while ((escape = memchr(text, '%', (size_t)(end - text))) != NULL) {
        vm_buffer_add(L, &gsub->out, text, (size_t)(escape - text));
        char c = escape[1];
        struct peri_slice bytes = peri_slice_of(escape, 1);
        if (c == '0') {
            bytes = peri_slice_of(search->start, (size_t)(search->at - search->start));
        } else if (isdigit((unsigned char)c)) {
            if (!pattern_capture_bytes(search, c - '1', &bytes))
                bytes.data = lua_tolstring(L, -1, &bytes.size);
        } else if (c != '%') {
            luaL_error(L, "invalid use of '%c' in replacement string", '%');
        }
        vm_buffer_add(L, &gsub->out, bytes.data, bytes.size);
        lua_settop(L, SLOT_COUNT);
        text = escape + 2;
    }
    vm_buffer_add(L, &gsub->out, text, (size_t)(end - text));
    gsub->changed = true;
}

/* Appends the value on top, which a function or table gave for the match. */
static void add_value(lua_State *L, struct gsub *gsub)
{
    size_t size;
    if (!lua_toboolean(L, -1)) {
        vm_buffer_add(L, &gsub->out, gsub->matched, (size_t)(gsub->next - gsub->matched));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    } else {
        const char *bytes = lua_tolstring(L, -1, &size);
        vm_buffer_add(L, &gsub->out, bytes, size);
        gsub->changed = true;
    }
    lua_settop(L, SLOT_COUNT);
}

/* Asks the function or table; it may yield, and then continue_call goes on. */
static void ask_replacement(lua_State *L, struct gsub *gsub, struct pattern_search *search)
{
    if (lua_type(L, REPLACEMENT) == LUA_TFUNCTION) {
        lua_pushvalue(L, REPLACEMENT);
        int count = pattern_push_captures(search, true);
        lua_callk(L, count, 1, (lua_KContext)gsub, continue_call);
        return;
    }
    if (!lua_getmetatable(L, REPLACEMENT)) {
        pattern_push_capture(search, 0);
        lua_rawget(L, REPLACEMENT);
        return;
    }
    lua_settop(L, SLOT_COUNT);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, REPLACEMENT);
    pattern_push_capture(search, 0);
    lua_callk(L, 2, 1, (lua_KContext)gsub, continue_call);
}

static void replace_match(lua_State *L, struct gsub *gsub, struct pattern_search *search)
{
    vm_buffer_add(L, &gsub->out, gsub->next, (size_t)(search->start - gsub->next));
    gsub->count++;
    gsub->matched = search->start;
    gsub->next = gsub->refuse = search->at;
    gsub->steps = search->steps;
    gsub->fuel = search->fuel - MATCH_COST;
    int type = lua_type(L, REPLACEMENT);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        add_string(L, gsub, search);
    } else {
        ask_replacement(L, gsub, search);
        add_value(L, gsub);
    }
}

static int finish(lua_State *L, struct gsub *gsub)
{
    if (lua_touserdata(L, SLOT_STATE) == gsub) {
        lua_pushvalue(L, SLOT_STATE);
        lua_replace(L, SPARE);
    }
    if (!gsub->changed) {
        lua_pushvalue(L, 1);
    } else {
        const char *end = gsub->subject.data + gsub->subject.size;
        vm_buffer_add(L, &gsub->out, gsub->next, (size_t)(end - gsub->next));
        vm_buffer_push(L, &gsub->out);
    }
    lua_pushinteger(L, gsub->count);
    return 2;
}

/* Goes on with search when it is paused, else with the next one. */
static int run(lua_State *L, struct gsub *gsub, struct pattern_search *paused)
{
    struct pattern_search fresh;
    struct pattern_search *search = paused;
    while (search != NULL || (gsub->count < gsub->count_max && !(gsub->anchored && gsub->refuse))) {
        if (search == NULL) {
            search = &fresh;
            begin_search(L, gsub, search);
        }
        enum pattern_result result = pattern_search_run(search);
        if (result == PATTERN_FAILED)
            break;
        if (result == PATTERN_MATCHED) {
            replace_match(L, gsub, search);
            search = NULL;
            continue;
        }
        struct gsub_paused *state = pause_search(L, gsub, search);
        gsub = state->gsub;
        search = &state->search;
        int count = vm_attend(L, (lua_KContext)state, continue_search);
        if (count != VM_GO_ON)
            return count;
    }
    return finish(L, gsub);
}

static int continue_search(lua_State *L, int status, lua_KContext context)
{
    struct gsub_paused *paused = (struct gsub_paused *)context;
    return status == LUA_OK ? VM_GO_ON : run(L, paused->gsub, &paused->search);
}

static int continue_call(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct gsub *gsub = (struct gsub *)context;
    add_value(L, gsub);
    return run(L, gsub, NULL);
}

static void init(lua_State *L, struct gsub *gsub)
{
    const struct vm_bounds *bounds = lua_touserdata(L, lua_upvalueindex(1));
    size_t size;
    const char *text = luaL_checklstring(L, 2, &size);
    gsub->subject.data = luaL_checklstring(L, 1, &gsub->subject.size);
    gsub->anchored = size > 0 && text[0] == '^';
    pattern_init(&gsub->pattern, peri_slice_of(text + gsub->anchored, size - gsub->anchored));
    gsub->next = gsub->subject.data;
    gsub->refuse = NULL;
    gsub->count = 0;
    gsub->count_max = luaL_optinteger(L, 4, (lua_Integer)gsub->subject.size + 1);
    gsub->steps = 0;
    gsub->fuel = 0;
    gsub->steps_max = bounds->match_steps_max;
    gsub->changed = false;
    vm_buffer_init(&gsub->out, SLOT_BUFFER);
}

/* A state on the heap, because a callback may yield: the spare one when nobody uses it. */
static struct gsub *new_state(lua_State *L)
{
    struct gsub *gsub = lua_touserdata(L, SPARE);
    if (gsub == NULL) {
        gsub = lua_newuserdatauv(L, sizeof *gsub, 0);
    } else {
        lua_pushvalue(L, SPARE);
        lua_pushnil(L);
        lua_replace(L, SPARE);
    }
    lua_replace(L, SLOT_STATE);
    return gsub;
}

int vm_gsub(lua_State *L)
{
    struct gsub gsub;
    luaL_checklstring(L, 1, NULL);
    luaL_checklstring(L, 2, NULL);
    int type = lua_type(L, REPLACEMENT);
    luaL_optinteger(L, 4, 0);
    bool is_string = type == LUA_TNUMBER || type == LUA_TSTRING;
    luaL_argexpected(L, is_string || type == LUA_TFUNCTION || type == LUA_TTABLE, 3,
                     "string/function/table");
    lua_settop(L, 4);
    lua_settop(L, SLOT_COUNT); /* the slots start as nil */
    if (is_string) {
        init(L, &gsub);
        return run(L, &gsub, NULL);
    }
    struct gsub *heap = new_state(L);
    init(L, heap);
    return run(L, heap, NULL);
}
