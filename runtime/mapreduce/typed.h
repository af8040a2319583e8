/* typed.h - keys and values as lines of text that keep their types, for pipes between engines.
 *
 *   line     key TAB value LF  |  key TAB key2 TAB value LF
 *   integer  -12                 float  1.5  2.0  1e+300   (17 digits; always a point or exponent)
 *   boolean  true false          string as it is, TAB LF CR \ written as \t \n \r \\
 *   \z nil   \i \j \k  inf, -inf, nan   \m hex  a table's MessagePack
 *   \s       in front of a string that would read as something else
 *
 * Words stay words, so that sort, Hadoop and people can read them. Any text can be read: what is
 * none of the above is a string. A line without TAB is a key whose value is nil; behind more than
 * two TABs (not ours) everything after the first is one string. Pure. */
#ifndef PERI_MAPREDUCE_TYPED_H
#define PERI_MAPREDUCE_TYPED_H

#include "base/buffer.h"
#include "mapreduce/key.h"

/* Appends datum. Errors: PERI_ENOMEM. */
int mr_typed_append(struct peri_buffer *out, const struct mr_datum *datum);

/* Reads text as a datum; its string is lent by text, or by scratch (appended to, never moved as
 * long as it has room for text.size more bytes). Errors: PERI_ENOMEM. */
int mr_typed_read(struct peri_slice text, struct mr_datum *out, struct peri_buffer *scratch);

/* Reads a line without its LF and encodes what it holds into key and value (cleared first). Errors:
 * PERI_ENOMEM; PERI_EINVAL for a key that is nil, not a number or a table. */
int mr_typed_line(struct peri_slice line, struct peri_buffer *key, struct peri_buffer *value,
                  struct peri_buffer *scratch, struct peri_error *err);

#endif
