/* message.h - the bytes in which replicas of all groups talk to those of another node.
 *
 * Everything that a node has to say to another in one round of its loop travels in one envelope,
 * whichever groups it is of:
 *
 *   envelope   version u8, cluster, from, to, incarnation of from, birth and age of the disks of
 *              from and of to (births.c; 0: not known) as u64, little-endian, size u8 and address
 *              of from (as far as it knows it), then messages
 *   message    size of the rest, then type u8, flags u8, and as varints group, term, index,
 *              log_term, last, commit, round, sent_us; of AppendEntries, for each of last - index
 *              entries: term, type u8, size, payload
 *
 * A node has one replica of a group at most, whose id is the node's: envelopes say from whom to
 * whom; and where from is, because who was away while members changed may know none of them.
 * Decoders refuse what no node sends, and believe no count that the bytes left cannot hold. Pure,
 * but for memory. */
#ifndef PERI_NODE_MESSAGE_H
#define PERI_NODE_MESSAGE_H

#include "base/buffer.h"
#include "base/error.h"
#include "raft/raft.h"
#include "store/log.h"

enum {
    NODE_MESSAGE_VERSION = 4,
    NODE_ENVELOPE_SIZE = 1 + 8 * 8 + 1, /* before the address */
    NODE_MESSAGE_ENTRIES_MAX = 1 << 16,
};

/* An envelope, and while it is read where; lent from its bytes. */
struct node_envelope {
    uint64_t cluster, from, to, incarnation, from_disk, from_age, to_disk, to_age;
    struct peri_slice address; /* of from, at most 255 bytes; empty: it does not know it */
    const char *at, *end;
};

/* Starts an envelope at the end of out, with all of it but at and end. Errors: PERI_ENOMEM, out
 * unchanged. */
int node_envelope_begin(struct peri_buffer *out, const struct node_envelope *envelope);

/* The bytes before the first message of the envelope at data, which node_envelope_begin made. */
size_t node_envelope_head_size(const char *data);

/* Appends a message to an envelope. entries: the last - index ones of an AppendEntries, borrowed;
 * ignored for others. Errors: PERI_ENOMEM, out unchanged. */
int node_message_put(struct peri_buffer *out, uint64_t group, const struct raft_message *message,
                     const struct store_log_entry *entries);

/* One message of it. */
struct node_message {
    uint64_t group;
    struct raft_message raft;
    size_t count;             /* of entries */
    struct peri_slice packed; /* the entries; lent from the envelope's bytes */
};

/* Opens an envelope. Errors: PERI_EVERSION; PERI_EFORMAT. */
int node_envelope_open(struct peri_slice bytes, struct node_envelope *out, struct peri_error *err);

/* Reads the next message. Returns 1, or 0 at the end. Errors: PERI_EFORMAT; nothing behind can then
 * be read. */
int node_envelope_next(struct node_envelope *envelope, struct node_message *out,
                       struct peri_error *err);

/* Unpacks the entries of a message, of which out holds message->count; payloads are lent like the
 * message. */
void node_message_entries(const struct node_message *message, struct store_log_entry *out);

#endif
