/* A number's image: let d be the greatest double <= the number. image8 is d's bits, with the sign
 * bit flipped, or all bits for negative d, so that they order as unsigned integers. Where
 * neighbouring doubles are more than 1 apart and d is in the range of int64, rest2 follows: number
 * - d, 0..1023. Two numbers with one d carry a rest or both do not, so the encoding orders by value
 * and stays self-delimiting. */
#include "mapreduce/key.h"

#include <math.h>

#include "base/bits.h"

static const double two_53 = 9007199254740992.0;
static const double two_63 = 9223372036854775808.0;
static const uint64_t sign_bit = UINT64_C(1) << 63;

enum { IMAGE_SIZE = 8, REST_SIZE = 2, REST_MAX = 1023 };

/* ---- numbers ---- */

/* The greatest double that is <= integer. */
static double floor_double(int64_t integer)
{
    double near = (double)integer;
    bool is_above = near >= two_63 || (int64_t)near > integer;
    return is_above ? nextafter(near, -INFINITY) : near;
}

static bool has_rest(double image)
{
    return (image >= two_53 && image < two_63) || (image <= -two_53 && image >= -two_63);
}

static bool is_integral(double number)
{
    return number >= -two_63 && number < two_63 && floor(number) == number;
}

static int append_number(struct peri_buffer *out, double image, unsigned rest)
{
    uint64_t bits;
    memcpy(&bits, &image, sizeof bits);
    bits = (bits & sign_bit) != 0 ? ~bits : bits | sign_bit;
    char bytes[1 + IMAGE_SIZE + REST_SIZE] = {MR_KEY_NUMBER};
    bits_put_be64(bytes + 1, bits);
    if (!has_rest(image))
        return peri_buffer_append(out, bytes, 1 + IMAGE_SIZE);
    bytes[1 + IMAGE_SIZE] = (char)(rest >> 8);
    bytes[2 + IMAGE_SIZE] = (char)rest;
    return peri_buffer_append(out, bytes, sizeof bytes);
}

static int append_integer(struct peri_buffer *out, int64_t integer)
{
    double image = floor_double(integer);
    return append_number(out, image, (unsigned)(integer - (int64_t)image));
}

static int append_float(struct peri_buffer *out, double number)
{
    return append_number(out, number == 0 ? 0.0 : number, 0); /* -0.0 is 0 */
}

/* Reads what append_number wrote after the tag; returns the byte after it or NULL. */
static const char *read_number(const char *at, const char *end, struct mr_datum *out)
{
    if (end - at < IMAGE_SIZE)
        return NULL;
    uint64_t bits = bits_get_be64(at);
    bits = (bits & sign_bit) != 0 ? bits ^ sign_bit : ~bits;
    double image;
    memcpy(&image, &bits, sizeof image);
    at += IMAGE_SIZE;
    if (isnan(image))
        return NULL;
    unsigned rest = 0;
    if (has_rest(image)) {
        if (end - at < REST_SIZE)
            return NULL;
        rest = (unsigned)(unsigned char)at[0] << 8 | (unsigned char)at[1];
        at += REST_SIZE;
    }
    if (rest > REST_MAX || (is_integral(image) && (int64_t)image > INT64_MAX - (int64_t)rest))
        return NULL;
    if (is_integral(image))
        *out = (struct mr_datum){.type = MR_INTEGER, .integer = (int64_t)image + (int64_t)rest};
    else
        *out = (struct mr_datum){.type = MR_FLOAT, .number = image};
    return at;
}

/* ---- strings that another part follows ---- */

