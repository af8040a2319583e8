/* Commands that cannot be: each is refused by name, and has no effect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv_store.h"
#include "wire/pack.h"

static struct kv_store store;
static struct peri_buffer bytes, out;
static struct peri_error err;
static struct kv_command command;
static char large[KV_VALUE_MAX + 1];

static int set_up(void **state)
{
    (void)state;
    store = (struct kv_store){.random = 1};
    command = (struct kv_command){.kind = KV_DO};
    memset(large, 'x', sizeof large);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kv_store_deinit(&store);
    peri_buffer_deinit(&bytes);
    peri_buffer_deinit(&out);
    return 0;
}

static int apply(void)
{
    bytes.size = 0;
    kv_store_encode(&command, &bytes);
    return kv_store_apply(&store, peri_buffer_slice(&bytes), &out, &err);
}

/* The same, alone: what the test set up for it is gone afterwards. */
static int apply_once(void)
{
    int rc = apply();
    command = (struct kv_command){.kind = KV_DO};
    return rc;
}

static int ask(struct kv_query query)
{
    bytes.size = 0;
    kv_store_encode_query(&query, &bytes);
    return kv_store_ask(&store, peri_buffer_slice(&bytes), &out, &err);
}

static int run(enum kv_kind kind, uint64_t number)
{
    command.kind = kind;
    command.number = number;
    return apply_once();
}

static struct kv_operation *add(enum kv_operation_kind kind, struct peri_slice key,
                                struct peri_slice value)
{
    struct kv_operation *operation = &command.then[command.then_count++];
    *operation = (struct kv_operation){
        .kind = kind, .key = key, .value = value, .bounds = {.limit = KV_RANGE_MAX}};
    return operation;
}

static void put(const char *key, struct peri_slice value)
{
    (void)add(KV_PUT, kv_text(key), value);
    assert_int_equal(apply_once(), 0);
}

static struct peri_slice large_of(size_t size)
{
    return peri_slice_of(large, size);
}

static void expect(int rc, int expected, const char *part)
{
    if (rc != expected || strstr(err.text, part) == NULL)
        fail_msg("%s (%s), not %s (%s)", peri_error_name(rc), err.text, peri_error_name(expected),
                 part);
}

/* ---- what is malformed ---- */

static void test_cut(void **state)
{
    struct peri_buffer whole = {NULL, 0, 0};
    (void)state;
    command.compare_count = 1;
    command.compares[0] =
        (struct kv_compare){.target = KV_VALUE, .key = kv_text("key"), .value = kv_text("value")};
    for (int kind = 0; kind < KV_OPERATIONS; kind++)
        (void)add((enum kv_operation_kind)kind, kv_text("key"), kv_text("1"));
    kv_store_encode(&command, &whole);
    for (size_t size = 0; size < whole.size; size++) {
        expect(kv_store_apply(&store, peri_slice_of(whole.data, size), &out, &err), PERI_EINVAL,
               "malformed");
        assert_int_equal(kv_store_count(&store, 'm'), 0);
    }
    assert_int_equal(kv_store_apply(&store, peri_buffer_slice(&whole), &out, &err), 0);
    assert_int_equal(peri_buffer_append(&whole, "", 1), 0);
    expect(kv_store_apply(&store, peri_buffer_slice(&whole), &out, &err), PERI_EINVAL, "malformed");
    peri_buffer_deinit(&whole);
}

/* Replaces a word in the bytes of the command, which has the same length. */
static int apply_with(const char *word, const char *other)
{
    bytes.size = 0;
    kv_store_encode(&command, &bytes);
    char *at = memmem(bytes.data, bytes.size, word, strlen(word));
    assert_non_null(at);
    memcpy(at, other, strlen(word));
    return kv_store_apply(&store, peri_buffer_slice(&bytes), &out, &err);
}

