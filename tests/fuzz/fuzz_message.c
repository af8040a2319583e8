/* Fuzzes the decoder of messages between peers.
 *
 * Beyond the sanitizers: what decodes encodes again and decodes to the
 * same fields; printing stays in its line and prints nothing but plain text; and two independent
 * readers of MessagePack, wire_value_size and the scanner of the codec, agree where values end.
 *
 * Input that begins with WIRE_AGAIN has a length, a message of that length, and the last field of
 * that message said again: it is taken exactly where a sender would say it so. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "message_same.h"
#include "wire/codec.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const struct wire_message *message, size_t size)
{
    char line[512];
    memset(line, 1, sizeof line);
    wire_message_print(message, line, size);
    PERI_ASSERT(memchr(line, '\0', size) != NULL);
    for (const char *at = line; *at != '\0'; at++)
        PERI_ASSERT(isprint((unsigned char)*at));
}

static void check_again(const struct wire_message *message)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice tail;
    struct wire_message back;
    PERI_ASSERT(wire_message_encode(message, &out, &tail) == 0);
    PERI_ASSERT(peri_buffer_append(&out, tail.data, tail.size) == 0);
    PERI_ASSERT(wire_message_decode(peri_buffer_slice(&out), &back, NULL) == 0);
    PERI_ASSERT(message_is_same(message, &back));
    peri_buffer_deinit(&out);
}

/* The scanner has a limit of depth, which wire_value_size does without. */
static void check_value(struct peri_slice bytes)
{
    struct wire_scanner scanner;
    size_t used = 0;
    size_t size = wire_value_size(bytes);
    wire_scanner_init(&scanner);
    int rc = wire_scanner_feed(&scanner, bytes, &used, NULL);
    PERI_ASSERT(size <= bytes.size);
    PERI_ASSERT(!wire_is_one_text(bytes) || size == bytes.size);
    PERI_ASSERT(rc == PERI_ETOOBIG || (rc == 1 ? size == used : size == 0));
}

/* bytes begin with WIRE_AGAIN, as a message said again does. */
static void check_said_again(struct wire_message *message, struct peri_slice bytes)
{
    struct wire_message before = *message;
    struct wire_again again = {.kind = 0};
    int rc = wire_message_decode_again(bytes, message);
    wire_again_note(&again, &before);
    PERI_ASSERT((again.kind != 0) == (wire_can_be_again(&before) && before.id != UINT64_MAX));
    if (rc != 0) {
        struct peri_slice value = peri_slice_of(bytes.data + 1, bytes.size - 1);
        PERI_ASSERT(message_is_same(message, &before));
        PERI_ASSERT(again.kind == 0 || wire_value_size(value) != value.size || value.size == 0);
        return;
    }
    PERI_ASSERT(message->id == before.id + 1 && !wire_again_fits(&again, &before));
    PERI_ASSERT(wire_again_fits(&again, message));
    check_again(message);
}

/* The message and its repetition lie in memory of their own, so that a read behind them is seen. */
static void fuzz_again(struct peri_slice bytes)
{
    struct wire_message message;
    size_t size = (unsigned char)bytes.data[1];
    struct peri_slice first = peri_slice_of(bytes.data + 2, bytes.size - 2);
    if (size >= first.size ||
        wire_message_decode(peri_slice_of(first.data, size), &message, NULL) != 0)
        return;
    size_t left = first.size - size;
    char *copy = malloc(1 + left);
    PERI_ASSERT(copy != NULL);
    copy[0] = (char)WIRE_AGAIN;
    memcpy(copy + 1, first.data + size, left);
    check_said_again(&message, peri_slice_of(copy, 1 + left));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_message message;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice bytes = peri_slice_of((const char *)data, size);
    if (wire_message_decode(bytes, &message, &err) == 0) {
        check_line(&message, 512);
        check_line(&message, 1 + size % 64);
        check_again(&message);
    }
    if (size > 2 && data[0] == WIRE_AGAIN)
        fuzz_again(bytes);
    if (size > WIRE_MESSAGE_HEADER_SIZE)
        check_value(
            peri_slice_of(bytes.data + WIRE_MESSAGE_HEADER_SIZE, size - WIRE_MESSAGE_HEADER_SIZE));
    return 0;
}
