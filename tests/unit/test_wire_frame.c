/* Frames: messages in a stream of bytes, alone or in bursts, and what damage does to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "wire/checksum.h"
#include "wire/frame.h"

static struct peri_slice text(const char *string)
{
    return peri_slice_of(string, strlen(string));
}

static void add(struct wire_frames *frames, const char *string)
{
    struct peri_slice part = text(string);
    assert_int_equal(wire_frames_add(frames, &part, 1), 0);
}

static bool is_text(struct peri_slice slice, const char *string)
{
    return peri_slice_is_same(slice, text(string));
}

static void a_message_alone_is_a_frame(void **state)
{
    (void)state;
    struct wire_frames out = {.open = 0};
    struct wire_frame frame;
    struct peri_slice parts[] = {text("one "), text(""), text("message")};
    assert_int_equal(wire_frames_add(&out, parts, 3), 0);
    wire_frames_seal(&out);
    assert_int_equal(wire_frame_decode(peri_buffer_slice(&out.bytes), 11, &frame, NULL), 1);
    assert_false(frame.is_burst);
    assert_int_equal(frame.size, WIRE_FRAME_HEADER_SIZE + 11);
    assert_int_equal(frame.size, out.bytes.size);
    assert_true(is_text(frame.body, "one message"));
    peri_buffer_deinit(&out.bytes);
}

static void short_messages_share_a_frame(void **state)
{
    (void)state;
    struct wire_frames out = {.open = 0};
    struct wire_frame frame;
    struct peri_slice message;
    struct peri_slice parts[] = {text("th"), text("ree")};
    add(&out, "one");
    add(&out, "two and more");
    assert_int_equal(wire_frames_add(&out, parts, 2), 0);
    wire_frames_seal(&out);
    assert_int_equal(out.bytes.size, WIRE_FRAME_HEADER_SIZE + 3 * WIRE_LENGTH_SIZE + 3 + 12 + 5);
    assert_int_equal(wire_frame_decode(peri_buffer_slice(&out.bytes), 1, &frame, NULL), 1);
    assert_true(frame.is_burst);
    assert_int_equal(frame.size, out.bytes.size);
    static const char *const expected[] = {"one", "two and more", "three"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(wire_burst_next(&frame.body, 12, &message, NULL), 0);
        assert_true(is_text(message, expected[i]));
    }
    assert_int_equal(frame.body.size, 0);

    add(&out, "after the seal"); /* is a frame of its own */
    wire_frames_seal(&out);
    struct peri_slice rest =
        peri_slice_of(out.bytes.data + frame.size, out.bytes.size - frame.size);
    assert_int_equal(wire_frame_decode(rest, 100, &frame, NULL), 1);
    assert_false(frame.is_burst);
    assert_true(is_text(frame.body, "after the seal"));
    peri_buffer_deinit(&out.bytes);
}

/* Messages of all sizes in any order come back as they were; no burst is longer than it may be. */
static void many_messages_come_back(void **state)
{
    (void)state;
    enum { COUNT = 3000, SIZE_MAX_HERE = 6000 };
    static char bytes[SIZE_MAX_HERE];
    static size_t sizes[COUNT];
    struct wire_frames out = {.open = 0};
    unsigned value = 7;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31);
    for (size_t i = 0; i < COUNT; i++) {
        value = value * 1103515245U + 12345U;
        sizes[i] = 1 + (value >> 16) % (i % 50 == 0 ? SIZE_MAX_HERE : 300);
        struct peri_slice part = peri_slice_of(bytes, sizes[i]);
        assert_int_equal(wire_frames_add(&out, &part, 1), 0);
    }
    wire_frames_seal(&out);
    size_t seen = 0;
    size_t frames = 0;
    for (size_t at = 0; at < out.bytes.size; frames++) {
        struct wire_frame frame;
        struct peri_slice message;
        assert_int_equal(wire_frame_decode(peri_slice_of(out.bytes.data + at, out.bytes.size - at),
                                           SIZE_MAX_HERE, &frame, NULL),
                         1);
        at += frame.size;
        if (frame.is_burst)
            assert_in_range(frame.body.size, 2 * WIRE_LENGTH_SIZE + 2, WIRE_BURST_MAX);
        for (bool is_last = false; !is_last; seen++) {
            if (frame.is_burst)
                assert_int_equal(wire_burst_next(&frame.body, SIZE_MAX_HERE, &message, NULL), 0);
            else
                message = frame.body;
            assert_int_equal(message.size, sizes[seen]);
            assert_memory_equal(message.data, bytes, message.size);
            is_last = !frame.is_burst || frame.body.size == 0;
        }
    }
    assert_int_equal(seen, COUNT);
    assert_in_range(frames, 100, 400);
    peri_buffer_deinit(&out.bytes);
}

static void unfinished_frames_say_what_is_missing(void **state)
{
    (void)state;
    for (int is_burst = 0; is_burst <= 1; is_burst++) {
        struct wire_frames out = {.open = 0};
        struct wire_frame frame;
        add(&out, "0123456789");
        if (is_burst)
            add(&out, "ab");
        wire_frames_seal(&out);
        for (size_t have = 0; have < out.bytes.size; have++) {
            struct peri_slice bytes = peri_slice_of(out.bytes.data, have);
            assert_int_equal(wire_frame_decode(bytes, 10, &frame, NULL), 0);
            assert_int_equal(frame.size, have < 4 ? 0 : out.bytes.size);
        }
        peri_buffer_deinit(&out.bytes);
    }
}

