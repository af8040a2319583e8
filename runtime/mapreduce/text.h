/* text.h - data as text and as JSON. Pure. */
#ifndef PERI_MAPREDUCE_TEXT_H
#define PERI_MAPREDUCE_TEXT_H

#include "mapreduce/key.h"

enum { MR_NUMBER_TEXT_MAX = 32 };

/* Writes an integer or a float as Lua's tostring does to out, which holds MR_NUMBER_TEXT_MAX bytes;
 * returns its size. */
size_t mr_number_text(const struct mr_datum *number, char *out);

/* Appends datum as JSON. Bytes of strings that are not UTF-8 become U+FFFD; NaN and infinities
 * null; object keys that are no strings are written as strings. Errors: PERI_ENOMEM; PERI_EFORMAT
 * for a table that is not one MessagePack object or is nested deeper than 64. */
int mr_json_append(struct peri_buffer *out, const struct mr_datum *datum);

#endif
