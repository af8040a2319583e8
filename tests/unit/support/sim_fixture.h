/* sim_fixture.h - what tests of the simulator share. */
#ifndef PERI_TESTS_SIM_FIXTURE_H
#define PERI_TESTS_SIM_FIXTURE_H

#include "sim/world.h"

/* Runs the world until that time, also when nothing happens any more before it. */
static inline void advance(struct sim_world *world, uint64_t until_us)
{
    if (sim_world_run(world, until_us) == SIM_END_IDLE && until_us != UINT64_MAX)
        sim_world_skip_to(world, until_us);
}

#endif
