#include "sim/clock.h"

#include "sim/internal.h"

#define US_PER_S UINT64_C(1000000)
#define UPTIME_MAX_S UINT64_C(10000000)

enum { PPM = 1000000 };

/* elapsed * (1 + drift), rounded down; in two parts so that nothing overflows in 290,000 years. */
static uint64_t drifted(uint64_t elapsed_us, int64_t drift_ppm)
{
    if (drift_ppm == 0)
        return elapsed_us;
    int64_t whole = (int64_t)(elapsed_us / PPM) * drift_ppm;
    int64_t rest = (int64_t)(elapsed_us % PPM) * drift_ppm / PPM;
    return (uint64_t)((int64_t)elapsed_us + whole + rest);
}

/* What the local clock has counted since the start of the world. */
static uint64_t local_us(const struct sim_node *node)
{
    const struct sim_clock *clock = &node->clock;
    return clock->local_us + drifted(sim_node_now_us(node) - clock->true_us, clock->drift_ppm);
}

uint64_t sim_clock_due_us(const struct sim_node *node, uint64_t delay_us)
{
    uint64_t now_us = sim_node_now_us(node);
    int64_t drift_ppm = node->clock.drift_ppm;
    if (delay_us > UINT64_MAX / 4 - now_us)
        return UINT64_MAX / 4;
    if (drift_ppm == 0)
        return now_us + delay_us;
    uint64_t rate = (uint64_t)(PPM + drift_ppm);
    unsigned __int128 scaled = (unsigned __int128)delay_us * PPM + rate - 1;
    return now_us + (uint64_t)(scaled / rate) + 1; /* a timer is never early */
}

uint64_t sim_clock_true_us(struct sim_node *node, uint64_t now_us)
{
    const struct sim_clock *clock = &node->clock;
    __int128 local = (__int128)now_us - (__int128)(clock->monotonic_base_us + clock->local_us);
    return (uint64_t)((__int128)clock->true_us + local * PPM / (PPM + clock->drift_ppm));
}

void sim_clock_set_drift(struct sim_node *node, int64_t drift_ppm)
{
    uint64_t counted_us = local_us(node);
    node->clock.local_us = counted_us;
    node->clock.true_us = sim_node_now_us(node);
    node->clock.drift_ppm = drift_ppm;
}

void sim_clock_set_skew(struct sim_node *node, int64_t skew_us)
{
    node->clock.skew_us = skew_us - (int64_t)(local_us(node) - sim_node_now_us(node));
}

void sim_clock_jump(struct sim_node *node, int64_t jump_us)
{
    node->clock.skew_us += jump_us;
}

int64_t sim_clock_error_us(struct sim_node *node)
{
    return node->clock.skew_us + (int64_t)(local_us(node) - sim_node_now_us(node));
}

/* A monotonic clock of one machine means nothing on another, so each starts somewhere else. */
void sim_clock_init(struct sim_node *node)
{
    struct sim_stream stream;
    sim_stream_init(&stream, sim_world_seed(node->world), SIM_CLOCK, node->index, 0,
                    &node->world->positions);
    node->clock = (struct sim_clock){
        .true_us = node->world->now_us,
        .local_us = node->world->now_us,
        .monotonic_base_us = (1 + sim_stream_below(&stream, UPTIME_MAX_S)) * US_PER_S,
    };
}

static uint64_t clock_now_us(struct env *env)
{
    const struct sim_node *node = sim_node_cast(env);
    return node->clock.monotonic_base_us + local_us(node);
}

static int64_t clock_wall_us(struct env *env)
{
    const struct sim_node *node = sim_node_cast(env);
    return node->world->options.epoch_us + (int64_t)local_us(node) + node->clock.skew_us;
}

/* Simulated code takes no time; one microsecond an event lets it be compared all the same. */
static uint64_t clock_cpu_us(struct env *env)
{
    return sim_node_cast(env)->event_count;
}

static void clock_random(struct env *env, void *out, size_t size)
{
    sim_stream_fill(&sim_node_cast(env)->streams[SIM_USER], out, size);
}

const struct env_clock_ops sim_clock_ops = {clock_now_us, clock_wall_us, clock_cpu_us,
                                            clock_random};
