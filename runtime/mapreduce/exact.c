#include "mapreduce/exact.h"

#include <math.h>

#include "base/assert.h"
#include "base/error.h"

enum {
    LIMB_BITS = 32,
    MANTISSA_BITS = 53,
    NUMBER_LIMBS = 3,  /* 53 bits at any shift */
    INTEGER_LIMBS = 2, /* 64 bits at weight 1 */
    PENDING_MAX = 1 << 30,
    POSITIVE_INFINITY = 1,
    NEGATIVE_INFINITY = 2,
    NOT_A_NUMBER = 4,
    NEGATIVE = 8, /* in encoded bytes */
    ENCODED_HEADER = 3,
};

/* number = (sign) mantissa * 2^exponent, mantissa < 2^53 and exponent >= -1074. */
static uint64_t take_apart(double number, int *exponent)
{
    int binary;
    double fraction = frexp(fabs(number), &binary);
    int cut = binary < -1021 ? -1021 - binary : 0; /* subnormals have fewer bits */
    *exponent = binary - MANTISSA_BITS + cut;
    return (uint64_t)ldexp(fraction, MANTISSA_BITS - cut);
}

static unsigned position_of(int exponent)
{
    return (unsigned)(exponent + MR_EXACT_ZERO_AT);
}

struct mr_exact_span mr_exact_span_of(double number)
{
    int exponent;
    if (!isfinite(number) || number == 0)
        return (struct mr_exact_span){0, 0};
    (void)take_apart(number, &exponent);
    return (struct mr_exact_span){(uint16_t)(position_of(exponent) / LIMB_BITS), NUMBER_LIMBS};
}

struct mr_exact_span mr_exact_span_of_integer(void)
{
    return (struct mr_exact_span){MR_EXACT_ZERO_AT / LIMB_BITS, INTEGER_LIMBS};
}

static struct mr_exact_span join(const struct mr_exact *exact, struct mr_exact_span span)
{
    if (span.count == 0)
        return (struct mr_exact_span){exact->low, exact->count};
    if (exact->count == 0)
        return span;
    unsigned from = exact->low < span.from ? exact->low : span.from;
    unsigned end = (unsigned)exact->low + exact->count;
    if (end < (unsigned)span.from + span.count)
        end = (unsigned)span.from + span.count;
    return (struct mr_exact_span){(uint16_t)from, (uint16_t)(end - from)};
}

size_t mr_exact_need(const struct mr_exact *exact, struct mr_exact_span span)
{
    return join(exact, span).count;
}

void mr_exact_widen(struct mr_exact *exact, struct mr_exact_span span)
{
    struct mr_exact_span whole = join(exact, span);
    if (whole.count == exact->count)
        return;
    PERI_ASSERT(whole.count <= exact->capacity);
    size_t shift = exact->count == 0 ? 0 : (size_t)exact->low - whole.from;
    memmove(exact->limbs + shift, exact->limbs, exact->count * sizeof exact->limbs[0]);
    memset(exact->limbs, 0, shift * sizeof exact->limbs[0]);
    size_t used = shift + exact->count;
    memset(exact->limbs + used, 0, (whole.count - used) * sizeof exact->limbs[0]);
    exact->low = whole.from;
    exact->count = whole.count;
}

/* Brings count limbs into 0..2^32-1, except the last, which keeps what is left and the sign. */
static void carry(int64_t *limbs, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        int64_t over = limbs[i] >> LIMB_BITS; /* rounds down: gcc and clang shift arithmetically */
        limbs[i] -= (int64_t)((uint64_t)over << LIMB_BITS);
        limbs[i + 1] += over;
    }
}

static void count_addition(struct mr_exact *exact)
{
    if (++exact->pending < PENDING_MAX)
        return;
    carry(exact->limbs, exact->count);
    exact->pending = 0;
}

static void add_limb(struct mr_exact *exact, size_t index, uint32_t digit, bool is_negative)
{
    exact->limbs[index - exact->low] += is_negative ? -(int64_t)digit : (int64_t)digit;
}

void mr_exact_add(struct mr_exact *exact, double number)
{
    int exponent;
    if (isnan(number))
        exact->specials |= NOT_A_NUMBER;
    else if (isinf(number))
        exact->specials |= number > 0 ? POSITIVE_INFINITY : NEGATIVE_INFINITY;
    if (!isfinite(number) || number == 0)
        return;
    uint64_t mantissa = take_apart(number, &exponent);
    unsigned position = position_of(exponent);
    size_t index = position / LIMB_BITS;
    unsigned shift = position % LIMB_BITS;
    uint64_t upper = mantissa >> (LIMB_BITS - shift);
    add_limb(exact, index, (uint32_t)(mantissa << shift), number < 0);
    add_limb(exact, index + 1, (uint32_t)upper, number < 0);
    add_limb(exact, index + 2, (uint32_t)(upper >> LIMB_BITS), number < 0);
    count_addition(exact);
}

/* Adds to the limbs from weight 1 on. */
static void add_integer(int64_t limbs[INTEGER_LIMBS], int64_t integer)
{
    uint64_t magnitude = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    int64_t low = (int64_t)(uint32_t)magnitude;
    int64_t high = (int64_t)(magnitude >> LIMB_BITS);
    limbs[0] += integer < 0 ? -low : low;
    limbs[1] += integer < 0 ? -high : high;
}

void mr_exact_add_integer(struct mr_exact *exact, int64_t integer)
{
    add_integer(&exact->limbs[MR_EXACT_ZERO_AT / LIMB_BITS - exact->low], integer);
    count_addition(exact);
}