static void test_words(void **state)
{
    (void)state;
    command.compare_count = 1;
    command.compares[0] = (struct kv_compare){.key = kv_text("key"), .relation = KV_UNEQUAL};
    (void)add(KV_GET, kv_text("key"), kv_text(""));
    expect(apply_with("do", "od"), PERI_EINVAL, "there is no command");
    expect(apply_with("get", "got"), PERI_EINVAL, "there is no operation");
    expect(apply_with("revision", "revisior"), PERI_EINVAL, "there is no target");
    expect(apply_with("!=", "=="), PERI_EINVAL, "there is no relation");
    expect(apply_with("get", "put"), PERI_EINVAL, "");
    bytes.size = 0;
    kv_store_encode(&command, &bytes);
    bytes.data[1] = 2;
    expect(kv_store_apply(&store, peri_buffer_slice(&bytes), &out, &err), PERI_EVERSION,
           "version 1");
    bytes.size = 0;
    kv_store_encode_query(&(struct kv_query){.kind = KV_ASK_STATUS}, &bytes);
    bytes.data[4] = 'S';
    expect(kv_store_ask(&store, peri_buffer_slice(&bytes), &out, &err), PERI_EINVAL,
           "there is no query");
}

/* ---- what is too large ---- */

static void test_sizes(void **state)
{
    (void)state;
    (void)add(KV_PUT, kv_text(""), kv_text("value"));
    expect(apply_once(), PERI_EINVAL, "at least one byte");
    (void)add(KV_PUT, large_of(KV_KEY_MAX + 1), kv_text("value"));
    expect(apply_once(), PERI_ETOOBIG, "a key has at most 1024 bytes, not 1025");
    (void)add(KV_PUT, large_of(KV_KEY_MAX), kv_text("value"));
    expect(apply_once(), 0, "");
    (void)add(KV_PUT, kv_text("a"), large_of(KV_VALUE_MAX + 1));
    expect(apply_once(), PERI_ETOOBIG, "a value has at most");
    add(KV_RANGE, kv_text(""), kv_text(""))->bounds.limit = 0;
    expect(apply_once(), PERI_ETOOBIG, "a limit of 1 to 1000");
    add(KV_RANGE, kv_text(""), kv_text(""))->bounds.limit = KV_RANGE_MAX + 1;
    expect(apply_once(), PERI_ETOOBIG, "a limit of 1 to 1000");
    add(KV_RANGE, kv_text(""), kv_text(""))->bounds.flags = 4;
    expect(apply_once(), PERI_EINVAL, "flags");
    expect(run(KV_OPEN, KV_TTL_MIN_MS - 1), PERI_EINVAL, "a ttl is");
    expect(run(KV_GRANT, (uint64_t)KV_TTL_MAX_MS + 1), PERI_EINVAL, "a ttl is");
    command.now_ms = KV_CLOCK_MAX_MS + 1;
    expect(run(KV_TICK, 0), PERI_EINVAL, "no clock says");
    expect(ask((struct kv_query){
               .kind = KV_ASK_EVENTS, .bounds = {.limit = 1}, .number = (uint64_t)UINT32_MAX + 1}),
           PERI_EINVAL, "no command has");
}

/* A list that says it has 129 items. */
static void test_counts(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        struct wire_packer packer = {&bytes, 0};
        bytes.size = 0;
        wire_pack_array(&packer, 8);
        for (int i = 0; i < 4; i++)
            wire_pack_uint(&packer, i == 0 ? KV_COMMAND_VERSION : 0);
        wire_pack_bytes(&packer, kv_text("do"));
        for (int list = 0; list < 3; list++) {
            wire_pack_array(&packer, list == which ? KV_OPERATIONS_MAX + 1 : 0);
            for (int i = 0; i <= KV_OPERATIONS_MAX && list == which; i++)
                wire_pack_nil(&packer);
        }
        expect(kv_store_apply(&store, peri_buffer_slice(&bytes), &out, &err), PERI_ETOOBIG,
               "at most 128");
    }
}

/* ---- what cannot be done ---- */

