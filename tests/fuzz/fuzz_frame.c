/* Fuzzes the framing of messages. The first byte chooses.
 *
 * Even: the rest is what a peer sent, and is taken apart as a connection does it. However the bytes
 * are cut into reads, the same frames come out and the same error ends them; nothing behind a frame
 * is needed to take it. Odd: the rest becomes the parts of messages, which must come back. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 4096, PARTS_MAX = 4 };

struct outcome {
    size_t used;
    size_t frames;
    int rc;
};

/* The bytes end where their memory ends, so that the sanitizer sees a read behind them. */
static struct outcome take_frames(struct peri_slice bytes)
{
    struct outcome outcome = {0, 0, 1};
    char *copy = malloc(bytes.size + 1);
    PERI_ASSERT(copy != NULL);
    char *start = copy + 1;
    if (bytes.size > 0)
        memcpy(start, bytes.data, bytes.size);
    while (outcome.rc == 1) {
        struct peri_slice message = {NULL, 0};
        size_t frame_size = 0;
        struct peri_error err;
        outcome.rc =
            wire_frame_decode(peri_slice_of(start + outcome.used, bytes.size - outcome.used),
                              MESSAGE_MAX, &message, &frame_size, &err);
        if (outcome.rc != 1)
            break;
        PERI_ASSERT(message.size > 0 && message.size <= MESSAGE_MAX);
        PERI_ASSERT(frame_size == message.size + WIRE_FRAME_HEADER_SIZE);
        outcome.used += frame_size;
        outcome.frames++;
    }
    free(copy);
    return outcome;
}

static void fuzz_stream(struct peri_slice bytes)
{
    struct outcome whole = take_frames(bytes);
    size_t used = 0;
    size_t frames = 0;
    for (size_t have = 0; have <= bytes.size; have++) { /* one more byte a read */
        struct outcome part = take_frames(peri_slice_of(bytes.data + used, have - used));
        used += part.used;
        frames += part.frames;
        if (part.rc < 0) {
            PERI_ASSERT(whole.rc == part.rc);
            break;
        }
    }
    PERI_ASSERT(used == whole.used && frames == whole.frames);
}

static void fuzz_messages(struct peri_slice bytes)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice parts[PARTS_MAX];
    size_t messages = 0;
    for (struct peri_slice rest = bytes; rest.size > 1; messages++) {
        size_t size = (unsigned char)rest.data[0];
        if (size == 0 || size > rest.size - 1)
            size = rest.size - 1;
        size_t each = size / PARTS_MAX;
        for (size_t i = 0; i < PARTS_MAX; i++)
            parts[i] = peri_slice_of(rest.data + 1 + i * each,
                                     i < PARTS_MAX - 1 ? each : size - (PARTS_MAX - 1) * each);
        struct peri_slice message;
        size_t before = out.size;
        size_t frame_size;
        PERI_ASSERT(wire_frame_encode(&out, parts, PARTS_MAX) == 0);
        wire_frames_seal(&out);
        struct peri_slice frame = peri_slice_of(out.data + before, out.size - before);
        PERI_ASSERT(wire_frame_decode(frame, SIZE_MAX, &message, &frame_size, NULL) == 1);
        PERI_ASSERT(peri_slice_compare(message, peri_slice_of(rest.data + 1, size)) == 0);
        rest = peri_slice_of(rest.data + 1 + size, rest.size - 1 - size);
    }
    struct outcome back = take_frames(peri_buffer_slice(&out));
    PERI_ASSERT(bytes.size > MESSAGE_MAX || (back.frames == messages && back.rc == 0));
    peri_buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct peri_slice rest = peri_slice_of((const char *)data + 1, size - 1);
    if (data[0] % 2 == 0)
        fuzz_stream(rest);
    else
        fuzz_messages(rest);
    return 0;
}
