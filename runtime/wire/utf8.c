#include "wire/utf8.h"

#include <stdint.h>

/* Length of the sequence at bytes, of which size > 0 are left; 0 when it is not valid. The bounds
 * of the second byte are those of Unicode's table 3-7. */
static size_t sequence_length(const unsigned char *bytes, size_t size)
{
    static const struct {
        unsigned char first_max, second_min, second_max, length;
    } forms[] = {
        {0x7F, 0x00, 0xFF, 1}, {0xC1, 0xFF, 0x00, 0}, {0xDF, 0x80, 0xBF, 2}, {0xE0, 0xA0, 0xBF, 3},
        {0xEC, 0x80, 0xBF, 3}, {0xED, 0x80, 0x9F, 3}, {0xEF, 0x80, 0xBF, 3}, {0xF0, 0x90, 0xBF, 4},
        {0xF3, 0x80, 0xBF, 4}, {0xF4, 0x80, 0x8F, 4}, {0xFF, 0xFF, 0x00, 0},
    };
    size_t i = 0;
    while (bytes[0] > forms[i].first_max)
        i++;
    size_t length = forms[i].length;
    if (length <= 1)
        return length;
    if (length > size || bytes[1] < forms[i].second_min || bytes[1] > forms[i].second_max)
        return 0;
    for (size_t k = 2; k < length; k++)
        if (bytes[k] < 0x80 || bytes[k] > 0xBF)
            return 0;
    return length;
}

bool wire_is_utf8(struct peri_slice bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.data;
    size_t left = bytes.size;
    while (left > 0) {
        size_t length = sequence_length(at, left);
        if (length == 0)
            return false;
        at += length;
        left -= length;
    }
    return true;
}
