/* stream.h - random numbers that replay: one stream for each purpose, node and incarnation.
 *
 * A stream starts at hash(seed, purpose, node, incarnation), so a draw more in one place shifts no
 * other. Each is a SplitMix generator with a step of its own (Steele, Lea and Flood 2014). Only
 * integers are drawn: the last bits of the C library's exp and log differ between processors. */
#ifndef PERI_SIM_STREAM_H
#define PERI_SIM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env/fault.h"

enum sim_purpose {
    SIM_NET,      /* fates and delays of messages */
    SIM_DISK,     /* delays and failures of the disk, what a crash leaves */
    SIM_CLOCK,    /* where clocks start */
    SIM_SCHED,    /* when background work and turns run */
    SIM_WORKLOAD, /* for scenarios: what clients do */
    SIM_USER,     /* env_random: what the node's own code draws */
    SIM_FAULTS,   /* for scenarios: which faults happen */
    SIM_PURPOSES
};

struct sim_stream {
    uint64_t state;
    uint64_t step;       /* odd */
    uint64_t *positions; /* step is added to it at each draw: the sum over all streams of a world
                            stands for all their positions; lent */
};

/* Mixes value into a 64-bit hash. Pure. */
static inline uint64_t sim_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    hash ^= hash >> 32;
    return hash * UINT64_C(0xD6E8FEB86659FD93);
}

/* Starts a stream. positions stays lent. */
void sim_stream_init(struct sim_stream *stream, uint64_t seed, enum sim_purpose purpose,
                     uint64_t node, uint64_t incarnation, uint64_t *positions);

/* 64 random bits. */
uint64_t sim_stream_next(struct sim_stream *stream);

/* Uniform in 0..bound-1; bound is not 0. Draws once. */
uint64_t sim_stream_below(struct sim_stream *stream, uint64_t bound);

/* True for ppm of a million. Draws nothing for 0. */
bool sim_stream_chance(struct sim_stream *stream, uint32_t ppm);

/* Exponential with that mean: by exact integer arithmetic, equal on every machine. */
uint64_t sim_stream_exponential(struct sim_stream *stream, uint64_t mean);

/* A delay of the distribution, in microseconds. Draws nothing for a constant one. */
uint64_t sim_stream_delay(struct sim_stream *stream, const struct env_delay *delay);

/* Fills size bytes at out. */
void sim_stream_fill(struct sim_stream *stream, void *out, size_t size);

#endif
