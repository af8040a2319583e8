/* value.h - values as compact typed bytes.
 *
 *   00 nil   01 false   02 true   03 zigzag varint: integer   04 8 bytes little-endian: float
 *   05 byte*: string    06 byte*: one MessagePack map or array    40..FF the integer 0..191
 *
 * Every value has one encoding, so equal bytes mean equal values. 1 and 1.0 differ. Pure. */
#ifndef PERI_MAPREDUCE_VALUE_H
#define PERI_MAPREDUCE_VALUE_H

#include "mapreduce/key.h"

enum { MR_VALUE_SCALAR_MAX = 11 }; /* bytes of the largest value without a string */

/* Writes an integer's encoding to out, which holds MR_VALUE_SCALAR_MAX bytes; returns its size. */
size_t mr_value_write_integer(int64_t value, char *out);

/* Appends the encoding of value. Errors: PERI_ENOMEM. */
int mr_value_encode(const struct mr_datum *value, struct peri_buffer *out);

/* Decodes a value; strings and tables are lent by value. Errors: PERI_EFORMAT. */
int mr_value_decode(struct peri_slice value, struct mr_datum *out);

/* True, and *out set, when value is an integer. */
bool mr_value_read_integer(struct peri_slice value, int64_t *out);

/* Orders two encoded values by mr_datum_compare, then by bytes, so that 0 means equal bytes. */
int mr_value_compare(struct peri_slice a, struct peri_slice b);

/* Appends value as MessagePack (tables as they are). Errors: PERI_ENOMEM, PERI_EFORMAT. */
int mr_value_to_msgpack(struct peri_slice value, struct peri_buffer *out);

#endif
