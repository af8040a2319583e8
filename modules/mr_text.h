/* mr_text.h - what records, slices and strings have in common for the text methods.
 *
 * Shared by mr_record.c, which owns the userdata, and mr_text.c, whose methods read them. */
#ifndef PERI_MODULES_MR_TEXT_H
#define PERI_MODULES_MR_TEXT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "mapreduce/record.h"

struct mr_class;
struct mr_records;
struct mr_scan;

/* User value of a record that holds its iterator, once it had one. */
enum { MR_RECORD_ITERATOR = 1 };

/* A record userdata. */
struct mr_record_box {
    const void *kind; /* &mr_record_kind */
    struct mr_record record;
    uint64_t generation; /* changes when the record becomes stale: what remembers it is stale too */
    struct mr_scan *scan;    /* the iterator in the user value, or NULL */
    struct mr_records *pool; /* it takes turns in; looked at while it is live */
    bool is_live;
};

/* A slice userdata; its user value 1 keeps what its bytes are part of. */
struct mr_slice_box {
    const void *kind; /* &mr_slice_kind */
    struct peri_slice bytes;
    const struct mr_record_box *box; /* NULL when the bytes are part of a string */
    uint64_t generation;             /* of box when the slice was made */
};

/* What the userdata begin with; their addresses are also the registry keys of the metatables. */
extern const char mr_record_kind;
extern const char mr_slice_kind;

/* The record or slice at index, or NULL when the value is none. Known by size and kind, which no
 * user code can make: cheaper than comparing metatables for every call of a method. */
static inline struct mr_record_box *mr_record_box(lua_State *L, int index)
{
    struct mr_record_box *box = lua_touserdata(L, index);
    bool is_record = box != NULL && lua_rawlen(L, index) == sizeof *box;
    return is_record && box->kind == &mr_record_kind ? box : NULL;
}

static inline struct mr_slice_box *mr_slice_box(lua_State *L, int index)
{
    struct mr_slice_box *box = lua_touserdata(L, index);
    bool is_slice = box != NULL && lua_rawlen(L, index) == sizeof *box;
    return is_slice && box->kind == &mr_slice_kind ? box : NULL;
}

/* Bytes to work on. */
struct mr_text {
    struct peri_slice bytes;
    struct mr_record_box *box; /* the record that lends them, or NULL for a string's */
    uint64_t generation;
    bool is_record; /* the record itself rather than a slice of it */
};

/* The upvalues of every text method. */
enum { MR_UP_RECORD = 1, MR_UP_SLICE, MR_UP_CLASSES, MR_UP_COUNT = MR_UP_CLASSES };

/* Pushes the metatables of records and slices, making them at first. */
void mr_record_push_types(lua_State *L);

/* Adds the text methods to the table at the top, below the upvalues: (table up1 up2 up3 -> table).
 */
void mr_text_set_methods(lua_State *L);

/* Raises the error for what outlived its map call. */
int mr_stale_error(lua_State *L, const char *what);

/* Pushes the value at path (or the whole, when path is empty) of the JSON in text; nil when there
 * is none. Raises when text is no JSON or path is malformed; where names the record in the message.
 */
void mr_json_push(lua_State *L, struct peri_slice text, struct peri_slice path, const char *where);

/* ---- what the methods begin with ---- */

/* The record, slice or string that is the first argument. Raises when it is none, or stale. */
struct mr_text mr_text_check(lua_State *L);

/* The string or number that is the argument; lent while it stays on the stack. Raises for others.
 */
struct peri_slice mr_text_check_bytes(lua_State *L, int arg);

/* Pushes the userdata of a set, compiled once, and returns it. Raises when it is no set. */
const struct mr_class *mr_text_push_class(lua_State *L, struct peri_slice set);

/* What the record's input says about its fields, or NULL for slices and strings. */
static inline const struct mr_input *mr_text_input(const struct mr_text *text)
{
    return text->is_record ? text->box->record.input : NULL;
}

/* An explicit nil: no value at all would shorten the argument list of the call around it. */
static inline int mr_text_push_nil(lua_State *L)
{
    lua_pushnil(L);
    return 1;
}

#endif
