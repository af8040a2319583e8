/* Fuzzes the decoder of messages between peers.
 *
 * Beyond the sanitizers: what decodes encodes again and decodes to the
 * same fields; printing stays in its line and prints nothing but plain text; and two independent
 * readers of MessagePack, wire_value_size and the scanner of the codec, agree where values end. */
#include <ctype.h>
#include <stdint.h>

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
    PERI_ASSERT(rc == PERI_ETOOBIG || (rc == 1 ? size == used : size == 0));
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
    if (size > WIRE_MESSAGE_HEADER_SIZE)
        check_value(
            peri_slice_of(bytes.data + WIRE_MESSAGE_HEADER_SIZE, size - WIRE_MESSAGE_HEADER_SIZE));
    return 0;
}
