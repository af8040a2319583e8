/* Fuzzes the framing of messages. The first byte chooses.
 *
 * Even: the rest is what a peer sent, and is taken apart as a connection does it. However the bytes
 * are cut into reads, the same messages come out and the same error ends them; nothing behind a
 * frame is needed to take it. With the second bit set the sizes and checksums of the frames are
 * made right first, so that what is in a burst is reached. Odd: the rest becomes messages, alone
 * and in bursts, which must come back. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "wire/checksum.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 4096, PARTS_MAX = 4, READS_MAX = 40 };

struct outcome {
    size_t used;
    size_t messages;
    uint64_t sum; /* of the messages */
    int rc;
};

static void take_message(struct outcome *outcome, struct peri_slice message)
{
    PERI_ASSERT(message.size > 0 && message.size <= MESSAGE_MAX);
    outcome->messages++;
    outcome->sum = outcome->sum * 31 + wire_checksum(message);
}

static void take_frame(struct outcome *outcome, struct wire_frame *frame)
{
    struct peri_error err;
    outcome->used += frame->size;
    if (!frame->is_burst)
        take_message(outcome, frame->body);
    while (frame->is_burst && frame->body.size > 0 && outcome->rc >= 0) {
        struct peri_slice message;
        size_t before = frame->body.size;
        int rc = wire_burst_next(&frame->body, MESSAGE_MAX, &message, &err);
        if (rc == 0) {
            PERI_ASSERT(frame->body.size + WIRE_LENGTH_SIZE + message.size == before);
            take_message(outcome, message);
        } else {
            outcome->rc = rc;
        }
    }
}

/* The bytes end where their memory ends, so that the sanitizer sees a read behind them. */
static void take_frames(struct peri_slice bytes, struct outcome *outcome)
{
    char *copy = malloc(bytes.size + 1);
    PERI_ASSERT(copy != NULL);
    struct peri_slice rest = peri_slice_of(copy + 1, bytes.size);
    if (bytes.size > 0)
        memcpy(copy + 1, bytes.data, bytes.size);
    outcome->rc = 1;
    while (outcome->rc == 1) {
        struct wire_frame frame;
        struct peri_error err;
        outcome->rc = wire_frame_decode(rest, MESSAGE_MAX, &frame, &err);
        if (outcome->rc != 1)
            break;
        PERI_ASSERT(frame.size == frame.body.size + WIRE_FRAME_HEADER_SIZE);
        take_frame(outcome, &frame);
        rest = peri_slice_of(rest.data + frame.size, rest.size - frame.size);
    }
    free(copy);
}

static void fuzz_stream(struct peri_slice bytes)
{
    struct outcome whole = {0};
    struct outcome parts = {0};
    size_t step = 1 + bytes.size / READS_MAX; /* one more byte a read, where there are not many */
    take_frames(bytes, &whole);
    for (size_t have = 0; have < bytes.size && parts.rc >= 0; have += step)
        take_frames(peri_slice_of(bytes.data + parts.used, have - parts.used), &parts);
    if (parts.rc >= 0)
        take_frames(peri_slice_of(bytes.data + parts.used, bytes.size - parts.used), &parts);
    PERI_ASSERT(parts.rc == whole.rc && parts.used == whole.used);
    PERI_ASSERT(parts.messages == whole.messages && parts.sum == whole.sum);
}

/* Gives bytes the header of one burst, or of one message. */
static void fuzz_body(struct peri_slice bytes)
{
    struct peri_buffer frame = {NULL, 0, 0};
    char header[WIRE_FRAME_HEADER_SIZE];
    bits_put_le32(header, (uint32_t)bytes.size | UINT32_C(0x80000000));
    bits_put_le32(header + 4, wire_checksum(bytes));
    PERI_ASSERT(peri_buffer_append(&frame, header, sizeof header) == 0);
    PERI_ASSERT(peri_buffer_append(&frame, bytes.data, bytes.size) == 0);
    fuzz_stream(peri_buffer_slice(&frame));
    peri_buffer_deinit(&frame);
}

static void fuzz_messages(struct peri_slice bytes)
{
    struct wire_frames out = {.open = 0};
    struct outcome expected = {0};
    struct outcome back = {0};
    for (struct peri_slice rest = bytes; rest.size > 1;) {
        size_t size = (unsigned char)rest.data[0];
        bool is_sealed = size % 16 == 15;
        if (size == 0 || size > rest.size - 1)
            size = rest.size - 1 < MESSAGE_MAX ? rest.size - 1 : MESSAGE_MAX;
        struct peri_slice parts[PARTS_MAX];
        size_t each = size / PARTS_MAX;
        for (size_t i = 0; i < PARTS_MAX; i++)
            parts[i] = peri_slice_of(rest.data + 1 + i * each,
                                     i < PARTS_MAX - 1 ? each : size - (PARTS_MAX - 1) * each);
        PERI_ASSERT(wire_frames_add(&out, parts, PARTS_MAX) == 0);
        take_message(&expected, peri_slice_of(rest.data + 1, size));
        if (is_sealed)
            wire_frames_seal(&out);
        rest = peri_slice_of(rest.data + 1 + size, rest.size - 1 - size);
    }
    wire_frames_seal(&out);
    take_frames(peri_buffer_slice(&out.bytes), &back);
    PERI_ASSERT(back.rc == 0 && back.used == out.bytes.size);
    PERI_ASSERT(back.messages == expected.messages && back.sum == expected.sum);
    peri_buffer_deinit(&out.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct peri_slice rest = peri_slice_of((const char *)data + 1, size - 1);
    if (data[0] % 2 != 0)
        fuzz_messages(rest);
    else if ((data[0] & 2) != 0)
        fuzz_body(rest);
    else
        fuzz_stream(rest);
    return 0;
}
