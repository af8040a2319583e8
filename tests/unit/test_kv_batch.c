/* Batches: commands that come together do what they do when they come one by one, down to the last
 * key on disk: those that fail in the middle, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "kv_store.h"
#include "wire/pack.h"

enum { ROUNDS = 400, PARTS_MAX = 12, OPERATIONS = 4 };

static struct kv_store alone, together;
static struct peri_buffer part, batch, out, expected;
static struct peri_error err;
static struct kv_command command;

static int tear_down(void **state)
{
    (void)state;
    kv_store_deinit(&alone);
    kv_store_deinit(&together);
    peri_buffer_deinit(&part);
    peri_buffer_deinit(&batch);
    peri_buffer_deinit(&out);
    peri_buffer_deinit(&expected);
    return 0;
}

static uint64_t draw(uint64_t below)
{
    return kv_store_draw(&alone, below);
}

/* Many of them fail: numbers are added to texts, and leases are not there. */
static struct kv_operation draw_operation(void)
{
    static const enum kv_operation_kind kinds[] = {
        KV_GET, KV_PUT, KV_DELETE, KV_APPEND,  KV_INCREMENT, KV_SET,      KV_SET,
        KV_TTL, KV_SET, KV_EXPIRE, KV_PERSIST, KV_INCREMENT, KV_ADD_FLOAT};
    static const char *const keys[] = {"a", "b", "c", "d"}, *const values[] = {"1", "2.5", "x"};
    struct kv_operation operation = {.kind = kinds[draw(sizeof kinds / sizeof kinds[0])],
                                     .key = kv_text(keys[draw(4)]),
                                     .value = kv_text(values[draw(3)]),
                                     .delta = (int64_t)draw(3) * 700};
    operation.lease = operation.kind == KV_PUT && draw(8) == 0 ? 77 : 0;
    if (operation.kind == KV_SET)
        operation.flags = draw(3) == 0 ? KV_IF_ABSENT : draw(2) == 0 ? KV_GIVE_OLD : 0;
    return operation;
}

static void draw_command(uint64_t now_ms)
{
    command = (struct kv_command){.kind = KV_DO, .now_ms = now_ms};
    command.compare_count = draw(3) == 0;
    command.compares[0] = (struct kv_compare){
        .target = KV_VERSION, .relation = KV_LESS, .key = kv_text("a"), .number = draw(5)};
    command.then_count = 1 + (uint32_t)draw(OPERATIONS);
    command.else_count = (uint32_t)draw(2);
    for (uint32_t i = 0; i < command.then_count; i++)
        command.then[i] = draw_operation();
    command.otherwise[0] = draw_operation();
}

/* What stands behind the head of the command, or behind revision and clock of a result. */
static struct peri_slice behind_head(const struct peri_buffer *whole, bool is_command)
{
    struct wire_unpacker in = wire_unpack(peri_buffer_slice(whole));
    (void)wire_unpack_array(&in);
    for (int i = 0; i < (is_command ? 4 : 2); i++)
        (void)wire_unpack_uint(&in);
    if (is_command)
        (void)wire_unpack_bytes(&in);
    assert_int_equal(0, in.rc);
    return peri_slice_of(in.at, (size_t)(in.end - in.at));
}

/* Applies the command alone; its result, or error, is what the batch has to give for it. */
static void apply_alone(void)
{
    struct wire_packer list = {&expected, 0};
    int rc = kv_store_apply(&alone, peri_buffer_slice(&part), &out, &err);
    wire_pack_array(&list, 2);
    wire_pack_int(&list, rc);
    wire_pack_bytes(&list, rc == 0 ? behind_head(&out, false) : kv_text(err.text));
    assert_int_equal(0, list.rc);
}

/* The hash tells them apart: it is of commands. */
static void assert_same_value(const struct node_keymap_entry *one,
                              const struct node_keymap_entry *other)
{
    struct kv_meta metas[2];
    struct kv_name name;
    kv_name_meta(&name);
    if (peri_slice_compare(node_keymap_key(one), kv_name_slice(&name)) != 0) {
        assert_int_equal(0, peri_slice_compare(node_keymap_value(one), node_keymap_value(other)));
        return;
    }
    assert_int_equal(0, kv_meta_get(node_keymap_value(one), &metas[0]));
    assert_int_equal(0, kv_meta_get(node_keymap_value(other), &metas[1]));
    assert_true(metas[0].hash != 0 && metas[1].hash != 0);
    metas[0].hash = metas[1].hash = 0;
    assert_memory_equal(&metas[0], &metas[1], sizeof metas[0]);
}

