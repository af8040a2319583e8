#include "rpc/chunks.h"

#include <stdlib.h>

#include "base/assert.h"

/* ---- sending ---- */

struct outgoing {
    struct peri_list link;
    uint64_t id;
    uint64_t number;
    size_t sent;
    size_t size; /* of bytes and body */
    size_t head_size;
    struct peri_buffer body; /* behind the bytes; empty when those are all */
    char bytes[];
};

static struct outgoing *outgoing_of(struct peri_list *link)
{
    return container_of(link, struct outgoing, link);
}

void rpc_outbox_init(struct rpc_outbox *outbox, size_t bytes_max)
{
    *outbox = (struct rpc_outbox){.bytes_max = bytes_max};
    peri_list_init(&outbox->transfers);
}

static void end_outgoing(struct rpc_outbox *outbox, struct outgoing *transfer)
{
    peri_list_remove(&transfer->link);
    outbox->bytes -= transfer->size;
    peri_buffer_deinit(&transfer->body);
    free(transfer);
}

void rpc_outbox_deinit(struct rpc_outbox *outbox)
{
    while (!peri_list_is_empty(&outbox->transfers))
        end_outgoing(outbox, outgoing_of(outbox->transfers.next));
}

/* Appends a transfer whose bytes the caller fills. */
static int start_outgoing(struct rpc_outbox *outbox, uint64_t id, size_t head_size,
                          size_t body_size, struct outgoing **out)
{
    size_t size = head_size + body_size;
    if (size > outbox->bytes_max - outbox->bytes)
        return PERI_EBUSY;
    struct outgoing *transfer = malloc(sizeof *transfer + head_size);
    if (transfer == NULL)
        return PERI_ENOMEM;
    *transfer = (struct outgoing){
        .id = id, .number = outbox->next_number++, .size = size, .head_size = head_size};
    outbox->bytes += size;
    peri_list_append(&outbox->transfers, &transfer->link);
    *out = transfer;
    return 0;
}

int rpc_outbox_add(struct rpc_outbox *outbox, uint64_t id, const struct peri_slice *parts,
                   size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    struct outgoing *transfer;
    int rc = start_outgoing(outbox, id, size, 0, &transfer);
    if (rc != 0)
        return rc;
    char *at = transfer->bytes;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].size > 0)
            memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    return 0;
}

int rpc_outbox_take(struct rpc_outbox *outbox, uint64_t id, struct peri_slice head,
                    struct peri_buffer *body)
{
    struct outgoing *transfer;
    int rc = start_outgoing(outbox, id, head.size, body->size, &transfer);
    if (rc != 0)
        return rc;
    memcpy(transfer->bytes, head.data, head.size);
    transfer->body = *body;
    *body = (struct peri_buffer){NULL, 0, 0};
    return 0;
}

/* Of the head, or of the body: no chunk has bytes of both. */
static struct peri_slice next_bytes(const struct outgoing *transfer)
{
    size_t at = transfer->sent;
    const char *bytes = transfer->bytes + at;
    size_t left = transfer->head_size - at;
    if (at >= transfer->head_size) {
        bytes = transfer->body.data + (at - transfer->head_size);
        left = transfer->size - at;
    }
    return peri_slice_of(bytes, left < RPC_CHUNK_SIZE ? left : RPC_CHUNK_SIZE);
}

bool rpc_outbox_next(struct rpc_outbox *outbox, struct wire_message *chunk)
{
    if (peri_list_is_empty(&outbox->transfers))
        return false;
    struct outgoing *transfer = outgoing_of(outbox->transfers.next);
    struct peri_slice bytes = next_bytes(transfer);
    *chunk = (struct wire_message){.kind = WIRE_CHUNK, .id = transfer->id};
    chunk->flags = transfer->sent + bytes.size == transfer->size ? WIRE_FLAG_LAST : 0;
    chunk->chunk.transfer = transfer->number;
    chunk->chunk.total = transfer->size;
    chunk->chunk.offset = transfer->sent;
    chunk->chunk.bytes = bytes;
    return true;
}

