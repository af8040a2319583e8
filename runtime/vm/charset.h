/* charset.h - sets of bytes, as Lua's patterns name them.
 *
 * The classes are those of the C locale, whatever os.setlocale says: what a pattern matches must
 * not depend on something that is global to the process. Pure. */
#ifndef PERI_VM_CHARSET_H
#define PERI_VM_CHARSET_H

#include <stdbool.h>
#include <stdint.h>

struct charset {
    uint64_t bits[4]; /* byte c is in the set when bit c % 64 of word c / 64 is 1 */
};

static inline bool charset_has(const struct charset *set, unsigned char c)
{
    return ((set->bits[c >> 6] >> (c & 63)) & 1) != 0;
}

static inline void charset_add(struct charset *set, unsigned char c)
{
    set->bits[c >> 6] |= (uint64_t)1 << (c & 63);
}

/* The set that %letter stands for, lent for ever; NULL when letter names no class. */
const struct charset *charset_class(unsigned char letter);

/* The set that "[...]" stands for; open is at its '[', close at its ']' (Lua 5.4 manual 6.4.1). */
void charset_parse(struct charset *set, const char *open, const char *close);

#endif
