#include "vm/lstring.h"

#include <lauxlib.h>

#include <string.h>

#include "vm/bounds.h"
#include "vm/buffer.h"
#include "vm/pattern.h"
#include "vm/preempt.h"
#include "vm/recent.h"

#define SPECIALS "^$*+?.([%-"
#define CANDIDATES_MAX 1000          /* first bytes that a plain find tries one by one */
#define FILL_BYTES ((size_t)1 << 20) /* string.rep looks up after so many */
#define REP_SMALL ((size_t)1 << 16)  /* results up to here are filled at once */

size_t vm_string_start(lua_Integer position, size_t size)
{
    if (position > 0)
        return (size_t)position;
    if (position == 0 || position < -(lua_Integer)size)
        return 1;
    return size + (size_t)position + 1;
}

static struct peri_slice check_slice(lua_State *L, int arg)
{
    size_t size;
    const char *data = luaL_checklstring(L, arg, &size);
    return peri_slice_of(data, size);
}

/* ---- find and match ---- */

struct find_call {
    bool wants_position; /* string.find */
    struct pattern pattern;
    struct pattern_search search;
};

static int find_continue(lua_State *L, int status, lua_KContext context);

static struct find_call *find_to_heap(lua_State *L, const struct find_call *call)
{
    struct find_call *moved = lua_newuserdatauv(L, sizeof *moved, 0);
    memcpy(moved, call, sizeof *moved);
    moved->search.pattern = &moved->pattern;
    return moved;
}

static int find_result(lua_State *L, struct find_call *call, bool found)
{
    struct pattern_search *search = &call->search;
    if (!found) {
        luaL_pushfail(L);
        return 1;
    }
    if (!call->wants_position)
        return pattern_push_captures(search, true);
    lua_pushinteger(L, search->start - search->subject + 1);
    lua_pushinteger(L, search->at - search->subject);
    return 2 + pattern_push_captures(search, false);
}

static int find_run(lua_State *L, struct find_call *call, bool on_heap)
{
    for (;;) {
        enum pattern_result result = pattern_search_run(&call->search);
        if (result != PATTERN_PAUSED)
            return find_result(L, call, result == PATTERN_MATCHED);
        if (!on_heap)
            call = find_to_heap(L, call);
        on_heap = true;
        int count = vm_attend(L, (lua_KContext)call, find_continue);
        if (count != VM_GO_ON)
            return count;
    }
}

static int find_continue(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : find_run(L, (struct find_call *)context, true);
}

static bool has_specials(struct peri_slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] != '\0' && strchr(SPECIALS, text.data[i]) != NULL)
            return true;
    return false;
}

/* Rare first bytes are found fastest by memchr; where they are common, memmem stays linear. */
static const char *find_bytes(const char *from, const char *end, struct peri_slice text)
{
    for (int tries = 0; tries < CANDIDATES_MAX; tries++) {
        if (text.size == 0)
            return from;
        if ((size_t)(end - from) < text.size)
            return NULL;
        from = memchr(from, text.data[0], (size_t)(end - from) - text.size + 1);
        if (from == NULL || memcmp(from, text.data, text.size) == 0)
            return from;
        from++;
    }
    return memmem(from, (size_t)(end - from), text.data, text.size);
}

static int find_plain(lua_State *L, struct peri_slice subject, size_t start, struct peri_slice text)
{
    const char *end = subject.data + subject.size;
    const char *found = find_bytes(subject.data + start, end, text);
    if (found == NULL) {
        luaL_pushfail(L);
        return 1;
    }
    lua_pushinteger(L, found - subject.data + 1);
    lua_pushinteger(L, found - subject.data + (ptrdiff_t)text.size);
    return 2;
}

static int find_or_match(lua_State *L, bool wants_position)
{
    struct peri_slice subject = check_slice(L, 1);
    struct peri_slice text = check_slice(L, 2);
    size_t start = vm_string_start(luaL_optinteger(L, 3, 1), subject.size) - 1;
    if (start > subject.size) {
        luaL_pushfail(L);
        return 1;
    }
    if (wants_position && (lua_toboolean(L, 4) || !has_specials(text)))
        return find_plain(L, subject, start, text);
    const struct vm_bounds *bounds = lua_touserdata(L, lua_upvalueindex(1));
    struct find_call call;
    bool anchored = text.size > 0 && text.data[0] == '^';
    call.wants_position = wants_position;
    pattern_init(&call.pattern, peri_slice_of(text.data + anchored, text.size - anchored));
    pattern_search_init(&call.search, L, &call.pattern, subject, bounds->match_steps_max);
    call.search.start += start;
    call.search.anchored = anchored;
    return find_run(L, &call, false);
}

static int l_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int l_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch ---- */

struct gmatch {
    struct pattern pattern;
    struct peri_slice subject;
    const char *next; /* behind the subject's end: nothing is left */
    const char *last; /* end of the latest match, or NULL */
    struct vm_recent *recent;
};

enum { GMATCH_SELF = 3, GMATCH_BOUNDS, GMATCH_KEEPER, GMATCH_UPVALUES = GMATCH_KEEPER };

struct gmatch_call {
    struct gmatch *gmatch;
    struct pattern_search search;
};

static int gmatch_continue(lua_State *L, int status, lua_KContext context);

static int push_match(lua_State *L, struct gmatch_call *call)
{
    struct peri_slice whole;
    if (call->search.level > 0)
        return pattern_push_captures(&call->search, true);
    (void)pattern_capture_bytes(&call->search, 0, &whole);
    vm_recent_push(L, call->gmatch->recent, lua_upvalueindex(GMATCH_KEEPER), whole,
                   call->search.subject_end);
    return 1;
}

