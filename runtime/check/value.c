#include "check/value.h"

#include <math.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/error.h"
#include "check/sequence.h"

/* A value is a sequence: its kind, then its words. A string: kind, size, its bytes padded with
 * zeros. */
struct check_values {
    struct check_sequences *sequences;
    uint32_t *words; /* where a value is put together */
    size_t capacity;
};

enum { WORDS_MIN = 64, STRING_HEAD = 2 };

static int reserve(struct check_values *values, size_t count)
{
    if (count <= values->capacity)
        return 0;
    size_t capacity = values->capacity * 2 < count ? count : values->capacity * 2;
    uint32_t *words = realloc(values->words, capacity * sizeof *words);
    if (words == NULL)
        return PERI_ENOMEM;
    values->words = words;
    values->capacity = capacity;
    return 0;
}

static int add(struct check_values *values, enum check_kind kind, size_t count, check_value *out)
{
    values->words[0] = kind;
    return check_sequences_add(values->sequences, values->words, count, out);
}

int check_values_create(struct check_values **out)
{
    struct check_values *values = calloc(1, sizeof *values);
    if (values == NULL)
        return PERI_ENOMEM;
    check_value nil;
    int rc = check_sequences_create(&values->sequences);
    if (rc == 0)
        rc = reserve(values, WORDS_MIN);
    if (rc == 0)
        rc = add(values, CHECK_KIND_NIL, 1, &nil);
    if (rc != 0) {
        check_values_close(values);
        return rc;
    }
    *out = values;
    return 0;
}

int check_value_boolean(struct check_values *values, bool truth, check_value *out)
{
    values->words[1] = truth;
    return add(values, CHECK_KIND_BOOLEAN, 2, out);
}

static int add_number(struct check_values *values, enum check_kind kind, const void *number,
                      check_value *out)
{
    memcpy(values->words + 1, number, sizeof(uint64_t));
    return add(values, kind, 1 + sizeof(uint64_t) / sizeof(uint32_t), out);
}

int check_value_integer(struct check_values *values, int64_t integer, check_value *out)
{
    return add_number(values, CHECK_KIND_INTEGER, &integer, out);
}

int check_value_real(struct check_values *values, double real, check_value *out)
{
    const double limit = 9223372036854775808.0; /* 2^63 */
    if (real >= -limit && real < limit && floor(real) == real)
        return check_value_integer(values, (int64_t)real, out);
    return add_number(values, CHECK_KIND_REAL, &real, out);
}

int check_value_string(struct check_values *values, struct peri_slice bytes, check_value *out)
{
    size_t count = STRING_HEAD + (bytes.size + sizeof(uint32_t) - 1) / sizeof(uint32_t);
    if (bytes.size > UINT32_MAX)
        return PERI_ETOOBIG;
    int rc = reserve(values, count);
    if (rc != 0)
        return rc;
    if (bytes.size > 0) {
        values->words[count - 1] = 0; /* the padding */
        memcpy(values->words + STRING_HEAD, bytes.data, bytes.size);
    }
    values->words[1] = (uint32_t)bytes.size;
    return add(values, CHECK_KIND_STRING, count, out);
}

static int compare_words(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

int check_value_list(struct check_values *values, enum check_kind kind, const check_value *items,
                     size_t count, check_value *out)
{
    PERI_ASSERT(kind == CHECK_KIND_LIST || kind == CHECK_KIND_MAP);
    int rc = reserve(values, count + 1);
    if (rc != 0)
        return rc;
    if (count > 0)
        memcpy(values->words + 1, items, count * sizeof *items);
    if (kind == CHECK_KIND_MAP) /* by the numbers of the keys, so that equal maps are equal */
        qsort(values->words + 1, count / 2, 2 * sizeof *items, compare_words);
    return add(values, kind, count + 1, out);
}

static const uint32_t *words_of(const struct check_values *values, check_value value, size_t *count)
{
    return check_sequences_get(values->sequences, value, count);
}

enum check_kind check_value_kind(const struct check_values *values, check_value value)
{
    size_t count;
    return (enum check_kind)words_of(values, value, &count)[0];
}

bool check_value_to_boolean(const struct check_values *values, check_value value)
{
    size_t count;
    return words_of(values, value, &count)[1] != 0;
}

int64_t check_value_to_integer(const struct check_values *values, check_value value)
{
    size_t count;
    int64_t integer;
    memcpy(&integer, words_of(values, value, &count) + 1, sizeof integer);
    return integer;
}

double check_value_to_real(const struct check_values *values, check_value value)
{
    size_t count;
    double real;
    memcpy(&real, words_of(values, value, &count) + 1, sizeof real);
    return real;
}

struct peri_slice check_value_to_string(const struct check_values *values, check_value value)
{
    size_t count;
    const uint32_t *words = words_of(values, value, &count);
    return peri_slice_of((const char *)(words + STRING_HEAD), words[1]);
}

const check_value *check_value_items(const struct check_values *values, check_value value,
                                     size_t *count)
{
    const uint32_t *words = words_of(values, value, count);
    *count -= 1;
    return words + 1;
}

bool check_value_is(const struct check_values *values, check_value value, const char *text)
{
    return check_value_kind(values, value) == CHECK_KIND_STRING &&
           peri_slice_compare(check_value_to_string(values, value),
                              peri_slice_of(text, strlen(text))) == 0;
}

size_t check_values_memory(const struct check_values *values)
{
    return check_sequences_memory(values->sequences) + values->capacity * sizeof *values->words;
}

void check_values_close(struct check_values *values)
{
    if (values == NULL)
        return;
    check_sequences_close(values->sequences);
    free(values->words);
    free(values);
}
