/* Log time as leaders give it: begins with what has been applied, goes on as time does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "kv/clock.h"
#include "kv/command.h"

static void test_clock(void **state)
{
    static const struct {
        const char *what;
        uint64_t term, applied_ms, now_ms, wanted_ms;
    } steps[] = {
        {"a follower tells no time", 0, 5000, 100, 0},
        {"a term begins with what has been applied", 2, 7000, 200, 7000},
        {"time passes", 2, 7000, 500, 7300},
        {"what was proposed is applied: no news", 2, 7250, 600, 7400},
        {"another one was faster", 2, 9000, 600, 9000},
        {"from there on", 2, 9000, 700, 9100},
        {"no more a leader", 0, 9050, 5000, 0},
        {"again, long after: nobody's time has passed", 4, 9050, 90000, 9050},
        {"and on", 4, 9050, 90001, 9051},
        {"nothing was applied yet", 5, 0, 90100, 0},
        {"time passes there, too", 5, 0, 90150, 50},
    };
    struct kv_clock clock = {0};
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        uint64_t found =
            kv_clock_read(&clock, steps[i].term, steps[i].applied_ms, steps[i].now_ms * 1000);
        if (found != steps[i].wanted_ms)
            fail_msg("%s: %ju instead of %ju", steps[i].what, (uintmax_t)found,
                     (uintmax_t)steps[i].wanted_ms);
    }
}

/* Who proposes leaves the time open; who leads writes it. */
static void test_stamp(void **state)
{
    static const uint64_t times[] = {0, 1, 127, 65536, KV_CLOCK_MAX_MS};
    struct peri_buffer bytes = {NULL, 0, 0};
    struct kv_command *command = test_calloc(1, sizeof *command);
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct wire_packer out = {&bytes, 0};
        bytes.size = 0;
        kv_command_begin(&out, 8, "do");
        for (int part = 0; part < 3; part++)
            wire_pack_array(&out, 0);
        assert_int_equal(0, kv_command_stamp(&bytes, times[i]));
        assert_int_equal(0, kv_command_decode(peri_buffer_slice(&bytes), command, NULL));
        assert_int_equal(times[i], command->now_ms);
        assert_int_equal(KV_DO, command->kind);
    }
    bytes.size = 0;
    assert_int_equal(PERI_EINVAL, kv_command_stamp(&bytes, 1));
    struct wire_packer out = {&bytes, 0};
    for (int i = 0; i < 20; i++)
        wire_pack_uint(&out, 1);
    assert_int_equal(PERI_EINVAL, kv_command_stamp(&bytes, 1));
    peri_buffer_deinit(&bytes);
    test_free(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_stamp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