static void test_values(void **state)
{
    (void)state;
    put("word", kv_text("word"));
    put("large", kv_text("9223372036854775807"));
    put("full", large_of(KV_VALUE_MAX));
    (void)add(KV_PUT, kv_text("new"), kv_text("value"));
    add(KV_INCREMENT, kv_text("word"), kv_text(""))->delta = 1;
    expect(apply_once(), PERI_EINVAL, "no integer");
    add(KV_INCREMENT, kv_text("large"), kv_text(""))->delta = 1;
    expect(apply_once(), PERI_EINVAL, "64 bits");
    (void)add(KV_APPEND, kv_text("full"), kv_text("x"));
    expect(apply_once(), PERI_ETOOBIG, "a value has at most");
    (void)add(KV_GET, kv_text("full"), kv_text(""));
    expect(apply_once(), 0, "");
    (void)add(KV_GET, kv_text("full"), kv_text(""));
    (void)add(KV_GET, kv_text("full"), kv_text(""));
    expect(apply_once(), PERI_ETOOBIG, "the result of a command");
    for (int i = 0; i < 9; i++)
        (void)add(KV_APPEND, kv_text("word"), large_of(900000));
    expect(apply_once(), PERI_ETOOBIG, "writes at most");
    assert_int_equal(kv_store_count(&store, 'k'), 3); /* nothing of it has happened */
    assert_int_equal(kv_store_count(&store, 'e'), 3);
}

static void test_time(void **state)
{
    (void)state;
    put("key", kv_text("1"));
    put("key", kv_text("2"));
    expect(run(KV_COMPACT, 3), PERI_EINVAL, "still to come");
    expect(run(KV_COMPACT, 2), 0, "");
    struct kv_query query = {.kind = KV_ASK_KEY, .bounds = {.from = kv_text("key")}, .revision = 1};
    expect(ask(query), PERI_ECOMPACTED, "history begins at 2");
    query = (struct kv_query){.kind = KV_ASK_RANGE, .bounds = {.limit = 1}, .revision = 1};
    expect(ask(query), PERI_ECOMPACTED, "history begins at 2");
    query = (struct kv_query){.kind = KV_ASK_EVENTS, .bounds = {.limit = 1}, .revision = 2};
    expect(ask(query), PERI_ECOMPACTED, "history begins at 3");
    query.revision = 7; /* that has to be waited for */
    expect(ask(query), 0, "");
    query =
        (struct kv_query){.kind = KV_ASK_KEY, .bounds = {.from = kv_text("key")}, .revision = 3};
    expect(ask(query), PERI_EINVAL, "still to come");
}

/* ---- sessions and leases ---- */

static void test_sessions(void **state)
{
    (void)state;
    command.session = 1;
    expect(apply_once(), PERI_EINVAL, "both 0, or neither");
    expect(run(KV_CLOSE, 0), PERI_EINVAL, "belongs to a session");
    expect(run(KV_RESOLVE, 0), PERI_EINVAL, "belongs to a session");
    command.session = command.sequence = 1;
    expect(apply_once(), PERI_ESESSION, "no session 1");
    expect(run(KV_OPEN, 1000), 0, "");
    command.session = command.sequence = 1;
    command.now_ms = 999;
    expect(apply_once(), 0, ""); /* which prolongs it */
    command.session = 1;
    command.sequence = 3;
    command.now_ms = 1998;
    expect(run(KV_RESOLVE, 0), 0, "");
    command.session = 1;
    command.sequence = 3;
    expect(apply_once(), PERI_ESESSION, "given up");
    command.session = 1;
    command.sequence = 2;
    expect(apply_once(), PERI_EINVAL, "comes after 3");
    command.session = 1;
    command.sequence = 4;
    command.now_ms = 2998;
    expect(apply_once(), PERI_ESESSION, "it has ended");
}

static void test_leases(void **state)
{
    (void)state;
    expect(run(KV_KEEP, 1), PERI_ELEASE, "no such lease");
    expect(run(KV_REVOKE, 1), PERI_ELEASE, "no such lease");
    add(KV_PUT, kv_text("key"), kv_text(""))->lease = 1;
    expect(apply_once(), PERI_ELEASE, "no such lease");
    expect(run(KV_GRANT, 1000), 0, "");
    add(KV_PUT, kv_text("key"), kv_text(""))->lease = 1;
    expect(apply_once(), 0, "");
    command.now_ms = 1000;
    expect(run(KV_KEEP, 1), PERI_ELEASE, "it has ended");
    command.now_ms = 1000;
    expect(run(KV_TICK, 0), 0, "");
    assert_int_equal(kv_store_count(&store, 'k'), 0);
}

