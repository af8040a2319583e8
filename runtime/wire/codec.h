/* codec.h - MessagePack to and from Lua values.
 *
 * Lua            MessagePack                       back in Lua
 * nil, null      nil                               nil (an absent item)
 * integer        the shortest int, 64 bits exact   integer; above 2^63 - 1 is refused
 * float          float 32 when exact, else 64      float
 * string         str when valid UTF-8, else bin    string (str and bin alike)
 * table 1..n     array; an empty table too         table
 * other table    map, sorted by key (walk.h)       table; keys nil, NaN, array, map refused
 *
 * Extension types are refused. Decoders believe no length that the bytes left cannot hold, so a
 * short hostile message allocates little. */
#ifndef PERI_WIRE_CODEC_H
#define PERI_WIRE_CODEC_H

#include <lua.h>
#include <mpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "wire/walk.h"

/* Appends the encoding of the value at index to out. name is what messages call the value ("t" when
 * NULL). Never raises. Errors: wire_walk's; PERI_ETOOBIG when the encoding is longer than size_max
 * bytes; PERI_ENOMEM. out then ends where it ended before. */
int wire_encode(lua_State *L, int index, const char *name, size_t size_max, struct peri_buffer *out,
                struct peri_error *err);

/* The same, where tables stand for others (wire_sink.standing). */
int wire_encode_standing(lua_State *L, int index, const char *name, size_t size_max,
                         const void *standing, struct peri_buffer *out, struct peri_error *err);

/* What writes MessagePack for a walk of one's own. */
struct wire_encoder {
    struct peri_buffer *out;
    size_t size_max; /* of out->size */
    bool is_full;    /* there was no room for something */
};

/* Fills *sink, whose functions write to out, at most size_max bytes more; both are lent while it is
 * of use. They return PERI_ETOOBIG and PERI_ENOMEM. */
void wire_encoder_init(struct wire_encoder *encoder, struct peri_buffer *out, size_t size_max,
                       struct wire_sink *sink);

/* Appends an array of the count values from index first on, which messages call "<what> 1" and so
 * on; limit tells people what size_max is and who sets it. Errors as of wire_encode. */
int wire_encode_list(lua_State *L, int first, int count, const char *what, size_t size_max,
                     const char *limit, struct peri_buffer *out, struct peri_error *err);

/* Pushes the items of the one array that bytes hold and sets *count. Raises on lack of memory, and
 * only then. On error some items may have been pushed. Errors: PERI_EFORMAT, PERI_ETOOBIG. */
int wire_push_list(lua_State *L, struct peri_slice bytes, int *count, struct peri_error *err);

/* Pushes the first value encoded in bytes and sets *used to its length. Never raises. On error
 * nothing is pushed. Errors: PERI_EFORMAT, also for an unfinished value; PERI_ETOOBIG beyond
 * WIRE_DEPTH_MAX; PERI_ENOMEM. */
int wire_decode(lua_State *L, struct peri_slice bytes, size_t *used, struct peri_error *err);

/* Finds where encoded values end while bytes trickle in, without decoding them. */
struct wire_scanner {
    mpack_tokbuf_t tokens;
    size_t depth;
    uint64_t payload;                  /* bytes of a string that are still to come */
    uint64_t left[WIRE_DEPTH_MAX + 1]; /* items still to come, of each open array or map */
};

/* Starts in front of a value. */
void wire_scanner_init(struct wire_scanner *scanner);

/* Reads on; *used is how many bytes of bytes belong to the value. Returns 1 when the value ends
 * there (the scanner is then in front of the next one) and 0 when all bytes belong to it and more
 * are needed. Errors: PERI_EFORMAT, PERI_ETOOBIG; the scanner is then of no use. */
int wire_scanner_feed(struct wire_scanner *scanner, struct peri_slice bytes, size_t *used,
                      struct peri_error *err);

#endif
