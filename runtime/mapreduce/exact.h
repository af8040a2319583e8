/* exact.h - exact sums of floats: the result does not depend on the order of the additions.
 *
 * A fixed-point number wide enough for every double, of which only the limbs in use are kept:
 * digits of 32 bits in signed 64-bit limbs, so that carries are needed once in 2^30 additions.
 * Rounded once, at the end, to the nearest double. Pure. */
#ifndef PERI_MAPREDUCE_EXACT_H
#define PERI_MAPREDUCE_EXACT_H

#include <stdbool.h>

#include "base/bits.h"
#include "base/buffer.h"

enum {
    MR_EXACT_LIMBS = 70,
    MR_EXACT_ZERO_AT = 1088, /* limb i has weight 2^(32 i - MR_EXACT_ZERO_AT) */
};

/* All zero is the number 0. limbs are those from low on. */
struct mr_exact {
    uint16_t low, count;
    uint16_t capacity; /* limbs that the owner gave room for */
    uint16_t specials; /* infinities and NaN seen */
    uint32_t pending;  /* additions since the last carry */
    int64_t limbs[];
};

/* The limbs that one addition touches: from..from + count - 1. */
struct mr_exact_span {
    uint16_t from, count;
};

/* What adding a double, or any integer, touches. */
struct mr_exact_span mr_exact_span_of(double number);
struct mr_exact_span mr_exact_span_of_integer(void);

/* The limbs that exact has to have room for before it covers span. */
size_t mr_exact_need(const struct mr_exact *exact, struct mr_exact_span span);

/* Makes exact, which has the room, cover span. */
void mr_exact_widen(struct mr_exact *exact, struct mr_exact_span span);

/* Adds a number whose span is covered. */
void mr_exact_add(struct mr_exact *exact, double number);
void mr_exact_add_integer(struct mr_exact *exact, int64_t integer);

/* The nearest double of exact + integer. */
double mr_exact_round(const struct mr_exact *exact, int64_t integer);

/* Appends exact; equal numbers give equal bytes. Errors: PERI_ENOMEM. */
int mr_exact_encode(const struct mr_exact *exact, struct peri_buffer *out);

/* Checks encoded bytes and tells the span that adding them needs; false when malformed. */
bool mr_exact_encoded_span(struct peri_slice encoded, struct mr_exact_span *span);
/* Adds an encoded number whose span is covered. */
void mr_exact_add_encoded(struct mr_exact *exact, struct peri_slice encoded);

#endif