static int append_escaped(struct peri_buffer *out, struct peri_slice string)
{
    static const char end[2] = {0, 1};
    static const char zero[2] = {0, (char)0xff};
    const char tag = MR_KEY_PREFIX;
    int rc = peri_buffer_append(out, &tag, 1);
    const char *at = string.data;
    const char *stop = string.data + string.size;
    while (rc == 0 && at < stop) {
        const char *found = memchr(at, 0, (size_t)(stop - at));
        const char *to = found != NULL ? found : stop;
        rc = peri_buffer_append(out, at, (size_t)(to - at));
        if (rc == 0 && found != NULL)
            rc = peri_buffer_append(out, zero, sizeof zero);
        at = found != NULL ? found + 1 : stop;
    }
    return rc != 0 ? rc : peri_buffer_append(out, end, sizeof end);
}

/* The 00 01 that ends an escaped string, or NULL when it is malformed. */
static const char *escaped_end(const char *at, const char *end, bool *has_escape)
{
    *has_escape = false;
    for (;;) {
        const char *zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (zero == NULL || end - zero < 2)
            return NULL;
        if (zero[1] == 1)
            return zero;
        if ((unsigned char)zero[1] != 0xff)
            return NULL;
        *has_escape = true;
        at = zero + 2;
    }
}

/* Unescapes [at, end) into scratch, which has the room already. */
static struct peri_slice unescape(const char *at, const char *end, struct peri_buffer *scratch)
{
    char *start = scratch->data + scratch->size;
    char *to = start;
    while (at < end) {
        *to++ = *at;
        at += *at == 0 ? 2 : 1;
    }
    scratch->size += (size_t)(to - start);
    return peri_slice_of(start, (size_t)(to - start));
}

static const char *read_escaped(const char *at, const char *end, struct mr_datum *out,
                                struct peri_buffer *scratch)
{
    bool has_escape;
    const char *stop = escaped_end(at, end, &has_escape);
    if (stop == NULL)
        return NULL;
    *out = (struct mr_datum){.type = MR_STRING};
    out->string = has_escape ? unescape(at, stop, scratch) : peri_slice_of(at, (size_t)(stop - at));
    return stop + 2;
}

/* ---- whole keys ---- */

static int append_tag(struct peri_buffer *out, enum mr_key_tag tag)
{
    const char byte = (char)tag;
    return peri_buffer_append(out, &byte, 1);
}

static int append_last_string(struct peri_buffer *out, struct peri_slice string)
{
    int rc = append_tag(out, MR_KEY_STRING);
    return rc != 0 ? rc : peri_buffer_append(out, string.data, string.size);
}

static int append_part(struct peri_buffer *out, const struct mr_datum *part, bool is_last,
                       struct peri_error *err)
{
    switch (part->type) {
    case MR_NIL:
        return append_tag(out, MR_KEY_NIL);
    case MR_FALSE:
        return append_tag(out, MR_KEY_FALSE);
    case MR_TRUE:
        return append_tag(out, MR_KEY_TRUE);
    case MR_INTEGER:
        return append_integer(out, part->integer);
    case MR_FLOAT:
        if (isnan(part->number))
            return peri_fail_plain(err, PERI_EINVAL, "a key cannot be NaN");
        return append_float(out, part->number);
    case MR_STRING:
        return is_last ? append_last_string(out, part->string) : append_escaped(out, part->string);
    default:
        return peri_fail_plain(err, PERI_EINVAL, "a key cannot be a table");
    }
}

int mr_key_encode(const struct mr_datum *parts, size_t count, struct peri_buffer *out,
                  struct peri_error *err)
{
    if (count < 1 || count > MR_KEY_PARTS_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "a key has 1 to %d parts, not %zu",
                               MR_KEY_PARTS_MAX, count);
    size_t before = out->size;
    for (size_t i = 0; i < count; i++) {
        int rc = append_part(out, &parts[i], i + 1 == count, err);
        if (rc != 0) {
            out->size = before;
            return rc == PERI_ENOMEM ? peri_fail(err, rc, "key") : rc;
        }
    }
    return 0;
}