static void damaged_frames_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"a message of 10 bytes with a wrong checksum",
                                        "a burst of 16 bytes with a wrong checksum"};
    for (int is_burst = 0; is_burst <= 1; is_burst++) {
        struct wire_frames out = {.open = 0};
        struct wire_frame frame;
        struct peri_error err = PERI_ERROR_INIT;
        add(&out, "0123456789");
        if (is_burst)
            add(&out, "ab");
        wire_frames_seal(&out);
        char *data = out.bytes.data;
        for (size_t bit = 32; bit < out.bytes.size * 8; bit++) { /* behind the size */
            data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
            assert_int_equal(wire_frame_decode(peri_buffer_slice(&out.bytes), 10, &frame, &err),
                             PERI_EFORMAT);
            assert_string_equal(err.text, texts[is_burst]);
            data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
        }
        peri_buffer_deinit(&out.bytes);
    }
}

static void sizes_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        int code;
        const char *text;
    } cases[] = {
        {"\0\0\0\0", PERI_EFORMAT, "a frame without a message"},
        {"\0\0\0\x80", PERI_EFORMAT, "a frame without a message"},
        {"\12\0\0\0", PERI_ETOOBIG, "a message of 10 bytes, more than the limit 9"},
        {"\xff\xff\xff\x7f", PERI_ETOOBIG, "a message of 2147483647 bytes, more than the limit 9"},
        {"\1\20\0\x80", PERI_ETOOBIG, "a burst of 4097 bytes, more than the limit 4096"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_frame frame;
        struct peri_error err = PERI_ERROR_INIT;
        assert_int_equal(wire_frame_decode(peri_slice_of(cases[i].bytes, 4), 9, &frame, &err),
                         cases[i].code);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void wrong_bursts_are_named(void **state)
{
    (void)state;
    static const struct {
        struct peri_slice burst;
        int code;
        const char *text;
    } cases[] = {
        {{"\1", 1}, PERI_EFORMAT, "a burst that ends in a length"},
        {{"\1\0", 2}, PERI_EFORMAT, "a burst that ends in a length"},
        {{"\0\0x", 3}, PERI_EFORMAT, "a burst with an empty message"},
        {{"\2\0x", 3}, PERI_EFORMAT, "a message of 2 bytes in the last 1 of a burst"},
        {{"\xff\xffx", 3}, PERI_EFORMAT, "a message of 65535 bytes in the last 1 of a burst"},
        {{"\5\0xxxxx", 7}, PERI_ETOOBIG, "a message of 5 bytes, more than the limit 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peri_slice burst = cases[i].burst;
        struct peri_slice message;
        struct peri_error err = PERI_ERROR_INIT;
        char *copy = malloc(burst.size); /* ends where the bytes end */
        memcpy(copy, burst.data, burst.size);
        burst.data = copy;
        assert_int_equal(wire_burst_next(&burst, 4, &message, &err), cases[i].code);
        assert_string_equal(err.text, cases[i].text);
        free(copy);
    }
}

static void impossible_frames_are_not_made(void **state)
{
    (void)state;
    struct wire_frames out = {.open = 0};
    struct peri_slice part = text("");
    struct peri_slice large[] = {{"", SIZE_MAX}, {"", SIZE_MAX}};
    for (int round = 0; round < 3; round++) { /* at first, behind a message, in a burst */
        size_t before = out.bytes.size;
        assert_int_equal(wire_frames_add(&out, &part, 1), PERI_EINVAL);
        assert_int_equal(wire_frames_add(&out, &part, 0), PERI_EINVAL);
        assert_int_equal(wire_frames_add(&out, large, 2), PERI_ETOOBIG);
        assert_int_equal(out.bytes.size, before);
        add(&out, "x");
    }
    peri_buffer_deinit(&out.bytes);
}

static void frames_without_memory_stay_as_they_are(void **state)
{
    (void)state;
    struct wire_frames out = {.open = 0};
    struct wire_frame frame;
    struct peri_slice part = text("x");
    test_alloc_fail(1);
    assert_int_equal(wire_frames_add(&out, &part, 1), PERI_ENOMEM);
    assert_true(test_alloc_end());
    assert_int_equal(out.bytes.size, 0);
    add(&out, "alone");
    test_alloc_fail(1);
    assert_int_equal(wire_frames_add(&out, &part, 1), PERI_ENOMEM);
    assert_true(test_alloc_end());
    wire_frames_seal(&out);
    assert_int_equal(wire_frame_decode(peri_buffer_slice(&out.bytes), 5, &frame, NULL), 1);
    assert_true(is_text(frame.body, "alone"));
    peri_buffer_deinit(&out.bytes);
}

/* The same sums on every processor: these are the packaged library's. */
static void checksums_are_those_of_xxh3(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        uint32_t sum;
    } cases[] = {{1, 0x074eecdb},   {16, 0xadf2be1e},   {91, 0x4ae84b3c},   {240, 0x0ef8eed7},
                 {241, 0x6f0052e8}, {1024, 0x238addb4}, {4096, 0xeb6f9064}, {5000, 0x6d138bd8}};
    char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 + i / 256);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(wire_checksum(peri_slice_of(bytes, cases[i].size)), cases[i].sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_alone_is_a_frame),
        cmocka_unit_test(short_messages_share_a_frame),
        cmocka_unit_test(many_messages_come_back),
        cmocka_unit_test(unfinished_frames_say_what_is_missing),
        cmocka_unit_test(damaged_frames_are_refused),
        cmocka_unit_test(sizes_are_not_believed),
        cmocka_unit_test(wrong_bursts_are_named),
        cmocka_unit_test(impossible_frames_are_not_made),
        cmocka_unit_test(frames_without_memory_stay_as_they_are),
        cmocka_unit_test(checksums_are_those_of_xxh3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
