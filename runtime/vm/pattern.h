/* pattern.h - Lua 5.4's pattern matching as a machine that can stop and go on.
 *
 * The same patterns, results and errors as Lua 5.4.4's string library, including which errors come
 * only when matching reaches the bad part. Three things differ inside: what stock keeps in C
 * recursion is an explicit stack of at most PATTERN_DEPTH_MAX frames (the same depth at which stock
 * says "pattern too complex"); work is counted in steps and ends with an error above a budget; and
 * the search returns PATTERN_PAUSED when the runtime wants attention, to be continued later. */
#ifndef PERI_VM_PATTERN_H
#define PERI_VM_PATTERN_H

#include <lua.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "vm/charset.h"

#define PATTERN_CAPTURES_MAX 32 /* LUA_MAXCAPTURES */
#define PATTERN_DEPTH_MAX 200   /* MAXCCALLS of lstrlib.c */
#define PATTERN_SETS_MAX 4

/* A pattern, and what was learnt about it: the bytes that a match can start with, and its latest
 * "[sets]". */
struct pattern {
    const char *text; /* lent; a Lua string, so text[size] is '\0' */
    const char *end;
    enum { PATTERN_UNKNOWN, PATTERN_ANY, PATTERN_BYTE, PATTERN_SET } first;
    unsigned char first_byte;
    bool is_run;      /* the whole pattern is first_set repeated, as "%a+" */
    uint8_t next_set; /* the slot that the next new set replaces */
    struct charset first_set;
    struct {
        const char *open; /* NULL: free */
        const char *end;  /* behind the ']' */
        struct charset set;
    } sets[PATTERN_SETS_MAX];
};

#define PATTERN_UNFINISHED (-1)
#define PATTERN_POSITION (-2)

struct pattern_capture {
    const char *start;
    ptrdiff_t size; /* bytes, or PATTERN_UNFINISHED or PATTERN_POSITION */
};

struct pattern_frame {
    const char *at;   /* where in the subject the other choice begins */
    const char *low;  /* FRAME_MAX: the shortest that is left to try */
    const char *item; /* what matches next there */
    uint8_t kind;     /* enum frame_kind in pattern_match.c */
    uint8_t capture;  /* FRAME_CLOSE: which one opens again */
    int16_t literal;  /* the byte that must follow, or one of enum literal in pattern_match.c */
};

/* One search over one subject. May be moved with memcpy while paused, with its pattern. */
struct pattern_search {
    lua_State *L; /* for errors and attention; set it again when another coroutine goes on */
    struct pattern *pattern;
    const char *subject;
    const char *subject_end; /* *subject_end is '\0' */
    const char *start;       /* where the current attempt begins; after a match, its first byte */
    const char *at;          /* where the current item is matched; after a match, its end */
    const char *item;
    const char *scan;   /* how far a long item got */
    const char *refuse; /* a match that ends here does not count (gmatch, gsub); may be NULL */
    uint64_t steps;     /* taken so far */
    uint64_t steps_max;
    int fuel;  /* steps until the next look at budget and attention */
    int depth; /* frames in use */
    int level; /* captures in use */
    int balance;
    enum { PATTERN_SEARCHING, PATTERN_MATCHING, PATTERN_GROWING, PATTERN_BALANCING } phase;
    bool anchored; /* only one attempt */
    struct pattern_capture captures[PATTERN_CAPTURES_MAX];
    struct pattern_frame frames[PATTERN_DEPTH_MAX];
};

enum pattern_result { PATTERN_FAILED, PATTERN_MATCHED, PATTERN_PAUSED };

/* Prepares a pattern whose text (without the anchor) the caller keeps alive. */
void pattern_init(struct pattern *pattern, struct peri_slice text);

/* Prepares a search from the first byte of the subject; set start, refuse and anchored afterwards
 * where they differ. Linear work is always allowed: the budget is steps_max plus 16 steps a byte.
 */
void pattern_search_init(struct pattern_search *search, lua_State *L, struct pattern *pattern,
                         struct peri_slice subject, uint64_t steps_max);

/* Looks for the first match at or after search->start. PATTERN_PAUSED: the runtime wants attention;
 * call again to go on. Raises Lua errors: malformed patterns, and the budget. */
enum pattern_result pattern_search_run(struct pattern_search *search);

/* Pushes the captures of the match, or the whole match when there are none and whole is set.
 * Returns how many. Raises on unfinished captures. */
int pattern_push_captures(struct pattern_search *search, bool whole);

/* Pushes capture index (0 is the first), like pattern_push_captures would. */
void pattern_push_capture(struct pattern_search *search, int index);

/* Lends the bytes of capture index. Pushes a number and returns false for a position capture. */
bool pattern_capture_bytes(struct pattern_search *search, int index, struct peri_slice *bytes);

#endif