/* ---- the whole number as digits ---- */

struct digits {
    int64_t limbs[MR_EXACT_LIMBS]; /* all in 0..2^32-1 */
    bool is_negative;
    size_t low, end; /* digits other than 0 are in [low, end); equal for 0 */
};

static void trim(struct digits *digits)
{
    digits->end = MR_EXACT_LIMBS;
    while (digits->end > 0 && digits->limbs[digits->end - 1] == 0)
        digits->end--;
    digits->low = 0;
    while (digits->low < digits->end && digits->limbs[digits->low] == 0)
        digits->low++;
}

/* Magnitude and sign of exact + integer. */
static void spread(const struct mr_exact *exact, int64_t integer, struct digits *out)
{
    int64_t *limbs = out->limbs;
    memset(limbs, 0, sizeof out->limbs);
    if (exact->count > 0)
        memcpy(limbs + exact->low, exact->limbs, exact->count * sizeof *limbs);
    add_integer(limbs + MR_EXACT_ZERO_AT / LIMB_BITS, integer);
    carry(limbs, MR_EXACT_LIMBS);
    out->is_negative = limbs[MR_EXACT_LIMBS - 1] < 0;
    if (out->is_negative) {
        for (size_t i = 0; i < MR_EXACT_LIMBS; i++)
            limbs[i] = -limbs[i];
        carry(limbs, MR_EXACT_LIMBS);
    }
    trim(out);
}

static double round_specials(unsigned specials)
{
    bool is_nan =
        (specials & NOT_A_NUMBER) != 0 || specials == (POSITIVE_INFINITY | NEGATIVE_INFINITY);
    if (is_nan)
        return (double)NAN;
    return (specials & POSITIVE_INFINITY) != 0 ? (double)INFINITY : -(double)INFINITY;
}

/* The top 64 bits of three digits below end, the first of which is not 0; *weight is the exponent
 * of their last bit. Whatever is cut off sets that bit, so that rounding to 53 bits is right. */
static uint64_t top_bits(const struct digits *digits, int *weight)
{
    uint64_t top = (uint64_t)digits->limbs[digits->end - 1];
    uint64_t middle = digits->end >= 2 ? (uint64_t)digits->limbs[digits->end - 2] : 0;
    uint64_t bottom = digits->end >= 3 ? (uint64_t)digits->limbs[digits->end - 3] : 0;
    unsigned shift = 0;
    while ((top << shift & UINT64_C(1) << (LIMB_BITS - 1)) == 0)
        shift++;
    uint64_t bits = (top << LIMB_BITS | middle) << shift | bottom >> (LIMB_BITS - shift);
    bool is_cut = (uint32_t)(bottom << shift) != 0 || digits->low + 3 < digits->end;
    *weight = (int)(LIMB_BITS * digits->end) - 2 * LIMB_BITS - (int)shift - MR_EXACT_ZERO_AT;
    return bits | (is_cut ? 1 : 0);
}

double mr_exact_round(const struct mr_exact *exact, int64_t integer)
{
    struct digits digits;
    int weight;
    if (exact->specials != 0)
        return round_specials(exact->specials);
    spread(exact, integer, &digits);
    if (digits.end == 0)
        return 0.0;
    uint64_t bits = top_bits(&digits, &weight);
    double magnitude = ldexp((double)bits, weight);
    return digits.is_negative ? -magnitude : magnitude;
}

/* ---- encoded: flags u8, low u8, count u8, count digits u32 ---- */

int mr_exact_encode(const struct mr_exact *exact, struct peri_buffer *out)
{
    struct digits digits;
    spread(exact, 0, &digits);
    size_t count = digits.end - digits.low;
    if (peri_buffer_reserve(out, ENCODED_HEADER + 4 * count) != 0)
        return PERI_ENOMEM;
    char *at = out->data + out->size;
    at[0] = (char)(exact->specials | (digits.is_negative ? NEGATIVE : 0));
    at[1] = (char)(count == 0 ? 0 : digits.low);
    at[2] = (char)count;
    for (size_t i = 0; i < count; i++)
        bits_put_le32(at + ENCODED_HEADER + 4 * i, (uint32_t)digits.limbs[digits.low + i]);
    out->size += ENCODED_HEADER + 4 * count;
    return 0;
}

bool mr_exact_encoded_span(struct peri_slice encoded, struct mr_exact_span *span)
{
    if (encoded.size < ENCODED_HEADER)
        return false;
    unsigned low = (unsigned char)encoded.data[1];
    unsigned count = (unsigned char)encoded.data[2];
    *span = (struct mr_exact_span){(uint16_t)low, (uint16_t)count};
    return low + count <= MR_EXACT_LIMBS && encoded.size == ENCODED_HEADER + 4 * (size_t)count;
}

void mr_exact_add_encoded(struct mr_exact *exact, struct peri_slice encoded)
{
    unsigned flags = (unsigned char)encoded.data[0];
    size_t low = (unsigned char)encoded.data[1];
    size_t count = (unsigned char)encoded.data[2];
    exact->specials |= flags & (POSITIVE_INFINITY | NEGATIVE_INFINITY | NOT_A_NUMBER);
    for (size_t i = 0; i < count; i++)
        add_limb(exact, low + i, bits_get_le32(encoded.data + ENCODED_HEADER + 4 * i),
                 (flags & NEGATIVE) != 0);
    count_addition(exact);
}
