/* Log lines that others can cause: few of them, and none is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "env/log_limit.h"
#include "env/uv.h"

enum { OUTPUT_SIZE = 64 << 10 };

struct caught {
    struct env *env;
    struct env_log_limit limit;
    FILE *file;
    int stderr_fd;
    char text[OUTPUT_SIZE];
};

static struct caught caught;

static void start(void)
{
    memset(&caught, 0, sizeof caught);
    assert_int_equal(env_uv_create(&caught.env, NULL), 0);
    caught.file = tmpfile();
    assert_non_null(caught.file);
    caught.stderr_fd = dup(STDERR_FILENO);
    assert_true(dup2(fileno(caught.file), STDERR_FILENO) >= 0);
}

/* Ends catching; how many lines there were. */
static size_t stop(void)
{
    size_t lines = 0;
    assert_true(dup2(caught.stderr_fd, STDERR_FILENO) >= 0);
    assert_int_equal(close(caught.stderr_fd), 0);
    rewind(caught.file);
    size_t size = fread(caught.text, 1, OUTPUT_SIZE - 1, caught.file);
    assert_int_equal(fclose(caught.file), 0);
    for (size_t i = 0; i < size; i++)
        lines += caught.text[i] == '\n';
    env_close(caught.env);
    return lines;
}

static void say(const char *who, int kind)
{
    env_log_limited(caught.env, &caught.limit, peri_slice_of(who, strlen(who)), kind, ENV_LOG_WARN,
                    "test", "%s did %d", who, kind);
}

static void a_pair_has_one_line_a_second(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 100; i++) {
        say("a", 1);
        say("a", 2);
        say("b", 1);
    }
    for (size_t i = 0; i < ENV_LOG_LIMIT_PAIRS; i++) /* as if a second had passed */
        caught.limit.pairs[i].logged_us -= caught.limit.pairs[i].logged_us > 0 ? 1000000 : 0;
    say("a", 2);
    env_log_limit_end(caught.env, &caught.limit, ENV_LOG_WARN, "test");
    env_log_limit_end(caught.env, &caught.limit, ENV_LOG_WARN, "test");
    assert_int_equal(stop(), 5);
    assert_non_null(strstr(caught.text, "\"a did 1\""));
    assert_non_null(strstr(caught.text, "\"b did 1\""));
    assert_non_null(strstr(caught.text, "\"a did 2 (and 99 more since the last such line)\""));
    assert_non_null(strstr(caught.text, "\"198 lines like those before were left out\""));
}

static void many_pairs_share_one_entry(void **state)
{
    enum { PEERS = 1000 };
    (void)state;
    start();
    for (int i = 0; i < PEERS; i++) {
        char who[32];
        (void)snprintf(who, sizeof who, "peer %d", i);
        say(who, 1);
    }
    env_log_limit_end(caught.env, &caught.limit, ENV_LOG_WARN, "test");
    assert_int_equal(stop(), ENV_LOG_LIMIT_PAIRS + 1);
    assert_non_null(strstr(caught.text, "\"984 lines like those before were left out\""));
}

static void lines_below_the_filter_do_not_count(void **state)
{
    (void)state;
    start();
    env_log_set_level(caught.env, ENV_LOG_ERROR);
    say("a", 1);
    say("a", 1);
    env_log_set_level(caught.env, ENV_LOG_WARN);
    say("a", 1);
    env_log_limit_end(caught.env, &caught.limit, ENV_LOG_WARN, "test");
    assert_int_equal(stop(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_has_one_line_a_second),
        cmocka_unit_test(many_pairs_share_one_entry),
        cmocka_unit_test(lines_below_the_filter_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
