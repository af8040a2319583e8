#include "mapreduce/record.h"

#include <string.h>

static const char *const names[] = {
#define ROW(name, text) [MR_FORMAT_##name] = (text),
    MR_FORMATS(ROW)
#undef ROW
};

enum { NAME_COUNT = sizeof names / sizeof names[0], FIXED_SIZE_MAX = 1 << 30 };

const char *mr_format_name(enum mr_format format)
{
    return names[format];
}

/* Reads the decimal size behind "fixed:"; 0 when it is none or out of range. */
static size_t parse_size(const char *text)
{
    size_t size = 0;
    for (; *text >= '0' && *text <= '9' && size <= FIXED_SIZE_MAX; text++)
        size = size * 10 + (size_t)(*text - '0');
    return *text == '\0' && size <= FIXED_SIZE_MAX ? size : 0;
}

int mr_format_parse(const char *text, struct mr_format_spec *out, struct peri_error *err)
{
    static const char fixed[] = "fixed:";
    if (strncmp(text, fixed, sizeof fixed - 1) == 0) {
        size_t size = parse_size(text + sizeof fixed - 1);
        if (size == 0)
            return peri_fail_plain(err, PERI_EINVAL,
                                   "input format '%.60s' needs a size from 1 to %d bytes", text,
                                   FIXED_SIZE_MAX);
        *out = (struct mr_format_spec){MR_FORMAT_FIXED, size};
        return 0;
    }
    for (int i = 0; i < NAME_COUNT; i++) {
        if (i != MR_FORMAT_FIXED && strcmp(text, names[i]) == 0) {
            *out = (struct mr_format_spec){(enum mr_format)i, 0};
            return 0;
        }
    }
    return peri_fail_plain(err, PERI_EINVAL,
                           "no input format '%.60s': choose lines, chunk, files, tsv, csv, jsonl "
                           "or fixed:SIZE",
                           text);
}
