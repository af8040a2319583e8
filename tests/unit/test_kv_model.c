/* The key/value store compared with a model that is obviously right: random commands, and after
 * each of them questions about the present, the past and the events in between. Answers are
 * compared byte by byte. And the same with memory that runs out at any place: nobody is told
 * anything else then, nothing has happened, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>

#include "alloc.h"
#include "kv_model.h"

enum { SEEDS = 150, SEEDS_STARVED = 20, COMMANDS_STARVED = 150 };

static struct kv_model model;
static struct kv_store store;
static struct peri_buffer actual, bytes;

/* ---- comparing ---- */

static void check(int rc, int expected_rc, const struct peri_error *err)
{
    if (rc != expected_rc)
        fail_msg("%s (%s), not %s", peri_error_name(rc), err->text, peri_error_name(expected_rc));
    assert_int_equal(rc != 0, err->text[0] != '\0');
    if (rc == 0)
        assert_int_equal(
            peri_slice_compare(peri_buffer_slice(&actual), peri_buffer_slice(&model.expected)), 0);
}

static void apply(const struct kv_command *command)
{
    struct peri_error err = PERI_ERROR_INIT;
    bytes.size = 0;
    kv_store_encode(command, &bytes);
    int expected_rc = kv_model_apply(&model, command);
    check(kv_store_apply(&store, peri_buffer_slice(&bytes), &actual, &err), expected_rc, &err);
}

static void ask(const struct kv_query *query)
{
    struct peri_error err = PERI_ERROR_INIT;
    bytes.size = 0;
    kv_store_encode_query(query, &bytes);
    int expected_rc = kv_model_ask(&model, query);
    check(kv_store_ask(&store, peri_buffer_slice(&bytes), &actual, &err), expected_rc, &err);
}

static void run_command(enum kv_kind kind, uint64_t number)
{
    static struct kv_command command;
    command = (struct kv_command){.kind = kind, .now_ms = model.now_ms, .number = number};
    apply(&command);
}

/* Nothing is left on disk that nobody can ask for. */
static void check_rest(void)
{
    static struct kv_command command;
    size_t keys = 0;
    run_command(KV_COMPACT, model.is.revision);
    (void)kv_store_sweep(&store);
    for (int key = 0; key < KV_MODEL_KEYS; key++)
        keys += model.is.now[key].revision != 0;
    assert_int_equal(kv_store_count(&store, 'k'), keys);
    assert_int_equal(kv_store_count(&store, 'e'), keys);
    assert_int_equal(kv_store_count(&store, 'v'), keys);
    command = (struct kv_command){.kind = KV_DO, .now_ms = model.now_ms, .then_count = 1};
    command.then[0] =
        (struct kv_operation){.kind = KV_DELETE_RANGE, .bounds = {.limit = KV_MODEL_KEYS}};
    apply(&command);
    model.now_ms += 1000000;
    run_command(KV_TICK, 0);
    run_command(KV_COMPACT, model.is.revision);
    (void)kv_store_sweep(&store);
    for (const char *tag = "keavlsd"; *tag != '\0'; tag++)
        assert_int_equal(kv_store_count(&store, *tag), 0);
}

static void begin(uint64_t seed)
{
    store = (struct kv_store){.random = seed * 7919};
    kv_model_begin(&model, &store);
}

static void end(void)
{
    kv_model_end(&model);
    kv_store_deinit(&store);
    peri_buffer_deinit(&actual);
    peri_buffer_deinit(&bytes);
}

/* ---- the tests ---- */

static void test_model(void **state)
{
    static struct kv_command command;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        print_message("seed %" PRIu64 "\n", seed);
        begin(seed);
        for (int i = 0; i < KV_MODEL_COMMANDS; i++) {
            kv_model_draw_command(&model, &command);
            apply(&command);
            if (kv_store_draw(&store, 20) == 0) /* whenever it comes, no answer is another one */
                (void)kv_store_sweep(&store);
            for (uint64_t questions = kv_store_draw(&store, 3); questions > 0; questions--) {
                struct kv_query query = kv_model_draw_query(&model);
                ask(&query);
            }
        }
        check_rest();
        assert_true(store.runs > 2 * KV_MODEL_COMMANDS); /* many have begun again */
        end();
    }
}

static int run_dry(bool is_query, struct peri_error *err)
{
    uint64_t random = store.random;
    store.is_dry = true;
    int rc =
        (is_query ? kv_store_ask : kv_store_apply)(&store, peri_buffer_slice(&bytes), &actual, err);
    store.is_dry = false;
    store.random = random;
    return rc;
}

/* Runs a command or a query with the n-th allocation failing, for all n up to where none fails any
 * more: it is PERI_ENOMEM, or has the outcome and the effect that it has with enough memory. */
static void starve(bool is_query, int expected_rc, unsigned *failures)
{
    struct peri_error err = PERI_ERROR_INIT;
    check(run_dry(is_query, &err), expected_rc, &err);
    uint64_t effect = store.effect;
    bool has_failed = true;
    for (long n = 1; has_failed; n++) {
        peri_buffer_deinit(&actual); /* so that it grows each time */
        test_alloc_fail(n);
        int rc = run_dry(is_query, &err);
        has_failed = test_alloc_end();
        *failures += rc == PERI_ENOMEM;
        if (rc == PERI_ENOMEM && has_failed)
            continue;
        check(rc, expected_rc, &err);
        assert_true(is_query || store.effect == effect);
    }
}

static void test_starved(void **state)
{
    static struct kv_command command;
    unsigned failures = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS_STARVED; seed++) {
        begin(seed * 104729);
        store.spare = test_alloc_spare;
        for (int i = 0; i < COMMANDS_STARVED; i++) {
            kv_model_draw_command(&model, &command);
            bytes.size = 0;
            kv_store_encode(&command, &bytes);
            int expected_rc = kv_model_apply(&model, &command);
            struct peri_error err = PERI_ERROR_INIT;
            starve(false, expected_rc, &failures);
            check(kv_store_apply(&store, peri_buffer_slice(&bytes), &actual, &err), expected_rc,
                  &err);
            struct kv_query query = kv_model_draw_query(&model);
            bytes.size = 0;
            kv_store_encode_query(&query, &bytes);
            starve(true, kv_model_ask(&model, &query), &failures);
        }
        end();
    }
    print_message("%u commands and queries ended for want of memory\n", failures);
    assert_true(failures > 4 * SEEDS_STARVED * COMMANDS_STARVED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model),
                                       cmocka_unit_test(test_starved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
