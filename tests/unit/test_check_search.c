/* Reading and searching histories while memory fails, at every allocation. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "alloc.h"
#include "check/sequential.h"

enum { STEPS = 100000, MEMORY_MAX = 16 << 20, OPERATIONS_MAX = 16, ATTEMPTS_MAX = 2000 };

static int search(struct check_part *part)
{
    struct check_search *search;
    const struct check_limits limits = {NULL, CHECK_NEVER, MEMORY_MAX};
    int rc = check_search_create(&search, part, &limits);
    if (rc != 0)
        return rc;
    rc = check_search_run(search, STEPS);
    check_search_close(search);
    return rc;
}

static int search_sequential(const struct check_history *history, struct check_part *part)
{
    struct check_sequential *search;
    int rc = check_sequential_create(&search, history, part, MEMORY_MAX);
    if (rc != 0)
        return rc;
    rc = check_sequential_run(search, STEPS);
    check_sequential_close(search);
    return rc;
}

/* Replaces a part by what remains of it for all values that were asked for: that is no less wrong
 * where clients heard no others. */
static int look_closer(const struct check_history *history, struct check_part **part)
{
    check_value values[OPERATIONS_MAX];
    struct check_focus focus;
    struct check_part *seen;
    struct peri_error err = PERI_ERROR_INIT;
    for (size_t i = 0; i < history->count && i < OPERATIONS_MAX; i++)
        values[i] = history->operations[i].input;
    int rc = check_focus_init(&focus, history->values, values, history->count);
    if (rc != 0)
        return rc;
    rc = check_part_focus(&seen, history, *part, &focus, &err);
    if (rc != 0) {
        check_focus_deinit(&focus);
        return rc;
    }
    check_part_close(*part);
    *part = seen;
    return 0;
}

enum way { WHOLE, SEQUENTIAL, FOCUSED, WAYS };

/* Reads a text and judges it: a check_result, or an error. */
static int judge(const char *text, const struct check_model *model, enum way way)
{
    struct check_history history;
    struct peri_error err = PERI_ERROR_INIT;
    struct check_part *part = NULL;
    uint32_t operations[OPERATIONS_MAX];
    int rc = check_history_init(&history);
    if (rc == 0)
        rc = check_history_read(&history, CHECK_FORMAT_AUTO, peri_slice_of(text, strlen(text)),
                                &err);
    for (uint32_t i = 0; i < history.count && i < OPERATIONS_MAX; i++)
        operations[i] = i;
    if (rc == 0)
        rc = check_part_create(&part, &history, model, NULL, operations, history.count, &err);
    for (int looks = 0; rc == 0 && way == FOCUSED && looks < 2; looks++)
        rc = look_closer(&history, &part);
    if (rc == 0)
        rc = way == SEQUENTIAL ? search_sequential(&history, part) : search(part);
    check_part_close(part);
    check_history_deinit(&history);
    return rc;
}

static const struct {
    const char *text;
    const struct check_model *model;
    int result;
} CASES[] = {
    {"{:process 1, :type :invoke, :f :write, :value 1}\n{:process 2, :type :invoke, :f :read}\n"
     "{:process 2, :type :ok, :f :read, :value 1}\n{:process 1, :type :ok, :f :write}\n",
     &check_model_register, CHECK_LEGAL},
    {"x 1\t:invoke\t:cas\t[1 2]\nx 1\t:ok\t:cas\t[1 2]\n", &check_model_cas_register,
     CHECK_ILLEGAL},
    {"{:process 1 :type :invoke :f :append :value \"a\"}{\n", &check_model_kv, PERI_EFORMAT},
    {"{:process 1 :type :invoke :f :append :value \"a\"}\n{:process 1 :type :ok :f :append}\n"
     "{:process 1 :type :invoke :f :get}\n{:process 1 :type :ok :f :get :value \"a\"}\n",
     &check_model_kv, CHECK_LEGAL},
    {"{:process 1 :type :invoke :f :append :value 7}\n{:process 1 :type :ok :f :append}\n"
     "{:process 1 :type :invoke :f :read}\n{:process 1 :type :ok :f :read :value [7 8]}\n",
     &check_model_append, CHECK_ILLEGAL},
    {"{:process 1 :type :invoke :f :add :value 7}\n{:process 1 :type :ok :f :add}\n"
     "{:process 1 :type :invoke :f :read}\n{:process 1 :type :ok :f :read :value 7}\n",
     &check_model_counter, CHECK_LEGAL},
    {"{:process 1 :type :invoke :f :add :value 7}\n{:process 1 :type :ok :f :add}\n"
     "{:process 1 :type :invoke :f :read}\n{:process 1 :type :ok :f :read :value #{7}}\n",
     &check_model_set, CHECK_LEGAL},
    {"{:process 1 :type :invoke :f :enqueue :value 7}\n{:process 1 :type :ok :f :enqueue}\n"
     "{:process 1 :type :invoke :f :dequeue}\n{:process 1 :type :ok :f :dequeue :value nil}\n",
     &check_model_queue, CHECK_ILLEGAL},
    {"{:process 1 :type :invoke :f :acquire}\n{:process 1 :type :ok :f :acquire :value 3}\n"
     "{:process 1 :type :invoke :f :release}\n{:process 1 :type :ok :f :release}\n",
     &check_model_lock, CHECK_LEGAL},
};

static void test_verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        assert_int_equal(judge(CASES[i].text, CASES[i].model, WHOLE), CASES[i].result);
}

/* Without memory the answer is an error, never another verdict; nothing leaks. */
static void test_memory_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < WAYS * sizeof CASES / sizeof *CASES; i++) {
        const char *text = CASES[i / WAYS].text;
        const struct check_model *model = CASES[i / WAYS].model;
        enum way way = (enum way)(i % WAYS);
        int expected = judge(text, model, way), rc = PERI_ENOMEM;
        for (long n = 1; rc == PERI_ENOMEM && n < ATTEMPTS_MAX; n++) {
            test_alloc_fail(n);
            rc = judge(text, model, way);
            bool has_failed = test_alloc_end();
            assert_int_equal(rc, has_failed ? PERI_ENOMEM : expected);
        }
        assert_int_equal(rc, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_verdicts),
                                       cmocka_unit_test(test_memory_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
