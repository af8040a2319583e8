#include "mapreduce/number.h"

#include <stdlib.h>
#include <string.h>

#include "mapreduce/token.h"

static bool is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

enum {
    DIGITS_EXACT = 15,     /* so many decimal digits always fit the 53 bits of a double */
    DIGITS_INTEGER = 18,   /* so many always fit an int64_t */
    POWER_EXACT = 22,      /* the largest power of ten that is a double */
    EXPONENT_LIMIT = 9999, /* farther out the result is 0 or infinite anyway */
    COPY_SIZE = 64,
};

static const double powers[POWER_EXACT + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A numeral taken apart: digits * 10^exponent. */
struct numeral {
    uint64_t digits; /* right while digit_count <= 19 */
    int digit_count; /* without leading zeros */
    int exponent;
    bool is_negative;
    bool is_integer; /* has neither a point nor an exponent */
};

static struct peri_slice trim(struct peri_slice text)
{
    while (text.size > 0 && mr_class_space.member[(unsigned char)text.data[0]])
        text = peri_slice_of(text.data + 1, text.size - 1);
    while (text.size > 0 && mr_class_space.member[(unsigned char)text.data[text.size - 1]])
        text.size--;
    return text;
}

static void add_digit(struct numeral *numeral, char digit)
{
    if (numeral->digit_count == 0 && digit == '0')
        return;
    if (numeral->digit_count < INT32_MAX)
        numeral->digit_count++;
    numeral->digits = numeral->digits * 10 + (uint64_t)(digit - '0');
}

static const char *scan_exponent(struct numeral *numeral, const char *at, const char *end)
{
    bool is_negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const char *start = at;
    int exponent = 0;
    for (; at < end && is_digit((unsigned char)*at); at++)
        if (exponent < EXPONENT_LIMIT)
            exponent = exponent * 10 + (*at - '0');
    numeral->exponent += is_negative ? -exponent : exponent;
    return at == start ? NULL : at;
}

/* Takes text apart; false when it is no decimal numeral. */
static bool scan_numeral(struct numeral *numeral, struct peri_slice text)
{
    const char *at = text.data;
    const char *end = at + text.size;
    numeral->is_integer = true;
    numeral->is_negative = *at == '-';
    at += *at == '-' || *at == '+';
    const char *start = at;
    for (; at < end && is_digit((unsigned char)*at); at++)
        add_digit(numeral, *at);
    size_t written = (size_t)(at - start);
    if (at < end && *at == '.') {
        numeral->is_integer = false;
        for (at++; at < end && is_digit((unsigned char)*at); at++, written++) {
            add_digit(numeral, *at);
            if (numeral->exponent > -EXPONENT_LIMIT)
                numeral->exponent--;
        }
    }
    if (written == 0)
        return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        numeral->is_integer = false;
        at = scan_exponent(numeral, at + 1, end);
    }
    return at == end;
}

/* Correctly rounded: digits and the power of ten are exact, so one operation rounds once. */
static bool convert_exactly(const struct numeral *numeral, double *out)
{
    if (numeral->digit_count > DIGITS_EXACT || numeral->exponent > POWER_EXACT ||
        numeral->exponent < -POWER_EXACT)
        return false;
    double value = (double)numeral->digits;
    value = numeral->exponent < 0 ? value / powers[-numeral->exponent]
                                  : value * powers[numeral->exponent];
    *out = numeral->is_negative ? -value : value;
    return true;
}

static bool convert_slowly(struct peri_slice text, double *out)
{
    char small[COPY_SIZE];
    char *copy = text.size < sizeof small ? small : malloc(text.size + 1);
    if (copy == NULL)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *out = strtod(copy, NULL);
    if (copy != small)
        free(copy);
    return true;
}

static bool convert_integer(const struct numeral *numeral, int64_t *out)
{
    enum { DIGITS_UINT64 = 19 };
    uint64_t limit = (uint64_t)INT64_MAX + numeral->is_negative;
    if (numeral->digit_count > DIGITS_UINT64 ||
        (numeral->digit_count > DIGITS_INTEGER && numeral->digits > limit))
        return false;
    *out = (int64_t)(numeral->is_negative ? 0 - numeral->digits : numeral->digits);
    return true;
}

bool mr_number_parse(struct peri_slice text, struct mr_number *out)
{
    struct numeral numeral = {0};
    text = trim(text);
    if (text.size == 0 || !scan_numeral(&numeral, text))
        return false;
    out->is_integer = numeral.is_integer && convert_integer(&numeral, &out->integer);
    return out->is_integer || convert_exactly(&numeral, &out->number) ||
           convert_slowly(text, &out->number);
}

/* ---- letters ---- */