void rpc_outbox_sent(struct rpc_outbox *outbox)
{
    struct outgoing *transfer = outgoing_of(outbox->transfers.next);
    transfer->sent += next_bytes(transfer).size;
    if (transfer->sent == transfer->size) {
        end_outgoing(outbox, transfer);
        return;
    }
    peri_list_remove(&transfer->link);
    peri_list_append(&outbox->transfers, &transfer->link);
}

void rpc_outbox_drop(struct rpc_outbox *outbox, uint64_t id)
{
    struct peri_list *link = outbox->transfers.next;
    while (link != &outbox->transfers) {
        struct outgoing *transfer = outgoing_of(link);
        link = link->next;
        if (transfer->id == id)
            end_outgoing(outbox, transfer);
    }
}

/* ---- receiving ---- */

struct incoming {
    struct peri_list link;
    uint64_t id;
    uint64_t number;
    uint64_t total;
    uint64_t heard_us;
    struct peri_buffer bytes; /* from the start, without a hole */
    struct peri_list stash;   /* chunks from behind the first hole, by place */
    size_t stash_count;
    size_t stash_bytes;
};

struct stashed {
    struct peri_list link;
    uint64_t offset;
    size_t size;
    char bytes[];
};

static struct incoming *incoming_of(struct peri_list *link)
{
    return container_of(link, struct incoming, link);
}

static struct stashed *stashed_of(struct peri_list *link)
{
    return container_of(link, struct stashed, link);
}

void rpc_inbox_init(struct rpc_inbox *inbox, size_t bytes_max)
{
    *inbox = (struct rpc_inbox){.bytes_max = bytes_max};
    peri_list_init(&inbox->transfers);
}

static void end_stashed(struct incoming *transfer, struct stashed *chunk)
{
    peri_list_remove(&chunk->link);
    transfer->stash_count--;
    transfer->stash_bytes -= chunk->size;
    free(chunk);
}

static void end_incoming(struct rpc_inbox *inbox, struct incoming *transfer)
{
    inbox->bytes -= transfer->bytes.size + transfer->stash_bytes;
    inbox->count--;
    while (!peri_list_is_empty(&transfer->stash))
        end_stashed(transfer, stashed_of(transfer->stash.next));
    peri_list_remove(&transfer->link);
    peri_buffer_deinit(&transfer->bytes);
    free(transfer);
}

void rpc_inbox_deinit(struct rpc_inbox *inbox)
{
    while (!peri_list_is_empty(&inbox->transfers))
        end_incoming(inbox, incoming_of(inbox->transfers.next));
}

static struct incoming *find(const struct rpc_inbox *inbox, const struct wire_message *chunk)
{
    for (struct peri_list *link = inbox->transfers.next; link != &inbox->transfers;
         link = link->next) {
        struct incoming *transfer = incoming_of(link);
        if (transfer->id == chunk->id && transfer->number == chunk->chunk.transfer)
            return transfer;
    }
    return NULL;
}

bool rpc_inbox_knows(const struct rpc_inbox *inbox, const struct wire_message *chunk)
{
    return find(inbox, chunk) != NULL;
}

static struct incoming *start_incoming(struct rpc_inbox *inbox, const struct wire_message *chunk)
{
    struct incoming *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return NULL;
    transfer->id = chunk->id;
    transfer->number = chunk->chunk.transfer;
    transfer->total = chunk->chunk.total;
    peri_list_init(&transfer->stash);
    peri_list_append(&inbox->transfers, &transfer->link);
    inbox->count++;
    return transfer;
}

static int append(struct rpc_inbox *inbox, struct incoming *transfer, struct peri_slice bytes)
{
    int rc = peri_buffer_append(&transfer->bytes, bytes.data, bytes.size);
    if (rc == 0)
        inbox->bytes += bytes.size;
    return rc;
}

/* Keeps a chunk that came before those in front of it. One that finds no room is lost, as the
 * network might have lost it. */