/* Reads one part at at; returns the byte after it or NULL. */
static const char *read_part(const char *at, const char *end, struct mr_datum *out,
                             struct peri_buffer *scratch)
{
    enum mr_key_tag tag = (enum mr_key_tag)(unsigned char)*at++;
    switch (tag) {
    case MR_KEY_NIL:
    case MR_KEY_FALSE:
    case MR_KEY_TRUE:
        *out = (struct mr_datum){.type = (enum mr_type)(tag - MR_KEY_NIL)};
        return at;
    case MR_KEY_NUMBER:
        return read_number(at, end, out);
    case MR_KEY_STRING:
        *out =
            (struct mr_datum){.type = MR_STRING, .string = peri_slice_of(at, (size_t)(end - at))};
        return end;
    case MR_KEY_PREFIX:
        return read_escaped(at, end, out, scratch);
    }
    return NULL;
}

int mr_key_decode(struct peri_slice key, struct mr_datum *parts, size_t *count,
                  struct peri_buffer *scratch, struct peri_error *err)
{
    const char *at = key.data;
    const char *end = key.data + key.size;
    scratch->size = 0;
    if (peri_buffer_reserve(scratch, key.size) != 0)
        return peri_fail(err, PERI_ENOMEM, "key");
    size_t n = 0;
    while (at < end && n < MR_KEY_PARTS_MAX) {
        at = read_part(at, end, &parts[n++], scratch);
        if (at == NULL)
            return peri_fail(err, PERI_EFORMAT, "key part %zu", n);
    }
    if (at < end || n == 0)
        return peri_fail(err, PERI_EFORMAT, "key after part %zu", n);
    *count = n;
    return 0;
}

/* The size of the part at at; the rest where it is the last or malformed. */
static size_t part_size(const char *at, size_t size)
{
    const char *end = at + size;
    struct mr_datum number;
    bool has_escape;
    const char *stop = end;
    if (*at == MR_KEY_NUMBER)
        stop = read_number(at + 1, end, &number);
    else if (*at == MR_KEY_PREFIX && (stop = escaped_end(at + 1, end, &has_escape)) != NULL)
        stop += 2;
    else if (*at == MR_KEY_NIL || *at == MR_KEY_FALSE || *at == MR_KEY_TRUE)
        stop = at + 1;
    return stop != NULL ? (size_t)(stop - at) : size;
}

struct peri_slice mr_key_first_parts(struct peri_slice key, size_t count)
{
    size_t used = 0;
    for (size_t i = 0; i < count && used < key.size; i++)
        used += part_size(key.data + used, key.size - used);
    return peri_slice_of(key.data, used);
}

/* ---- order ---- */

static int compare_integer_float(int64_t integer, double number)
{
    if (isnan(number) || number >= two_63)
        return -1;
    if (number < -two_63)
        return 1;
    int64_t whole = (int64_t)floor(number);
    if (integer != whole)
        return integer < whole ? -1 : 1;
    return (double)whole < number ? -1 : 0;
}

static int compare_floats(double a, double b)
{
    if (isnan(a) || isnan(b))
        return (isnan(a) ? 1 : 0) - (isnan(b) ? 1 : 0);
    return (a > b) - (a < b);
}

static int compare_numbers(const struct mr_datum *a, const struct mr_datum *b)
{
    if (a->type == MR_INTEGER && b->type == MR_INTEGER)
        return (a->integer > b->integer) - (a->integer < b->integer);
    if (a->type == MR_INTEGER)
        return compare_integer_float(a->integer, b->number);
    if (b->type == MR_INTEGER)
        return -compare_integer_float(b->integer, a->number);
    return compare_floats(a->number, b->number);
}

static int rank(enum mr_type type)
{
    return type == MR_FLOAT ? MR_INTEGER : (int)type;
}

int mr_datum_compare(const struct mr_datum *a, const struct mr_datum *b)
{
    int order = rank(a->type) - rank(b->type);
    if (order != 0)
        return order;
    if (rank(a->type) == MR_INTEGER)
        return compare_numbers(a, b);
    if (a->type == MR_STRING || a->type == MR_TABLE)
        return peri_slice_compare(a->string, b->string);
    return 0;
}
