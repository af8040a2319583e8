/* utf8.h - tells text from other bytes.
 *
 * Valid is what Unicode calls well-formed: no overlong forms, no surrogates, nothing above
 * U+10FFFF. */
#ifndef PERI_BASE_UTF8_H
#define PERI_BASE_UTF8_H

#include <stdbool.h>

#include "base/slice.h"

/* Bytes of the character at the front of text, which is not empty; 0 when it is not valid. */
size_t peri_utf8_length(struct peri_slice text);

/* True when all of bytes is valid. */
bool peri_utf8_is_valid(struct peri_slice bytes);

#endif
