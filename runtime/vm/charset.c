#include "vm/charset.h"

#include <stddef.h>

/* Two rows a letter: the class, and its complement (the capital letter). */
static const struct charset classes[][2] = {
    /* %a */ {
        {{0, 0x7fffffe07fffffeu, 0, 0}},
        {{0xffffffffffffffffu, 0xf8000001f8000001u, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %c */
    {{{0xffffffffu, 0x8000000000000000u, 0, 0}},
     {{0xffffffff00000000u, 0x7fffffffffffffffu, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %d */
    {{{0x3ff000000000000u, 0, 0, 0}},
     {{0xfc00ffffffffffffu, 0xffffffffffffffffu, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %g */
    {{{0xfffffffe00000000u, 0x7fffffffffffffffu, 0, 0}},
     {{0x1ffffffffu, 0x8000000000000000u, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %l */
    {{{0, 0x7fffffe00000000u, 0, 0}},
     {{0xffffffffffffffffu, 0xf8000001ffffffffu, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %p */
    {{{0xfc00fffe00000000u, 0x78000001f8000001u, 0, 0}},
     {{0x3ff0001ffffffffu, 0x87fffffe07fffffeu, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %s */
    {{{0x100003e00u, 0, 0, 0}},
     {{0xfffffffeffffc1ffu, 0xffffffffffffffffu, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %u */
    {{{0, 0x7fffffeu, 0, 0}},
     {{0xffffffffffffffffu, 0xfffffffff8000001u, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %w */
    {{{0x3ff000000000000u, 0x7fffffe07fffffeu, 0, 0}},
     {{0xfc00ffffffffffffu, 0xf8000001f8000001u, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %x */
    {{{0x3ff000000000000u, 0x7e0000007eu, 0, 0}},
     {{0xfc00ffffffffffffu, 0xffffff81ffffff81u, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
    /* %z */
    {{{0x1u, 0, 0, 0}},
     {{0xfffffffffffffffeu, 0xffffffffffffffffu, 0xffffffffffffffffu, 0xffffffffffffffffu}}},
};

/* Row of each letter from a to z; -1 where there is no such class. */
static const int16_t row_of_letter[26] = {0,  -1, 1, 2,  -1, -1, 3,  -1, -1, -1, -1, 4,  -1,
                                          -1, -1, 5, -1, -1, 6,  -1, 7,  -1, 8,  9,  -1, 10};

const struct charset *charset_class(unsigned char letter)
{
    unsigned char lower = letter | 0x20;
    if (lower < 'a' || lower > 'z')
        return NULL;
    int row = row_of_letter[lower - 'a'];
    return row < 0 ? NULL : &classes[row][letter != lower];
}

static void add_set(struct charset *set, const struct charset *other)
{
    for (size_t i = 0; i < 4; i++)
        set->bits[i] |= other->bits[i];
}

void charset_parse(struct charset *set, const char *open, const char *close)
{
    *set = (struct charset){{0}};
    const char *p = open + 1;
    bool negated = *p == '^';
    if (negated)
        p++;
    for (; p < close; p++) {
        if (*p == '%') {
            p++;
            const struct charset *class = charset_class((unsigned char)*p);
            if (class != NULL)
                add_set(set, class);
            else
                charset_add(set, (unsigned char)*p);
        } else if (p[1] == '-' && p + 2 < close) {
            unsigned last = (unsigned char)p[2];
            for (unsigned c = (unsigned char)*p; c <= last; c++)
                charset_add(set, (unsigned char)c);
            p += 2;
        } else {
            charset_add(set, (unsigned char)*p);
        }
    }
    for (size_t i = 0; negated && i < 4; i++)
        set->bits[i] = ~set->bits[i];
}
