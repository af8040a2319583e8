/* bench.h - what the rows of the simulator's benchmark share. */
#ifndef BENCHES_SIM_BENCH_H
#define BENCHES_SIM_BENCH_H

#include <stdint.h>

#include "env/env.h"
#include "sim/node.h"
#include "sim/world.h"

enum { PENDING = 1000 }; /* events that are under way at any time */

/* Ends the program when memory is NULL, or rc an error. */
void *bench_checked(void *memory);
void bench_require(int rc);

struct sim_world *bench_new_world(void);
struct sim_node *bench_new_node(struct sim_world *world, int number,
                                int (*on_start)(void *data, struct sim_node *node));
int bench_start_nothing(void *data, struct sim_node *node);

/* A row counts its events down, and stops the world after the last. */
void bench_begin(uint64_t events);
void bench_count_down(struct sim_world *world);

/* Rows: each message is answered as soon as it arrives, by C or by a Lua function. */
void bench_messages_c(uint64_t events);
void bench_messages_lua(uint64_t events);

#endif
