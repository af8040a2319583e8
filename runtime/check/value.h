/* value.h - the values that histories speak of: keys, arguments, results, names of clients.
 *
 * A value is a number: equal values have equal numbers. Lists and maps hold such numbers. An
 * integer and a float of the same worth are one value (1 and 1.0 come from different writers of
 * JSON); a string never equals a number. */
#ifndef PERI_CHECK_VALUE_H
#define PERI_CHECK_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

typedef uint32_t check_value;

/* No value at all: what was not given, and null. Every set of values has it. */
#define CHECK_NIL 0u

enum check_kind {
    CHECK_KIND_NIL,
    CHECK_KIND_BOOLEAN,
    CHECK_KIND_INTEGER,
    CHECK_KIND_REAL,
    CHECK_KIND_STRING,
    CHECK_KIND_LIST,
    CHECK_KIND_MAP, /* key, value, key, value ..., ordered by the numbers of the keys */
};

struct check_values; /* opaque: defined in value.c */

/* Creates a set that holds only CHECK_NIL; the caller ends it with check_values_close(). Errors:
 * PERI_ENOMEM. */
int check_values_create(struct check_values **out);

/* Each gives the number of a value, adding it when it is new; bytes and items are copied. Errors:
 * PERI_ENOMEM; PERI_ETOOBIG past 2^32 - 2 values or 16 GiB. */
int check_value_boolean(struct check_values *values, bool truth, check_value *out);
int check_value_integer(struct check_values *values, int64_t integer, check_value *out);
int check_value_real(struct check_values *values, double real, check_value *out);
int check_value_string(struct check_values *values, struct peri_slice bytes, check_value *out);
int check_value_list(struct check_values *values, enum check_kind kind, const check_value *items,
                     size_t count, check_value *out);

/* What a value is. */
enum check_kind check_value_kind(const struct check_values *values, check_value value);

/* Each reads a value of the kind in its name; what is lent holds until a value is added. */
bool check_value_to_boolean(const struct check_values *values, check_value value);
int64_t check_value_to_integer(const struct check_values *values, check_value value);
double check_value_to_real(const struct check_values *values, check_value value);
struct peri_slice check_value_to_string(const struct check_values *values, check_value value);
const check_value *check_value_items(const struct check_values *values, check_value value,
                                     size_t *count);

/* True when value is the string text. */
bool check_value_is(const struct check_values *values, check_value value, const char *text);

/* Bytes that the values take. */
size_t check_values_memory(const struct check_values *values);

void check_values_close(struct check_values *values);

#endif
