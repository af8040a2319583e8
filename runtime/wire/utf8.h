/* utf8.h - tells text from other bytes. */
#ifndef PERI_WIRE_UTF8_H
#define PERI_WIRE_UTF8_H

#include <stdbool.h>

#include "base/slice.h"

/* True when bytes are valid UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool wire_is_utf8(struct peri_slice bytes);

#endif
