/* The vocabulary of faults: names, numbers with units, ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "env/fault.h"

static void numbers_are_read_with_their_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t wanted;
        enum env_fault_unit unit;
        int rc;
    } cases[] = {
        {"20ms", 20000, ENV_FAULT_UNIT_US, 0},
        {"1.5ms", 1500, ENV_FAULT_UNIT_US, 0},
        {"0.0000015", 1, ENV_FAULT_UNIT_US, 0},
        {"7us", 7, ENV_FAULT_UNIT_US, 0},
        {"10s", 10000000, ENV_FAULT_UNIT_US, 0},
        {"1.5", 1500000, ENV_FAULT_UNIT_US, 0},
        {"2m", 120000000, ENV_FAULT_UNIT_US, 0},
        {"1h", INT64_C(3600000000), ENV_FAULT_UNIT_US, 0},
        {"-1s", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"1 s", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"s", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"1.2.3", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"1e3", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"9999999999999999", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"999999999999999h", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"-20ms", -20000, ENV_FAULT_UNIT_SIGNED_US, 0},
        {"+2s", 2000000, ENV_FAULT_UNIT_SIGNED_US, 0},
        {"0.01", 10000, ENV_FAULT_UNIT_PPM, 0},
        {"1%", 10000, ENV_FAULT_UNIT_PPM, 0},
        {"0.5%", 5000, ENV_FAULT_UNIT_PPM, 0},
        {"100ppm", 100, ENV_FAULT_UNIT_PPM, 0},
        {"-1%", 0, ENV_FAULT_UNIT_PPM, PERI_EINVAL},
        {"-200ppm", -200, ENV_FAULT_UNIT_SIGNED_PPM, 0},
        {"4KiB", 4096, ENV_FAULT_UNIT_BYTES, 0},
        {"1.5MB", 1500000, ENV_FAULT_UNIT_BYTES, 0},
        {"2GiB", INT64_C(2147483648), ENV_FAULT_UNIT_BYTES, 0},
        {"12", 12, ENV_FAULT_UNIT_BYTES, 0},
        {"12XB", 0, ENV_FAULT_UNIT_BYTES, PERI_EINVAL},
        {"10MB/s", 10000000, ENV_FAULT_UNIT_BYTES_PER_S, 0},
        {"10MB", 10000000, ENV_FAULT_UNIT_BYTES_PER_S, 0},
        {"3", 3, ENV_FAULT_UNIT_COUNT, 0},
        {"3%", 0, ENV_FAULT_UNIT_COUNT, PERI_EINVAL},
        {"2.5", 0, ENV_FAULT_UNIT_COUNT, PERI_EINVAL},
        {"0", 0, ENV_FAULT_UNIT_PPM, 0},
        {"0.00%", 0, ENV_FAULT_UNIT_PPM, 0},
        {"0.00005%", 0, ENV_FAULT_UNIT_PPM, PERI_EINVAL},
        {"0.9us", 0, ENV_FAULT_UNIT_US, PERI_EINVAL},
        {"-0.9us", 0, ENV_FAULT_UNIT_SIGNED_US, PERI_EINVAL},
        {"on", 1, ENV_FAULT_UNIT_FLAG, 0},
        {"off", 0, ENV_FAULT_UNIT_FLAG, 0},
        {"yes", 0, ENV_FAULT_UNIT_FLAG, PERI_EINVAL},
        {"1", 0, ENV_FAULT_UNIT_NONE, PERI_EINVAL},
        {"1ms", 0, ENV_FAULT_UNIT_DELAY, PERI_EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_slice text = {cases[i].text, strlen(cases[i].text)};
        struct peri_error err = PERI_ERROR_INIT;
        int64_t number = 0;
        assert_int_equal(env_fault_parse(cases[i].unit, text, &number, &err), cases[i].rc);
        if (cases[i].rc == 0)
            assert_int_equal(number, cases[i].wanted);
        else
            assert_true(strstr(err.text, "is not") != NULL ||
                        strstr(err.text, "is too small for") != NULL);
    }
}

static void values_are_written_as_they_are_read(void **state)
{
    (void)state;
    static const struct {
        enum env_fault_unit unit;
        struct env_fault_value value;
        const char *wanted;
    } cases[] = {
        {ENV_FAULT_UNIT_NONE, {.number = 7}, ""},
        {ENV_FAULT_UNIT_FLAG, {.number = 1}, "on"},
        {ENV_FAULT_UNIT_COUNT, {.number = 3}, "3"},
        {ENV_FAULT_UNIT_PPM, {.number = 10000}, "1%"},
        {ENV_FAULT_UNIT_PPM, {.number = 0}, "0%"},
        {ENV_FAULT_UNIT_SIGNED_PPM, {.number = -200}, "-0.02%"},
        {ENV_FAULT_UNIT_US, {.number = 0}, "0"},
        {ENV_FAULT_UNIT_US, {.number = 90000000}, "90s"},
        {ENV_FAULT_UNIT_SIGNED_US, {.number = -7200000000}, "-2h"},
        {ENV_FAULT_UNIT_BYTES, {.number = 65536}, "64KiB"},
        {ENV_FAULT_UNIT_BYTES, {.number = 5000000}, "5MB"},
        {ENV_FAULT_UNIT_BYTES_PER_S, {.number = 1500000}, "1500kB/s"},
        {ENV_FAULT_UNIT_DELAY, {.delay = {ENV_DELAY_CONSTANT, 1000, 1000, 0}}, "constant 1ms"},
        {ENV_FAULT_UNIT_DELAY, {.delay = {ENV_DELAY_UNIFORM, 500, 1000, 0}}, "uniform 500us 1ms"},
        {ENV_FAULT_UNIT_DELAY,
         {.delay = {ENV_DELAY_LONG_TAIL, 0, 2000, 1000000}},
         "long_tail 0 2ms 1s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[ENV_FAULT_TEXT_SIZE];
        env_fault_format(cases[i].unit, &cases[i].value, text);
        assert_string_equal(text, cases[i].wanted);
    }
}

static void every_fault_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int fault = 0; fault < ENV_FAULT_COUNT; fault++) {
        const struct env_fault_info *info = env_fault_info((enum env_fault)fault);
        assert_int_equal(env_fault_from_name(info->name), fault);
        assert_true(info->min <= info->max);
        assert_true(strlen(info->text) > 10 && strlen(env_fault_unit_name(info->unit)) > 0);
    }
    assert_int_equal(env_fault_from_name("earthquake"), PERI_EINVAL);
    assert_int_equal(env_delay_shape_from_name("exponential"), ENV_DELAY_EXPONENTIAL);
    assert_int_equal(env_delay_shape_from_name("gauss"), PERI_EINVAL);
}

static void values_stay_in_range(void **state)
{
    (void)state;
    static const struct {
        enum env_fault fault;
        struct env_fault_value value;
        const char *complaint; /* or NULL */
    } cases[] = {
        {ENV_FAULT_LOSS, {.number = 1000000}, NULL},
        {ENV_FAULT_LOSS, {.number = 1000001}, "a share of 100.0001% is outside 0% .. 100%"},
        {ENV_FAULT_LOSS, {.number = -1}, "a share of -0.0001%"},
        {ENV_FAULT_CUT, {.number = 2}, "a flag of 2"},
        {ENV_FAULT_CLOCK_DRIFT, {.number = -500000}, NULL},
        {ENV_FAULT_CLOCK_DRIFT,
         {.number = -500001},
         "a signed share of -50.0001% is outside -50% .. 100%"},
        {ENV_FAULT_DISK_STALL, {.number = -1500}, "a time of -1500us is outside 0 .. 1h"},
        {ENV_FAULT_DISK_CAPACITY, {.number = -2048}, "a size of -2KiB"},
        {ENV_FAULT_BANDWIDTH, {.number = INT64_C(2000000000000)}, "outside 0 .. 1000GB/s"},
        {ENV_FAULT_CRASH, {.number = 77}, NULL},
        {ENV_FAULT_LATENCY, {.delay = {ENV_DELAY_UNIFORM, 10, 20, 0}}, NULL},
        {ENV_FAULT_LATENCY, {.delay = {ENV_DELAY_UNIFORM, 20000, 10, 0}}, "uniform 20ms 10us: the"},
        {ENV_FAULT_LATENCY, {.delay = {ENV_DELAY_EXPONENTIAL, 20, 10, 0}}, NULL},
        {ENV_FAULT_LATENCY, {.delay = {ENV_DELAY_CONSTANT, UINT64_MAX, 0, 0}}, "more than 1h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_error err = PERI_ERROR_INIT;
        int rc = env_fault_check(cases[i].fault, &cases[i].value, &err);
        assert_int_equal(rc, cases[i].complaint != NULL ? PERI_EINVAL : 0);
        if (cases[i].complaint != NULL)
            assert_non_null(strstr(err.text, cases[i].complaint));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_with_their_units),
        cmocka_unit_test(values_are_written_as_they_are_read),
        cmocka_unit_test(every_fault_has_a_name_of_its_own),
        cmocka_unit_test(values_stay_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