static void assert_same_keys(void)
{
    kv_store_lay(&alone);
    kv_store_lay(&together);
    const struct node_keymap_entry *one = alone.keys.heads[0], *other = together.keys.heads[0];
    while (one != NULL && other != NULL) {
        assert_int_equal(0, peri_slice_compare(node_keymap_key(one), node_keymap_key(other)));
        assert_same_value(one, other);
        one = one->next[0];
        other = other->next[0];
    }
    assert_true(one == NULL && other == NULL);
}

static struct wire_packer begin_batch(uint64_t now_ms, uint32_t count)
{
    struct wire_packer packer = {&batch, 0};
    batch.size = expected.size = 0;
    kv_command_begin(&packer, 6, "batch");
    assert_int_equal(0, kv_command_stamp(&batch, now_ms));
    wire_pack_array(&packer, count);
    return packer;
}

static void add_part(struct wire_packer *packer)
{
    part.size = 0;
    kv_store_encode(&command, &part);
    struct peri_slice rest = behind_head(&part, true);
    wire_pack_array(packer, 3);
    assert_int_equal(0, packer->rc);
    assert_int_equal(0, peri_buffer_append(&batch, rest.data, rest.size));
}

static void test_like_alone(void **state)
{
    (void)state;
    alone = (struct kv_store){.random = 11};
    together = (struct kv_store){.random = 12};
    unsigned failed = 0;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint32_t count = (uint32_t)draw(PARTS_MAX);
        bool are_same =
            false; /* but for log time, which a command alone that fails does not move */
        struct wire_packer packer = begin_batch(100 * round, count);
        for (uint32_t i = 0; i < count; i++) {
            draw_command(100 * round);
            add_part(&packer);
            apply_alone();
            failed += err.code != 0;
            are_same = are_same || err.code == 0;
        }
        assert_int_equal(0, kv_store_apply(&together, peri_buffer_slice(&batch), &out, &err));
        struct wire_unpacker in = wire_unpack(behind_head(&out, false));
        assert_int_equal(count, wire_unpack_array(&in));
        assert_int_equal(0, peri_slice_compare(peri_slice_of(in.at, (size_t)(in.end - in.at)),
                                               peri_buffer_slice(&expected)));
        if (are_same)
            assert_same_keys();
    }
    assert_in_range(failed, ROUNDS / 10, ROUNDS * PARTS_MAX);
}

/* A batch that has done much stops: what it did has a result, and the rest has not happened. */
static void test_stops(void **state)
{
    enum { COUNT = 6 };
    static char large[4 << 20];
    (void)state;
    together = (struct kv_store){.random = 5};
    memset(large, 'x', sizeof large);
    command = (struct kv_command){.kind = KV_DO, .then_count = 1};
    struct wire_packer packer = begin_batch(1, COUNT);
    for (int i = 0; i < COUNT; i++) {
        command.then[0] = (struct kv_operation){.kind = KV_APPEND,
                                                .key = kv_text(i % 2 ? "a" : "b"),
                                                .value = peri_slice_of(large, sizeof large / 2)};
        add_part(&packer);
    }
    assert_int_equal(0, kv_store_apply(&together, peri_buffer_slice(&batch), &out, &err));
    struct wire_unpacker in = wire_unpack(behind_head(&out, false));
    uint32_t done = wire_unpack_array(&in);
    assert_in_range(done, 2, COUNT - 1);
    assert_int_equal(done, kv_store_count(&together, 'e'));
}

static void test_malformed(void **state)
{
    (void)state;
    together = (struct kv_store){.random = 5};
    command = (struct kv_command){.kind = KV_DO, .then_count = 1};
    command.then[0] = (struct kv_operation){.kind = KV_FETCH, .key = kv_text("a")};
    struct wire_packer packer = begin_batch(1, KV_BATCH_MAX + 1);
    for (int i = 0; i <= KV_BATCH_MAX; i++)
        add_part(&packer);
    assert_int_equal(PERI_ETOOBIG,
                     kv_store_apply(&together, peri_buffer_slice(&batch), &out, &err));
    packer = begin_batch(1, 1);
    command.then[0] = (struct kv_operation){
        .kind = KV_RANGE, .bounds = {.from = kv_text("a"), .to = kv_text("b"), .limit = 1}};
    add_part(&packer);
    assert_int_equal(PERI_EINVAL, kv_store_apply(&together, peri_buffer_slice(&batch), &out, &err));
    assert_string_equal("a batch has no ranges", err.text);
    packer = begin_batch(1, 2);
    command.then[0] = (struct kv_operation){.kind = KV_FETCH, .key = kv_text("a")};
    add_part(&packer);
    for (size_t size = 0; size <= batch.size; size++) /* any part of it, and one that is missing */
        assert_int_equal(PERI_EINVAL,
                         kv_store_apply(&together, peri_slice_of(batch.data, size), &out, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_like_alone, tear_down),
        cmocka_unit_test_teardown(test_stops, tear_down),
        cmocka_unit_test_teardown(test_malformed, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
