/* clock.h - the clocks of a simulated node.
 *
 * Each node has a monotonic clock, which starts anywhere, and a wall clock. Drift (fault
 * clock_drift) makes both, and its timers, run faster or slower than true time; skew and jumps move
 * the wall clock alone. A timer that runs when the drift changes keeps its moment. */
#ifndef PERI_SIM_CLOCK_H
#define PERI_SIM_CLOCK_H

#include "sim/node.h"

/* How far the node's wall clock is from the true time, in microseconds. */
int64_t sim_clock_error_us(struct sim_node *node);

/* The true time at which env_now_us of the node is, or was, now_us: exact since its drift last
 * changed. */
uint64_t sim_clock_true_us(struct sim_node *node, uint64_t now_us);

/* Makes the clocks of the node gain drift_ppm of a million (more than -1000000) from now on. */
void sim_clock_set_drift(struct sim_node *node, int64_t drift_ppm);

/* Sets how far the wall clock is from the true time now. */
void sim_clock_set_skew(struct sim_node *node, int64_t skew_us);

/* Moves the wall clock. */
void sim_clock_jump(struct sim_node *node, int64_t jump_us);

#endif
