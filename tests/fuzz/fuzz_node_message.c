/* Fuzzes the decoder of what replicas say to each other: what decodes encodes again, and decodes to
 * the same message with the same entries. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "node/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct node_message *a, const struct node_message *b,
                       const struct store_log_entry *entries)
{
    struct store_log_entry *again = calloc(b->count + 1, sizeof *again);
    PERI_ASSERT(again != NULL);
    PERI_ASSERT(a->group == b->group && a->count == b->count);
    PERI_ASSERT(a->raft.type == b->raft.type && a->raft.success == b->raft.success);
    PERI_ASSERT(a->raft.term == b->raft.term && a->raft.index == b->raft.index);
    PERI_ASSERT(a->raft.last == b->raft.last && a->raft.commit == b->raft.commit);
    PERI_ASSERT(a->raft.round == b->raft.round && a->raft.sent_us == b->raft.sent_us);
    PERI_ASSERT(a->raft.log_term == b->raft.log_term);
    PERI_ASSERT(a->raft.is_transfer == b->raft.is_transfer);
    PERI_ASSERT(a->raft.is_sleepy == b->raft.is_sleepy);
    node_message_entries(b, again);
    for (size_t i = 0; i < a->count; i++) {
        PERI_ASSERT(entries[i].term == again[i].term && entries[i].type == again[i].type);
        PERI_ASSERT(peri_slice_compare(entries[i].payload, again[i].payload) == 0);
    }
    free(again);
}

static void check_again(const struct node_envelope *envelope, const struct node_message *message)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct node_envelope back;
    struct node_message same;
    struct store_log_entry *entries = calloc(message->count + 1, sizeof *entries);
    PERI_ASSERT(entries != NULL);
    node_message_entries(message, entries);
    PERI_ASSERT(node_envelope_begin(&out, envelope) == 0);
    PERI_ASSERT(node_message_put(&out, message->group, &message->raft, entries) == 0);
    PERI_ASSERT(node_envelope_open(peri_buffer_slice(&out), &back, NULL) == 0);
    PERI_ASSERT(back.cluster == envelope->cluster && back.from == envelope->from);
    PERI_ASSERT(back.from_disk == envelope->from_disk && back.to_disk == envelope->to_disk);
    PERI_ASSERT(back.from_age == envelope->from_age && back.to_age == envelope->to_age);
    PERI_ASSERT(peri_slice_compare(back.address, envelope->address) == 0);
    PERI_ASSERT(node_envelope_next(&back, &same, NULL) == 1);
    check_same(message, &same, entries);
    PERI_ASSERT(node_envelope_next(&back, &same, NULL) == 0);
    free(entries);
    peri_buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node_envelope envelope;
    struct node_message message;
    struct peri_error err = PERI_ERROR_INIT;
    if (node_envelope_open(peri_slice_of((const char *)data, size), &envelope, &err) != 0)
        return 0;
    while (node_envelope_next(&envelope, &message, &err) == 1)
        check_again(&envelope, &message);
    return 0;
}