static int stash(struct rpc_inbox *inbox, struct incoming *transfer,
                 const struct wire_message *message)
{
    struct peri_slice bytes = message->chunk.bytes;
    struct peri_list *before = transfer->stash.next;
    while (before != &transfer->stash && stashed_of(before)->offset < message->chunk.offset)
        before = before->next;
    bool is_known =
        before != &transfer->stash && stashed_of(before)->offset == message->chunk.offset;
    if (is_known || transfer->stash_count == RPC_STASH_MAX)
        return 0;
    struct stashed *chunk = malloc(sizeof *chunk + bytes.size);
    if (chunk == NULL)
        return PERI_ENOMEM;
    chunk->offset = message->chunk.offset;
    chunk->size = bytes.size;
    memcpy(chunk->bytes, bytes.data, bytes.size);
    peri_list_append(before, &chunk->link); /* in front of it */
    transfer->stash_count++;
    transfer->stash_bytes += bytes.size;
    inbox->bytes += bytes.size;
    return 0;
}

/* Appends what the stash has for the place that was a hole until now. */
static int unstash(struct rpc_inbox *inbox, struct incoming *transfer)
{
    while (!peri_list_is_empty(&transfer->stash)) {
        struct stashed *chunk = stashed_of(transfer->stash.next);
        if (chunk->offset > transfer->bytes.size)
            return 0;
        if (chunk->offset == transfer->bytes.size) {
            int rc = append(inbox, transfer, peri_slice_of(chunk->bytes, chunk->size));
            if (rc != 0)
                return rc;
        }
        inbox->bytes -= chunk->size;
        end_stashed(transfer, chunk);
    }
    return 0;
}

static int take(struct rpc_inbox *inbox, struct incoming *transfer,
                const struct wire_message *message)
{
    uint64_t offset = message->chunk.offset;
    struct peri_slice bytes = message->chunk.bytes;
    if (message->chunk.total != transfer->total || bytes.size == 0 || offset > transfer->total ||
        bytes.size > transfer->total - offset)
        return PERI_EPROTOCOL;
    if (offset < transfer->bytes.size)
        return 0; /* it came before */
    if (bytes.size > inbox->bytes_max - inbox->bytes)
        return PERI_EBUSY;
    if (offset > transfer->bytes.size)
        return stash(inbox, transfer, message);
    int rc = append(inbox, transfer, bytes);
    return rc != 0 ? rc : unstash(inbox, transfer);
}

int rpc_inbox_add(struct rpc_inbox *inbox, const struct wire_message *chunk, uint64_t now_us,
                  struct peri_buffer *whole)
{
    struct incoming *transfer = find(inbox, chunk);
    if (transfer == NULL && inbox->count == RPC_TRANSFERS_MAX)
        return PERI_EBUSY;
    if (transfer == NULL)
        transfer = start_incoming(inbox, chunk);
    if (transfer == NULL)
        return PERI_ENOMEM;
    transfer->heard_us = now_us;
    int rc = take(inbox, transfer, chunk);
    if (rc == 0 && transfer->bytes.size < transfer->total)
        return 0;
    if (rc == 0) {
        inbox->bytes -= transfer->bytes.size;
        *whole = transfer->bytes;
        transfer->bytes = (struct peri_buffer){NULL, 0, 0};
        rc = 1;
    }
    end_incoming(inbox, transfer);
    return rc;
}

void rpc_inbox_drop(struct rpc_inbox *inbox, uint64_t id)
{
    struct peri_list *link = inbox->transfers.next;
    while (link != &inbox->transfers) {
        struct incoming *transfer = incoming_of(link);
        link = link->next;
        if (transfer->id == id)
            end_incoming(inbox, transfer);
    }
}

void rpc_inbox_expire(struct rpc_inbox *inbox, uint64_t now_us)
{
    struct peri_list *link = inbox->transfers.next;
    while (link != &inbox->transfers) {
        struct incoming *transfer = incoming_of(link);
        link = link->next;
        if (now_us - transfer->heard_us >= RPC_TRANSFER_IDLE_US)
            end_incoming(inbox, transfer);
    }
}
