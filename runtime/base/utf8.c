#include "base/utf8.h"

#include <stdint.h>

/* The bounds of the second byte are those of Unicode's table 3-7. */
size_t peri_utf8_length(struct peri_slice text)
{
    static const struct {
        unsigned char first_max, second_min, second_max, length;
    } forms[] = {
        {0x7F, 0x00, 0xFF, 1}, {0xC1, 0xFF, 0x00, 0}, {0xDF, 0x80, 0xBF, 2}, {0xE0, 0xA0, 0xBF, 3},
        {0xEC, 0x80, 0xBF, 3}, {0xED, 0x80, 0x9F, 3}, {0xEF, 0x80, 0xBF, 3}, {0xF0, 0x90, 0xBF, 4},
        {0xF3, 0x80, 0xBF, 4}, {0xF4, 0x80, 0x8F, 4}, {0xFF, 0xFF, 0x00, 0},
    };
    const unsigned char *bytes = (const unsigned char *)text.data;
    size_t form = 0;
    while (bytes[0] > forms[form].first_max)
        form++;
    size_t length = forms[form].length;
    if (length <= 1)
        return length;
    if (length > text.size || bytes[1] < forms[form].second_min ||
        bytes[1] > forms[form].second_max)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xBF)
            return 0;
    return length;
}

/* Bytes of ASCII at the front, eight at a time: most text has little else. */
static size_t ascii_size(struct peri_slice bytes)
{
    uint64_t word;
    size_t size = 0;
    for (; bytes.size - size >= sizeof word; size += sizeof word) {
        memcpy(&word, bytes.data + size, sizeof word);
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    return size;
}

bool peri_utf8_is_valid(struct peri_slice bytes)
{
    while (bytes.size > 0) {
        size_t length = ascii_size(bytes);
        if (length == 0)
            length = peri_utf8_length(bytes);
        if (length == 0)
            return false;
        bytes = peri_slice_of(bytes.data + length, bytes.size - length);
    }
    return true;
}