/* Puts count keys with long names, 128 a command, on that lease. */
static void put_many(int count, uint64_t lease)
{
    static char keys[KV_OPERATIONS_MAX][KV_KEY_MAX];
    for (int i = 0; i < count; i++) {
        char *key = keys[i % KV_OPERATIONS_MAX];
        memset(key, 0, KV_KEY_MAX); /* escaped, it is twice as long */
        (void)snprintf(key, KV_KEY_MAX, "%06d", i);
        add(KV_PUT, peri_slice_of(key, KV_KEY_MAX), kv_text(""))->lease = lease;
        if (command.then_count == KV_OPERATIONS_MAX || i + 1 == count)
            assert_int_equal(apply_once(), 0);
    }
}

/* A lease with as many and as long keys as can be still ends, with all of them. */
static void test_lease_keys(void **state)
{
    (void)state;
    expect(run(KV_GRANT, 1000), 0, "");
    put_many(KV_LEASE_KEYS_MAX, 1);
    add(KV_PUT, kv_text("one more"), kv_text(""))->lease = 1;
    expect(apply_once(), PERI_ETOOBIG, "a lease has at most");
    command.now_ms = 5000;
    expect(run(KV_TICK, 0), 0, "");
    assert_int_equal(kv_store_count(&store, 'k'), 0);
    assert_int_equal(kv_store_count(&store, 'a'), 0);
}

/* A command may change so many keys, and what it leaves can be swept. */
static void test_changes(void **state)
{
    (void)state;
    put_many(KV_CHANGES_MAX + 1, 0);
    for (int i = 0; i < 9; i++)
        (void)add(KV_DELETE_RANGE, kv_text(""), kv_text(""));
    expect(apply_once(), PERI_ETOOBIG, "a command changes at most");
    assert_int_equal(kv_store_count(&store, 'k'), KV_CHANGES_MAX + 1);
    for (int i = 0; i < 8; i++)
        (void)add(KV_DELETE_RANGE, kv_text(""), kv_text(""));
    expect(apply_once(), 0, "");
    kv_store_lay(&store);
    expect(run(KV_COMPACT, 66), 0, "");
    assert_true(kv_store_sweep(&store) > 1);
    assert_int_equal(kv_store_count(&store, 'k'), KV_CHANGES_MAX + 1 - 8 * KV_RANGE_MAX);
    assert_int_equal(kv_store_count(&store, 'e'), KV_CHANGES_MAX + 1 - 8 * KV_RANGE_MAX);
    assert_int_equal(kv_store_count(&store, 'v'), KV_CHANGES_MAX + 1 - 8 * KV_RANGE_MAX);
}

/* Of history that is compacted before a round lays it, only the last event of a key is laid; the
 * sweep finds what was laid before that. */
static void test_never_laid(void **state)
{
    (void)state;
    store.lays_late = true;
    put("key", kv_text("laid"));
    kv_store_lay(&store);
    for (int i = 0; i < 40; i++)
        put("key", kv_text("value"));
    put("new", kv_text("value"));
    (void)add(KV_DELETE, kv_text("new"), kv_text(""));
    expect(apply_once(), 0, "");
    expect(run(KV_COMPACT, 43), 0, "");
    assert_int_equal(kv_store_count(&store, 'e'), 2);
    assert_int_equal(kv_store_count(&store, 'v'), 2);
    (void)kv_store_sweep(&store);
    assert_int_equal(kv_store_count(&store, 'e'), 1);
    assert_int_equal(kv_store_count(&store, 'v'), 1);
}

/* Values so large that few of them are read at once: ranges, events and sweeps go on. */
static void test_large_values(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++)
        put("key", large_of(KV_VALUE_MAX));
    struct kv_query query = {.kind = KV_ASK_EVENTS, .bounds = {.limit = 100}, .revision = 1};
    expect(ask(query), 0, "");
    assert_true(out.size > KV_VALUE_MAX && out.size < 3 * (size_t)KV_VALUE_MAX);
    kv_store_lay(&store);
    expect(ask(query), 0, "");
    assert_true(out.size > KV_VALUE_MAX && out.size < 3 * (size_t)KV_VALUE_MAX);
    expect(run(KV_COMPACT, 12), 0, "");
    assert_true(kv_store_sweep(&store) > 2);
    assert_int_equal(kv_store_count(&store, 'e'), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sessions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lease_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_never_laid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_values, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
