/* key.h - keys as bytes whose order is the order of the keys.
 *
 *   key    = part+                  all but the last part are self-delimiting
 *   part   = NIL | FALSE | TRUE
 *          | NUMBER image8 rest2?   big-endian, see key.c; ints and floats share one order
 *          | STRING byte*           last part only: the bytes as they are, to the end of the key
 *          | PREFIX escaped 00 01   a string that another part follows; its 00 is written 00 FF
 *
 * So memcmp (then length) orders keys: nil < false < true < numbers < strings, strings by unsigned
 * bytes, numbers by exact value (2^53 + 1 comes after 2^53 even when one is an integer and the
 * other a float). Equal numbers are one key: 1.0 is encoded, and comes back, as the integer 1, as
 * in a Lua table. Keys of one job should have one number of parts: a single string sorts before all
 * composite keys that start with a string. Bytes are the same on every host. Pure. */
#ifndef PERI_MAPREDUCE_KEY_H
#define PERI_MAPREDUCE_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

enum mr_key_tag {
    MR_KEY_NIL = 1,
    MR_KEY_FALSE = 2,
    MR_KEY_TRUE = 3,
    MR_KEY_NUMBER = 4,
    MR_KEY_STRING = 5,
    MR_KEY_PREFIX = 6,
};

enum { MR_KEY_PARTS_MAX = 16 };

enum mr_type {
    MR_NIL,
    MR_FALSE,
    MR_TRUE,
    MR_INTEGER,
    MR_FLOAT,
    MR_STRING,
    MR_TABLE, /* values only: one MessagePack map or array, in string */
};

/* A decoded key part or value. */
struct mr_datum {
    enum mr_type type;
    int64_t integer;          /* MR_INTEGER */
    double number;            /* MR_FLOAT */
    struct peri_slice string; /* MR_STRING, MR_TABLE: borrowed */
};

/* Appends the encoding of a key of count parts (1..MR_KEY_PARTS_MAX). On error out is unchanged.
 * Errors: PERI_ENOMEM; PERI_EINVAL for NaN or a table; PERI_ETOOBIG for too many parts. */
int mr_key_encode(const struct mr_datum *parts, size_t count, struct peri_buffer *out,
                  struct peri_error *err);

/* Decodes a key, or the first parts of one, into parts[0..MR_KEY_PARTS_MAX) and *count. Strings are
 * lent by key, or by scratch (cleared first) where they were escaped. Errors: PERI_ENOMEM;
 * PERI_EFORMAT. */
int mr_key_decode(struct peri_slice key, struct mr_datum *parts, size_t *count,
                  struct peri_buffer *scratch, struct peri_error *err);

/* The leading bytes of key that hold its first count parts; the whole key when it has no more.
 * The key must be one that mr_key_encode made. */
struct peri_slice mr_key_first_parts(struct peri_slice key, size_t count);

/* Compares two data in the order of keys; tables come last, by bytes; NaN follows the other
 * numbers. 1 and 1.0 are equal. */
int mr_datum_compare(const struct mr_datum *a, const struct mr_datum *b);

#endif
