/* env_fixture.h - one environment of libuv for all tests of a file: the group's setup and teardown.
 */
#ifndef PERI_TESTS_ENV_FIXTURE_H
#define PERI_TESTS_ENV_FIXTURE_H

#include "env/uv.h"

static struct env *env;

static int open_env(void **unused)
{
    (void)unused;
    return env_uv_create(&env, NULL);
}

static int close_env(void **unused)
{
    (void)unused;
    env_close(env);
    return 0;
}

#endif
