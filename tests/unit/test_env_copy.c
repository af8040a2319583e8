/* Functions that run in a copy of this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>

#include "env/uv.h"

enum { SECOND_US = 1000000, BIG = 1 << 20, STATUS = 7 };

static struct env *create_env(void)
{
    struct env *env = NULL;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    return env;
}

static int counter; /* what the copy does to it stays in the copy */

static int count(void *data, struct env_file *out)
{
    counter++;
    (void)data;
    return env_file_write(out, "one", 3, NULL) == 0 ? STATUS : 0;
}

static int write_much(void *data, struct env_file *out)
{
    static const char zeroes[BIG];
    (void)data;
    return env_file_write(out, zeroes, sizeof zeroes, NULL);
}

static int crash(void *data, struct env_file *out)
{
    (void)data;
    (void)env_file_write(out, "before", 6, NULL);
    (void)raise(SIGKILL);
    return 0;
}

static int spin(void *data, struct env_file *out)
{
    volatile int *stop = data;
    (void)env_file_write(out, "spins", 5, NULL);
    while (*stop == 0)
        continue;
    return 0;
}

static void test_result_comes_back_and_nothing_else(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_copy copy = {.body = count, .limit_us = 10 * SECOND_US};
    struct peri_buffer output = {0};
    struct env_process_exit exit = {0};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(env_copy_run(env, &copy, &output, &exit, NULL), 0);
        assert_int_equal(exit.status, STATUS);
        assert_int_equal(exit.signal, 0);
    }
    assert_int_equal(counter, 0);
    assert_int_equal(output.size, 9);
    assert_memory_equal(output.data, "oneoneone", 9);
    peri_buffer_deinit(&output);
    env_close(env);
}

static void test_more_than_a_pipe_holds(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_copy copy = {.body = write_much, .limit_us = 10 * SECOND_US};
    struct peri_buffer output = {0};
    struct env_process_exit exit = {0};
    assert_int_equal(env_copy_run(env, &copy, &output, &exit, NULL), 0);
    assert_int_equal(output.size, BIG);
    assert_true(exit.max_rss_bytes > 0);
    peri_buffer_deinit(&output);
    env_close(env);
}

static void test_a_copy_that_dies(void **state)
{
    (void)state;
    struct env *env = create_env();
    struct env_copy copy = {.body = crash, .limit_us = 10 * SECOND_US};
    struct peri_buffer output = {0};
    struct env_process_exit exit = {0};
    assert_int_equal(env_copy_run(env, &copy, &output, &exit, NULL), 0);
    assert_int_equal(exit.signal, SIGKILL);
    assert_int_equal(output.size, 6);
    peri_buffer_deinit(&output);
    env_close(env);
}

static void test_a_copy_that_never_ends(void **state)
{
    (void)state;
    int stop = 0;
    struct env *env = create_env();
    struct env_copy copy = {.body = spin, .data = &stop, .limit_us = SECOND_US / 10};
    struct peri_buffer output = {0};
    struct env_process_exit exit = {0};
    assert_int_equal(env_copy_run(env, &copy, &output, &exit, NULL), PERI_EDEADLINE);
    assert_int_equal(exit.signal, SIGKILL);
    assert_int_equal(output.size, 5);
    peri_buffer_deinit(&output);
    env_close(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result_comes_back_and_nothing_else),
        cmocka_unit_test(test_more_than_a_pipe_holds),
        cmocka_unit_test(test_a_copy_that_dies),
        cmocka_unit_test(test_a_copy_that_never_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
