/* What nodes say to each other, as bytes: all of it comes back, and nothing that was cut or changed
 * is taken for something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "node/message.h"

static const struct store_log_entry entries[3] = {
    {.term = 3, .type = RAFT_COMMAND, .payload = {"one", 3}},
    {.term = 3, .type = RAFT_NOOP, .payload = {NULL, 0}},
    {.term = UINT64_MAX / 2, .type = RAFT_CONFIGURATION, .payload = {"\1\2\0\4", 4}},
};

static const struct raft_message messages[] = {
    {.type = RAFT_PRE_VOTE, .term = 7, .index = 12, .log_term = 6},
    {.type = RAFT_REQUEST_VOTE, .is_transfer = true, .term = 7, .index = 300, .log_term = 6},
    {.type = RAFT_APPEND_ENTRIES, .term = 9, .index = 10, .last = 13, .log_term = 3, .commit = 11},
    {.type = RAFT_APPEND_ENTRIES, .term = 9, .index = 13, .last = 13, .log_term = 3},
    {.type = RAFT_HEARTBEAT_REPLY,
     .success = true,
     .is_sleepy = true,
     .term = 9,
     .round = 77,
     .sent_us = UINT64_MAX},
};

enum { COUNT = sizeof messages / sizeof *messages };

#define ADDRESS peri_slice_of("n22:7200", 8)

static struct peri_buffer encoded(void)
{
    struct peri_buffer out = {NULL, 0, 0};
    const struct node_envelope envelope = {.cluster = 11,
                                           .from = 22,
                                           .to = 33,
                                           .incarnation = 44,
                                           .from_disk = 55,
                                           .from_age = 57,
                                           .to_disk = 66,
                                           .to_age = 68,
                                           .address = ADDRESS};
    assert_int_equal(node_envelope_begin(&out, &envelope), 0);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(node_message_put(&out, 1000 + i, &messages[i], entries), 0);
    return out;
}

static void check_message(const struct node_message *message, size_t i)
{
    struct raft_message wanted = messages[i];
    struct store_log_entry back[3];
    wanted.from = 22;
    wanted.to = 33;
    assert_int_equal(message->group, 1000 + i);
    assert_int_equal(message->raft.type, wanted.type);
    assert_int_equal(message->raft.success, wanted.success);
    assert_int_equal(message->raft.is_transfer, wanted.is_transfer);
    assert_int_equal(message->raft.is_sleepy, wanted.is_sleepy);
    assert_int_equal(message->raft.from, wanted.from);
    assert_int_equal(message->raft.to, wanted.to);
    assert_int_equal(message->raft.term, wanted.term);
    assert_int_equal(message->raft.index, wanted.index);
    assert_int_equal(message->raft.log_term, wanted.log_term);
    assert_int_equal(message->raft.last, wanted.last);
    assert_int_equal(message->raft.commit, wanted.commit);
    assert_int_equal(message->raft.round, wanted.round);
    assert_true(message->raft.sent_us == wanted.sent_us);
    assert_int_equal(message->count,
                     wanted.type == RAFT_APPEND_ENTRIES ? wanted.last - wanted.index : 0);
    node_message_entries(message, back);
    for (size_t k = 0; k < message->count; k++) {
        assert_true(back[k].term == entries[k].term);
        assert_int_equal(back[k].type, entries[k].type);
        assert_int_equal(peri_slice_compare(back[k].payload, entries[k].payload), 0);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct peri_buffer bytes = encoded();
    struct node_envelope envelope;
    struct node_message message;
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(node_envelope_open(peri_buffer_slice(&bytes), &envelope, &err), 0);
    assert_int_equal(envelope.cluster, 11);
    assert_int_equal(envelope.incarnation, 44);
    assert_int_equal(envelope.from_disk, 55);
    assert_int_equal(envelope.from_age, 57);
    assert_int_equal(envelope.to_disk, 66);
    assert_int_equal(envelope.to_age, 68);
    assert_int_equal(peri_slice_compare(envelope.address, ADDRESS), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(node_envelope_next(&envelope, &message, &err), 1);
        check_message(&message, i);
    }
    assert_int_equal(node_envelope_next(&envelope, &message, &err), 0);
    peri_buffer_deinit(&bytes);
}

/* Every prefix is refused, but for those that end between two messages. */
static void test_cut(void **state)
{
    (void)state;
    struct peri_buffer bytes = encoded();
    size_t refused = 0;
    for (size_t size = 0; size < bytes.size; size++) {
        struct node_envelope envelope;
        struct node_message message;
        struct peri_error err = PERI_ERROR_INIT;
        int rc = node_envelope_open(peri_slice_of(bytes.data, size), &envelope, &err);
        while (rc == 0 && (rc = node_envelope_next(&envelope, &message, &err)) == 1)
            rc = 0;
        assert_true(rc == 0 || rc == PERI_EFORMAT);
        refused += rc != 0;
    }
    assert_int_equal(refused, bytes.size - COUNT);
    peri_buffer_deinit(&bytes);
}

static void test_refused(void **state)
{
    (void)state;
    struct peri_buffer bytes = encoded();
    struct node_envelope envelope;
    struct node_message message;
    struct peri_error err = PERI_ERROR_INIT;
    char *first = bytes.data + node_envelope_head_size(bytes.data);
    static const struct {
        size_t at;
        char value;
    } cases[] = {
        {0, 127},                       /* a message longer than the envelope */
        {1, RAFT_READ_INDEX_REPLY + 1}, /* no such type */
        {1, RAFT_APPEND_ENTRIES},       /* AppendEntries without the entries that it names */
        {2, 8},                         /* no such flag */
        {0, 3},                         /* cut in the middle of its numbers */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char kept = first[cases[i].at];
        first[cases[i].at] = cases[i].value;
        assert_int_equal(node_envelope_open(peri_buffer_slice(&bytes), &envelope, &err), 0);
        assert_int_equal(node_envelope_next(&envelope, &message, &err), PERI_EFORMAT);
        first[cases[i].at] = kept;
    }
    bytes.data[0] = 9;
    assert_int_equal(node_envelope_open(peri_buffer_slice(&bytes), &envelope, &err), PERI_EVERSION);
    peri_buffer_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
