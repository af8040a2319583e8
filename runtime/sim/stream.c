#include "sim/stream.h"

#include <string.h>

enum { PPM = 1000000, LONG_TAIL_PER_MILLE = 1, MILLE = 1000 };

/* The finalizer of SplitMix64 (Stafford's mix 13). */
static uint64_t finish(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Steps whose bits change too seldom make weak generators, and are changed. */
static uint64_t make_step(uint64_t bits)
{
    enum { CHANGES_MIN = 24 };
    bits |= 1;
    if (__builtin_popcountll(bits ^ (bits >> 1)) < CHANGES_MIN)
        bits ^= UINT64_C(0xAAAAAAAAAAAAAAAA);
    return bits;
}

void sim_stream_init(struct sim_stream *stream, uint64_t seed, enum sim_purpose purpose,
                     uint64_t node, uint64_t incarnation, uint64_t *positions)
{
    uint64_t key = finish(seed + UINT64_C(0x9E3779B97F4A7C15));
    key = finish(sim_mix(key, (uint64_t)purpose + 1));
    key = finish(sim_mix(key, node));
    key = finish(sim_mix(key, incarnation));
    stream->state = key;
    stream->step = make_step(finish(key + UINT64_C(0x9E3779B97F4A7C15)));
    stream->positions = positions;
}

uint64_t sim_stream_next(struct sim_stream *stream)
{
    stream->state += stream->step;
    *stream->positions += stream->step;
    return finish(stream->state);
}

/* The high half of the product: its bias is below bound / 2^64. */
static uint64_t scale(uint64_t bits, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)bits * bound) >> 64);
}

uint64_t sim_stream_below(struct sim_stream *stream, uint64_t bound)
{
    return scale(sim_stream_next(stream), bound);
}

bool sim_stream_chance(struct sim_stream *stream, uint32_t ppm)
{
    return ppm != 0 && sim_stream_below(stream, PPM) < ppm;
}

/* -ln(2^-k) is k ln 2, and the rest of the logarithm comes bit by bit: with x in [1, 2), the next
 * bit of log2 x is 1 when x^2 is at least 2. Fixed point of 32 bits throughout. */
static uint64_t minus_log2_q32(uint64_t bits)
{
    enum { FRACTION_BITS = 32 };
    int zeroes = __builtin_clzll(bits | 1);
    uint64_t x = (bits | 1) << zeroes >> 32; /* 1.0 is 2^31 */
    uint64_t fraction = 0;
    for (int i = 0; i < FRACTION_BITS; i++) {
        x = x * x >> 31;
        fraction <<= 1;
        if (x >> 32 != 0) {
            fraction |= 1;
            x >>= 1;
        }
    }
    /* bits / 2^64 is 2^-(zeroes + 1) * x, so its logarithm is -(zeroes + 1) + fraction. */
    return ((uint64_t)(zeroes + 1) << FRACTION_BITS) - fraction;
}

uint64_t sim_stream_exponential(struct sim_stream *stream, uint64_t mean)
{
    static const uint64_t ln2_q32 = UINT64_C(2977044472); /* ln 2 * 2^32 */
    uint64_t halvings = minus_log2_q32(sim_stream_next(stream));
    unsigned __int128 product = (unsigned __int128)halvings * ln2_q32 >> 32;
    return (uint64_t)(product * mean >> 32);
}

static uint64_t uniform(struct sim_stream *stream, uint64_t low, uint64_t high)
{
    return high > low ? low + sim_stream_below(stream, high - low + 1) : low;
}

uint64_t sim_stream_delay(struct sim_stream *stream, const struct env_delay *delay)
{
    switch (delay->shape) {
    case ENV_DELAY_CONSTANT:
        break;
    case ENV_DELAY_UNIFORM:
        return uniform(stream, delay->low_us, delay->high_us);
    case ENV_DELAY_EXPONENTIAL:
        return delay->low_us + sim_stream_exponential(stream, delay->high_us);
    case ENV_DELAY_LONG_TAIL:
        if (sim_stream_below(stream, MILLE) < LONG_TAIL_PER_MILLE)
            return delay->high_us + sim_stream_exponential(stream, delay->tail_us);
        return uniform(stream, delay->low_us, delay->high_us);
    }
    return delay->low_us;
}

void sim_stream_fill(struct sim_stream *stream, void *out, size_t size)
{
    unsigned char *at = out;
    while (size > 0) {
        uint64_t bits = sim_stream_next(stream);
        size_t part = size < sizeof bits ? size : sizeof bits;
        memcpy(at, &bits, part);
        at += part;
        size -= part;
    }
}
