#include "mr_scan.h"

#include <lauxlib.h>

#include "mr_record.h"
#include "vm/recent.h"

void mr_push_slice(lua_State *L, struct peri_slice bytes)
{
    lua_pushlstring(L, bytes.size == 0 ? "" : bytes.data, bytes.size);
}

void mr_push_field(lua_State *L, const struct mr_csv_field *field)
{
    if (!field->has_quotes) {
        mr_push_slice(L, field->raw);
        return;
    }
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, field->raw.size);
    luaL_pushresultsize(&buffer, mr_csv_unquote(field->raw, out));
}

bool mr_cursor_next(struct mr_cursor *cursor, struct mr_csv_field *field)
{
    field->has_quotes = false;
    switch (cursor->kind) {
    case MR_CURSOR_WORDS:
        return mr_words_next(&cursor->of.words, &field->raw);
    case MR_CURSOR_PIECES:
        return mr_pieces_next(&cursor->of.pieces, &field->raw);
    case MR_CURSOR_CSV:
        return mr_csv_fields_next(&cursor->of.csv, field);
    case MR_CURSOR_LINES:
        return mr_lines_next(&cursor->of.lines, &field->raw);
    }
    return false;
}

/* An iterator's userdata: the first upvalue of its closure; the second keeps recent strings alive.
 * User values keep what it borrows. */
struct mr_scan {
    struct vm_recent *recent;
    const char *end; /* of the text */
    struct mr_cursor cursor;
    struct mr_record_box *box; /* NULL over a string */
    uint64_t generation;
    struct mr_slice_box *slice; /* what slices are given as, once made; in user value SCAN_SLICE */
    bool gives_slices;          /* rather than strings */
    bool is_busy;
    struct mr_feed *feed; /* of words: the records', or own */
    struct mr_feed own;
};

enum { SCAN_BORROWED = 1, SCAN_TEXT, SCAN_SLICE, SCAN_VALUES = SCAN_SLICE };

static int next_word(lua_State *L, struct mr_scan *scan)
{
    const struct vm_recent_word *word = mr_feed_next(scan->feed, scan->recent, scan->end);
    if (word == NULL) {
        scan->is_busy = false;
        return 0;
    }
    vm_recent_push_word(L, scan->recent, lua_upvalueindex(2), word);
    return 1;
}

static int scan_next(lua_State *L)
{
    struct mr_scan *scan = lua_touserdata(L, lua_upvalueindex(1));
    if (scan->box != NULL && scan->box->generation != scan->generation)
        return mr_stale_error(L, "iterator");
    if (scan->cursor.kind == MR_CURSOR_WORDS && !scan->gives_slices)
        return next_word(L, scan);
    struct mr_csv_field field;
    if (!mr_cursor_next(&scan->cursor, &field)) {
        scan->is_busy = false;
        return 0;
    }
    if (!scan->gives_slices) {
        if (field.has_quotes)
            mr_push_field(L, &field);
        else
            vm_recent_push(L, scan->recent, lua_upvalueindex(2), field.raw, scan->end);
        return 1;
    }
    scan->slice->bytes = field.raw;
    lua_getiuservalue(L, lua_upvalueindex(1), SCAN_SLICE);
    return 1;
}

static struct mr_scan *new_scan(lua_State *L)
{
    struct mr_scan *scan = lua_newuserdatauv(L, sizeof *scan, SCAN_VALUES);
    *scan = (struct mr_scan){0};
    lua_pushvalue(L, 1); /* what lends the bytes stays */
    lua_setiuservalue(L, -2, SCAN_TEXT);
    scan->recent = vm_recent_open(L);
    lua_pushcclosure(L, scan_next, 2);
    return scan;
}

/* Whether no loop over the record is under way with its own iterator. */
static bool is_free(const struct mr_record_box *box)
{
    return box->scan == NULL || !box->scan->is_busy || box->scan->generation != box->generation;
}

/* Pushes the closure of the record's own iterator, which is free, and returns its userdata: a loop
 * over each record allocates nothing. */
static struct mr_scan *push_own(lua_State *L, struct mr_record_box *box)
{
    if (box->scan == NULL) {
        struct mr_scan *scan = new_scan(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, MR_RECORD_ITERATOR);
        box->scan = scan;
        return scan;
    }
    (void)lua_getiuservalue(L, 1, MR_RECORD_ITERATOR);
    return box->scan;
}

/* Keeps the value at `index` as user value n of the iterator whose closure is at the top. */
static void keep(lua_State *L, int index, int n)
{
    lua_getupvalue(L, -1, 1);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, n);
    lua_pop(L, 1);
}

/* Makes the slice of the iterator whose closure is at the top. */
static void add_slice(lua_State *L, struct mr_scan *scan)
{
    struct mr_slice_box *slice = lua_newuserdatauv(L, sizeof *slice, 1);
    *slice = (struct mr_slice_box){.kind = &mr_slice_kind, .box = scan->box};
    lua_pushvalue(L, lua_upvalueindex(MR_UP_SLICE));
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_insert(L, -2);
    keep(L, lua_gettop(L) - 1, SCAN_SLICE);
    lua_remove(L, -2);
    scan->slice = slice;
}

static void begin(struct mr_scan *scan, const struct mr_text *text)
{
    scan->is_busy = true;
    scan->end = text->bytes.data + text->bytes.size;
    scan->box = text->box;
    scan->generation = text->generation;
    scan->feed = &scan->own;
}

bool mr_scan_goes_on(lua_State *L, struct mr_record_box *box)
{
    struct peri_slice bytes = box->record.data;
    if (!is_free(box))
        return false;
    struct mr_scan *scan = push_own(L, box);
    if (!mr_feed_goes_on(&box->pool->feed, scan->recent, box->record.input, bytes)) {
        lua_pop(L, 1);
        return false;
    }
    begin(scan, &(struct mr_text){bytes, box, box->generation, true});
    scan->feed = &box->pool->feed;
    scan->cursor.kind = MR_CURSOR_WORDS;
    scan->gives_slices = false;
    return true;
}

int mr_scan_return(lua_State *L, const struct mr_text *text, struct mr_cursor cursor,
                   bool gives_slices)
{
    int borrowed = lua_gettop(L);
    bool has_own = text->is_record && is_free(text->box);
    struct mr_scan *scan = has_own ? push_own(L, text->box) : new_scan(L);
    begin(scan, text);
    scan->cursor = cursor;
    scan->gives_slices = gives_slices;
    if (!lua_isnil(L, borrowed))
        keep(L, borrowed, SCAN_BORROWED);
    if (gives_slices && scan->slice == NULL)
        add_slice(L, scan);
    if (gives_slices)
        scan->slice->generation = scan->generation;
    else if (cursor.kind == MR_CURSOR_WORDS) /* memory is on its way while Lua prepares the loop */
        mr_feed_start(&scan->own, scan->recent, cursor.of.words);
    return 1;
}
