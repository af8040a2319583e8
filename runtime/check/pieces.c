#include "check/pieces.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct piece {
    struct peri_slice text; /* of bytes */
    check_value value;
    size_t next; /* the piece that came behind it last time: strings begin alike */
};

struct check_pieces {
    unsigned holders;
    struct piece *sorted; /* by their texts, each once */
    size_t count;
    size_t last; /* the piece that was found last */
    char *bytes;
};

void check_pieces_close(struct check_pieces *pieces)
{
    if (pieces == NULL || --pieces->holders > 0)
        return;
    free(pieces->sorted);
    free(pieces->bytes);
    free(pieces);
}

struct check_pieces *check_pieces_share(struct check_pieces *pieces)
{
    if (pieces != NULL)
        pieces->holders++;
    return pieces;
}

static bool begins_with(struct peri_slice text, struct peri_slice beginning)
{
    return text.size >= beginning.size && memcmp(text.data, beginning.data, beginning.size) == 0;
}

static int compare_pieces(const void *left, const void *right)
{
    return peri_slice_compare(((const struct piece *)left)->text,
                              ((const struct piece *)right)->text);
}

static int copy(struct check_pieces *pieces, const struct check_values *values,
                const check_value *strings, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += check_value_to_string(values, strings[i]).size;
    pieces->sorted = malloc((count + 1) * sizeof *pieces->sorted);
    pieces->bytes = malloc(size + 1);
    if (pieces->sorted == NULL || pieces->bytes == NULL)
        return PERI_ENOMEM;
    char *at = pieces->bytes;
    for (size_t i = 0; i < count; i++) {
        struct peri_slice text = check_value_to_string(values, strings[i]);
        if (text.size == 0)
            continue;
        memcpy(at, text.data, text.size);
        pieces->sorted[pieces->count++] =
            (struct piece){peri_slice_of(at, text.size), strings[i], 0};
        at += text.size;
    }
    return 0;
}

/* Sorts, and leaves one of those that are equal. What begins another stands before it, with only
 * such between them as it begins too: neighbours tell. */
static int sort(struct check_pieces *pieces)
{
    size_t kept = 0;
    qsort(pieces->sorted, pieces->count, sizeof *pieces->sorted, compare_pieces);
    for (size_t i = 0; i < pieces->count; i++) {
        struct piece piece = pieces->sorted[i];
        if (kept > 0 && pieces->sorted[kept - 1].value == piece.value)
            continue;
        if (kept > 0 && begins_with(piece.text, pieces->sorted[kept - 1].text))
            return PERI_EINVAL;
        pieces->sorted[kept++] = piece;
    }
    pieces->count = kept;
    return 0;
}

int check_pieces_create(struct check_pieces **out, const struct check_values *values,
                        const check_value *strings, size_t count)
{
    struct check_pieces *pieces = calloc(1, sizeof *pieces);
    if (pieces == NULL)
        return PERI_ENOMEM;
    pieces->holders = 1;
    int rc = copy(pieces, values, strings, count);
    if (rc == 0)
        rc = sort(pieces);
    if (rc != 0) {
        check_pieces_close(pieces);
        return rc;
    }
    *out = pieces;
    return 0;
}

/* The index of the only piece that can begin text: the last that does not stand behind it. */
static size_t find(const struct check_pieces *pieces, struct peri_slice text)
{
    size_t low = 0, high = pieces->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (peri_slice_compare(pieces->sorted[middle].text, text) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : low - 1;
}

check_value check_pieces_next(struct check_pieces *pieces, struct peri_slice *text)
{
    if (pieces->count == 0)
        return CHECK_NIL;
    struct piece *last = &pieces->sorted[pieces->last];
    if (!begins_with(*text, pieces->sorted[last->next].text))
        last->next = find(pieces, *text);
    const struct piece *piece = &pieces->sorted[last->next];
    if (!begins_with(*text, piece->text))
        return CHECK_NIL;
    pieces->last = last->next;
    text->data += piece->text.size;
    text->size -= piece->text.size;
    return piece->value;
}
