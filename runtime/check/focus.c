#include "check/focus.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { WORD_BITS = 64 };

int check_focus_init(struct check_focus *focus, const struct check_values *values,
                     const check_value *list, size_t count)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++)
        size = list[i] >= size ? (size_t)list[i] + 1 : size;
    *focus = (struct check_focus){.size = size};
    focus->bits = calloc(size / WORD_BITS + 1, sizeof *focus->bits);
    if (focus->bits == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        focus->bits[list[i] / WORD_BITS] |= UINT64_C(1) << (list[i] % WORD_BITS);
        focus->has_void =
            focus->has_void || list[i] == CHECK_NIL || check_value_is(values, list[i], "");
    }
    return 0;
}

void check_focus_deinit(struct check_focus *focus)
{
    free(focus->bits);
    focus->bits = NULL;
    check_pieces_close(focus->pieces);
    focus->pieces = NULL;
}

void check_focus_narrow(struct check_focus *focus, const struct check_focus *by)
{
    for (size_t i = 0; i <= focus->size / WORD_BITS; i++)
        focus->bits[i] &= i <= by->size / WORD_BITS ? by->bits[i] : 0;
    focus->has_void = focus->has_void && by->has_void;
}

bool check_focus_has(const struct check_focus *focus, check_value value)
{
    return value < focus->size && (focus->bits[value / WORD_BITS] >> (value % WORD_BITS)) & 1;
}

int check_focus_list(const struct check_focus *focus, struct check_values *values,
                     check_value *list)
{
    if (check_value_kind(values, *list) != CHECK_KIND_LIST)
        return 0;
    size_t count, kept = 0;
    const check_value *items = check_value_items(values, *list, &count);
    check_value *left = malloc((count + 1) * sizeof *left);
    if (left == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (check_focus_has(focus, items[i]))
            left[kept++] = items[i];
    }
    int rc = check_value_list(values, CHECK_KIND_LIST, left, kept, list);
    free(left);
    return rc;
}

/* Copies the pieces in focus; false when text cannot be cut. */
static bool copy_pieces(const struct check_focus *focus, struct peri_slice text, char *copy,
                        size_t *size)
{
    *size = 0;
    while (text.size > 0) {
        struct peri_slice rest = text;
        check_value piece = check_pieces_next(focus->pieces, &rest);
        if (piece == CHECK_NIL)
            return false;
        if (check_focus_has(focus, piece)) {
            memcpy(copy + *size, text.data, text.size - rest.size);
            *size += text.size - rest.size;
        }
        text = rest;
    }
    return true;
}

int check_focus_string(const struct check_focus *focus, struct check_values *values,
                       check_value *string)
{
    if (check_value_kind(values, *string) != CHECK_KIND_STRING)
        return 0;
    struct peri_slice text = check_value_to_string(values, *string);
    size_t size;
    char *copy = malloc(text.size + 1);
    if (copy == NULL)
        return PERI_ENOMEM;
    int rc = 0;
    if (copy_pieces(focus, text, copy, &size))
        rc = check_value_string(values, peri_slice_of(copy, size), string);
    free(copy);
    return rc;
}
