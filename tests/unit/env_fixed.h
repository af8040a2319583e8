/* env_fixed.h - an environment of libuv whose clocks and random numbers are a test's. */
#ifndef PERI_TESTS_ENV_FIXED_H
#define PERI_TESTS_ENV_FIXED_H

#include <string.h>

#include "env/env.h"
#include "env/ops.h"

#define FIXED_WALL_US INT64_C(951782400123456) /* 2000-02-29 00:00:00.123456 UTC */
#define FIXED_CPU_US UINT64_C(2500000)

static int64_t fixed_wall_us(struct env *env)
{
    (void)env;
    return FIXED_WALL_US;
}

static uint64_t fixed_cpu_us(struct env *env)
{
    (void)env;
    return FIXED_CPU_US;
}

static void fixed_random(struct env *env, void *out, size_t size)
{
    (void)env;
    memset(out, 0x42, size);
}

static const char *fixed_variable(struct env *env, const char *name)
{
    (void)env;
    return strcmp(name, "HOME") == 0 ? "/node" : NULL;
}

/* Gives env the fixed clocks, random bytes of 0x42, and one variable, HOME=/node. */
static inline void env_fix(struct env *env)
{
    static struct env_clock_ops clock;
    static struct env_self_ops self;
    static struct env_ops ops;
    ops = *env->ops;
    clock = *ops.clock;
    clock.wall_us = fixed_wall_us;
    clock.cpu_us = fixed_cpu_us;
    clock.random = fixed_random;
    self = *ops.self;
    self.variable = fixed_variable;
    ops.clock = &clock;
    ops.self = &self;
    env->ops = &ops;
}

#endif
