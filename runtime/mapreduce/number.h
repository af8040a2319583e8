/* number.h - decimal numerals in bytes, as Lua reads them. Pure. */
#ifndef PERI_MAPREDUCE_NUMBER_H
#define PERI_MAPREDUCE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct mr_number {
    bool is_integer;
    int64_t integer;
    double number; /* unset when is_integer */
};

/* Reads text, blanks around it allowed, as Lua's tonumber reads decimal numerals: an integer that
 * does not fit becomes a float; floats are rounded exactly. Hexadecimal, "inf" and "nan" are none.
 */
bool mr_number_parse(struct peri_slice text, struct mr_number *out);

#endif
