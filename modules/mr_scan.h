/* mr_scan.h - walks over words, pieces, CSV fields and lines, and the Lua iterators over them. */
#ifndef PERI_MODULES_MR_SCAN_H
#define PERI_MODULES_MR_SCAN_H

#include <lua.h>
#include <stdbool.h>

#include "mapreduce/csv.h"
#include "mapreduce/token.h"
#include "mr_text.h"

enum mr_cursor_kind { MR_CURSOR_WORDS, MR_CURSOR_PIECES, MR_CURSOR_CSV, MR_CURSOR_LINES };

struct mr_cursor {
    enum mr_cursor_kind kind;
    union {
        struct mr_words words;
        struct mr_pieces pieces;
        struct mr_csv_fields csv;
        struct mr_lines lines;
    } of;
};

/* Moves to the next field; false at the end. */
bool mr_cursor_next(struct mr_cursor *cursor, struct mr_csv_field *field);

/* Push bytes, and a field's value without its quotes, as strings. */
void mr_push_slice(lua_State *L, struct peri_slice bytes);
void mr_push_field(lua_State *L, const struct mr_csv_field *field);

/* Pushes the iterator over cursor, which goes through the text at stack index 1, and returns 1.
 * What else the cursor borrows is at the top, or nil there. With gives_slices it gives one slice
 * userdata again and again, else strings. */
int mr_scan_return(lua_State *L, const struct mr_text *text, struct mr_cursor cursor,
                   bool gives_slices);

/* Pushes the iterator over the words of letters of the live record at stack index 1, found ahead
 * with those of the lines around it, which is what nearly all calls of rec:words() get; false, and
 * pushes nothing, when they have to be looked for in the record by itself. */
bool mr_scan_goes_on(lua_State *L, struct mr_record_box *box);

#endif