static int gmatch_run(lua_State *L, struct gmatch_call *call, bool on_heap)
{
    for (;;) {
        enum pattern_result result = pattern_search_run(&call->search);
        if (result == PATTERN_FAILED)
            return 0;
        if (result == PATTERN_MATCHED) {
            call->gmatch->next = call->gmatch->last = call->search.at;
            return push_match(L, call);
        }
        if (!on_heap) {
            struct gmatch_call *moved = lua_newuserdatauv(L, sizeof *moved, 0);
            memcpy(moved, call, sizeof *moved);
            call = moved;
        }
        on_heap = true;
        int count = vm_attend(L, (lua_KContext)call, gmatch_continue);
        if (count != VM_GO_ON)
            return count;
    }
}

static int gmatch_continue(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : gmatch_run(L, (struct gmatch_call *)context, true);
}

static int gmatch_next(lua_State *L)
{
    struct gmatch *gmatch = lua_touserdata(L, lua_upvalueindex(GMATCH_SELF));
    const struct vm_bounds *bounds = lua_touserdata(L, lua_upvalueindex(GMATCH_BOUNDS));
    if (gmatch->next == NULL)
        return 0;
    struct gmatch_call call;
    call.gmatch = gmatch;
    pattern_search_init(&call.search, L, &gmatch->pattern, gmatch->subject,
                        bounds->match_steps_max);
    call.search.start = gmatch->next;
    call.search.refuse = gmatch->last;
    return gmatch_run(L, &call, false);
}

static int l_gmatch(lua_State *L)
{
    struct peri_slice subject = check_slice(L, 1);
    struct peri_slice text = check_slice(L, 2);
    size_t start = vm_string_start(luaL_optinteger(L, 3, 1), subject.size) - 1;
    lua_settop(L, 2);
    struct gmatch *gmatch = lua_newuserdatauv(L, sizeof *gmatch, 0);
    pattern_init(&gmatch->pattern, text);
    gmatch->subject = subject;
    gmatch->next = start > subject.size ? NULL : subject.data + start;
    gmatch->last = NULL;
    lua_pushvalue(L, lua_upvalueindex(1));
    gmatch->recent = vm_recent_open(L);
    lua_pushcclosure(L, gmatch_next, GMATCH_UPVALUES);
    return 1;
}

/* ---- rep ---- */

struct rep_call {
    size_t done;
    size_t total;
    char *bytes;
    size_t unit_size; /* the text and its separator */
};

/* Copies from what is there already, so that the amount doubles. */
static void rep_fill(struct rep_call *call, size_t limit)
{
    size_t end = call->total - call->done > limit ? call->done + limit : call->total;
    while (call->done < end) {
        size_t known = call->done - call->done % call->unit_size;
        size_t size = end - call->done < known ? end - call->done : known;
        memcpy(call->bytes + call->done, call->bytes + call->done % call->unit_size, size);
        call->done += size;
    }
}

static int rep_continue(lua_State *L, int status, lua_KContext context);

static int rep_run(lua_State *L, struct rep_call *call)
{
    while (call->done < call->total) {
        rep_fill(call, FILL_BYTES);
        if (!vm_attention(L))
            continue;
        int count = vm_attend(L, (lua_KContext)call, rep_continue);
        if (count != VM_GO_ON)
            return count;
    }
    lua_pushlstring(L, call->bytes, call->total);
    return 1;
}

static int rep_continue(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : rep_run(L, (struct rep_call *)context);
}

static void rep_start(struct rep_call *call, struct peri_slice text, struct peri_slice separator)
{
    memcpy(call->bytes, text.data, text.size);
    call->done = text.size;
    if (call->total > text.size) {
        memcpy(call->bytes + text.size, separator.data, separator.size);
        call->done += separator.size;
    }
    call->unit_size = text.size + separator.size;
}

static int l_rep(lua_State *L)
{
    struct peri_slice text = check_slice(L, 1);
    lua_Integer count = luaL_checkinteger(L, 2);
    size_t separator_size;
    const char *separator = luaL_optlstring(L, 3, "", &separator_size);
    size_t unit = text.size + separator_size;
    if (count <= 0 || unit == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    const struct vm_bounds *bounds = lua_touserdata(L, lua_upvalueindex(1));
    size_t limit = bounds->string_bytes_max;
    if (unit > limit / (size_t)count + 1 || (size_t)count * unit - separator_size > limit)
        return luaL_error(L, "resulting string too large (the limit is %I bytes)",
                          (LUAI_UACINT)limit);
    size_t total = (size_t)count * unit - separator_size;
    struct peri_slice between = peri_slice_of(separator, separator_size);
    if (total <= REP_SMALL) {
        luaL_Buffer buffer;
        struct rep_call call = {.total = total, .bytes = luaL_buffinitsize(L, &buffer, total)};
        rep_start(&call, text, between);
        rep_fill(&call, total);
        luaL_pushresultsize(&buffer, total);
        return 1;
    }
    struct rep_call *call = lua_newuserdatauv(L, sizeof *call + total, 0);
    *call = (struct rep_call){.total = total, .bytes = (char *)(call + 1)};
    rep_start(call, text, between);
    return rep_run(L, call);
}

void vm_string_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", l_find}, {"match", l_match}, {"gmatch", l_gmatch}, {"rep", l_rep}, {NULL, NULL}};
    lua_getglobal(L, "string");
    vm_bounds_push(L);
    luaL_setfuncs(L, functions, 1);
    vm_bounds_push(L);
    vm_push_helper(L, "=string", "return function(t, k) return t[k] end");
    lua_pushnil(L);
    lua_pushcclosure(L, vm_gsub, 3);
    lua_setfield(L, -2, "gsub");
    lua_pop(L, 1);
}
