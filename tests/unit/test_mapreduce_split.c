/* Plans: the tasks of a file cover it once; limits hold. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "mapreduce/split.h"

static struct mr_split_plan plan_of(const struct mr_split_file *files, size_t count,
                                    struct mr_split_options options)
{
    struct mr_split_plan plan;
    assert_int_equal(mr_split_plan_init(&plan, files, count, &options), 0);
    return plan;
}

static void check_cover(const struct mr_split_plan *plan, uint64_t size)
{
    uint64_t next = 0;
    for (size_t i = 0; i < plan->count; i++) {
        assert_int_equal(plan->tasks[i].offset, next);
        assert_true(plan->tasks[i].length > 0);
        assert_int_equal(plan->tasks[i].offset % plan->size_bytes, 0);
        next += plan->tasks[i].length;
    }
    assert_int_equal(next, size);
}

static void test_tasks_cover_the_file(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 9, 10, 11, 12, 100, 9999, 10000, 10001, 123456789};
    static const uint64_t splits[] = {1, 2, 3, 10, 1000, 100000, 1u << 30};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < sizeof splits / sizeof splits[0]; k++) {
            struct mr_split_file file = {"a", sizes[i], false};
            struct mr_split_plan plan =
                plan_of(&file, 1, (struct mr_split_options){.size_bytes = splits[k]});
            check_cover(&plan, sizes[i]);
            assert_true(plan.count <= MR_TASKS_MAX);
            assert_true(plan.splits >= plan.count);
            mr_split_plan_deinit(&plan);
        }
    }
}

static void test_small_splits_share_tasks(void **state)
{
    (void)state;
    struct mr_split_file files[] = {{"a", 1000, false}, {"b", 50, false}};
    struct mr_split_plan plan =
        plan_of(files, 2, (struct mr_split_options){.size_bytes = 1, .tasks_max = 10});
    assert_int_equal(plan.splits, 1050);
    assert_in_range(plan.count, 5, 10);
    assert_int_equal(plan.tasks[0].step, 1);
    assert_true(plan.tasks[0].length > 100);
    mr_split_plan_deinit(&plan);
    plan = plan_of(files, 2, (struct mr_split_options){.size_bytes = 500});
    assert_int_equal(plan.count, 3);
    assert_int_equal(plan.tasks[0].step, 0);
    mr_split_plan_deinit(&plan);
}

static void test_last_split_may_be_a_tenth_longer(void **state)
{
    (void)state;
    struct mr_split_file file = {"a", 1100, false};
    struct mr_split_plan plan = plan_of(&file, 1, (struct mr_split_options){.size_bytes = 1000});
    assert_int_equal(plan.count, 1);
    mr_split_plan_deinit(&plan);
    file.size_bytes = 1101;
    plan = plan_of(&file, 1, (struct mr_split_options){.size_bytes = 1000});
    assert_int_equal(plan.count, 2);
    mr_split_plan_deinit(&plan);
}

static void test_what_is_never_cut(void **state)
{
    (void)state;
    struct mr_split_file files[] = {{"a.gz", 5000, true}, {"empty", 0, false}, {"b", 5000, false}};
    struct mr_split_plan plan = plan_of(files, 3, (struct mr_split_options){.size_bytes = 2500});
    assert_int_equal(plan.count, 3);
    assert_true(plan.tasks[0].length == MR_SPLIT_TO_END);
    mr_split_plan_deinit(&plan);
    plan = plan_of(files, 3, (struct mr_split_options){.format = MR_FORMAT_CSV, .size_bytes = 10});
    assert_int_equal(plan.count, 2);
    assert_int_equal(plan.tasks[1].length, 5000);
    mr_split_plan_deinit(&plan);
    plan =
        plan_of(files, 3, (struct mr_split_options){.format = MR_FORMAT_FILES, .size_bytes = 10});
    assert_int_equal(plan.count, 3); /* an empty file is a record */
    mr_split_plan_deinit(&plan);
    struct mr_split_file pipe = {"-", 0, true};
    plan = plan_of(&pipe, 1, (struct mr_split_options){0});
    assert_int_equal(plan.count, 1);
    mr_split_plan_deinit(&plan);
    plan = plan_of(NULL, 0, (struct mr_split_options){0});
    assert_int_equal(plan.count, 0);
    mr_split_plan_deinit(&plan);
}

static void test_default_size_follows_workers(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        uint32_t workers;
        uint64_t size;
    } cases[] = {
        {1000, 8, (uint64_t)1 << 20},
        {(uint64_t)8 << 20, 0, (uint64_t)4 << 20}, /* two for each worker at least */
        {(uint64_t)64 << 20, 2, (uint64_t)16 << 20},
        {(uint64_t)96 << 20, 2, (uint64_t)16 << 20},  /* three */
        {(uint64_t)160 << 20, 2, (uint64_t)20 << 20}, /* and four at most */
        {(uint64_t)10 << 30, 2, (uint64_t)128 << 20},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mr_split_file file = {"a", cases[i].bytes, false};
        struct mr_split_plan plan =
            plan_of(&file, 1, (struct mr_split_options){.workers = cases[i].workers});
        assert_int_equal(plan.size_bytes, cases[i].size);
        assert_int_equal(plan.total_bytes, cases[i].bytes);
        mr_split_plan_deinit(&plan);
    }
}

static void test_every_file_is_at_least_one_task(void **state)
{
    (void)state;
    struct mr_split_file files[20];
    for (int i = 0; i < 20; i++)
        files[i] = (struct mr_split_file){"a", 100, false};
    struct mr_split_plan plan =
        plan_of(files, 20, (struct mr_split_options){.size_bytes = 1, .tasks_max = 10});
    assert_int_equal(plan.count, 20);
    mr_split_plan_deinit(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tasks_cover_the_file),
                                       cmocka_unit_test(test_small_splits_share_tasks),
                                       cmocka_unit_test(test_last_split_may_be_a_tenth_longer),
                                       cmocka_unit_test(test_what_is_never_cut),
                                       cmocka_unit_test(test_default_size_follows_workers),
                                       cmocka_unit_test(test_every_file_is_at_least_one_task)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
