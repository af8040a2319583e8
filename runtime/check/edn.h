/* edn.h - reads what jepsen and porcupine write: EDN, Clojure's notation for data.
 *
 * nil, booleans, numbers, strings, keywords, symbols, (lists), [vectors], #{sets} and {maps}. A
 * keyword is the string ":name", a symbol the string "name"; lists, vectors and sets are lists. */
#ifndef PERI_CHECK_EDN_H
#define PERI_CHECK_EDN_H

#include "base/error.h"
#include "base/slice.h"
#include "check/value.h"

/* Reads the value at the front of *text and moves *text behind it. Errors: PERI_ENOMEM,
 * PERI_ETOOBIG; PERI_EFORMAT, err saying what is wrong. */
int check_edn_read(struct check_values *values, struct peri_slice *text, check_value *out,
                   struct peri_error *err);

/* Moves *text behind blanks, commas and a comment. */
void check_edn_skip(struct peri_slice *text);

#endif
