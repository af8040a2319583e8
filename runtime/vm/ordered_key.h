/* ordered_key.h - keys of a machine's tables, and their order: numbers by value, then strings by
 * their bytes. */
#ifndef PERI_VM_ORDERED_KEY_H
#define PERI_VM_ORDERED_KEY_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct vm_key {
    bool is_string;
    bool is_float;
    uint32_t slot;   /* of a string: where the walk keeps it */
    uint64_t prefix; /* of a string: its first bytes, which mostly decide */
    union {
        lua_Integer integer;
        lua_Number number;
        struct peri_slice string; /* lent while the string is referred to */
    };
};

/* Negative, 0 or positive, as for qsort; 0 only for a key and itself. */
int vm_key_compare(const struct vm_key *a, const struct vm_key *b);

/* Puts keys, no two of which are equal, in order. */
void vm_keys_sort(struct vm_key *keys, size_t count);

/* The number or string at index. */
struct vm_key vm_key_read(lua_State *L, int index);

/* Pushes a key that is a number. */
void vm_key_push_number(lua_State *L, const struct vm_key *key);

#endif
