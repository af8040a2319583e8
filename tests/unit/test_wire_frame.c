/* Frames: messages in a stream of bytes, and what damage does to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "alloc.h"
#include "wire/frame.h"

static struct peri_slice text(const char *string)
{
    return peri_slice_of(string, strlen(string));
}

static void frames_come_back_one_by_one(void **state)
{
    (void)state;
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice parts[] = {text("one "), text(""), text("message")};
    assert_int_equal(wire_frame_encode(&out, parts, 3), 0);
    assert_int_equal(wire_frame_encode(&out, &parts[0], 1), 0);
    wire_frames_seal(&out);
    struct peri_slice message;
    struct peri_slice rest = peri_buffer_slice(&out);
    size_t size;
    assert_int_equal(wire_frame_decode(rest, 11, &message, &size, NULL), 1);
    assert_true(peri_slice_compare(message, text("one message")) == 0);
    rest = peri_slice_of(rest.data + size, rest.size - size);
    assert_int_equal(wire_frame_decode(rest, 11, &message, &size, NULL), 1);
    assert_true(peri_slice_compare(message, text("one ")) == 0);
    assert_int_equal(rest.size, size);
    peri_buffer_deinit(&out);
}

static void unfinished_frames_say_what_is_missing(void **state)
{
    (void)state;
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice part = text("0123456789");
    struct peri_slice message;
    size_t size;
    assert_int_equal(wire_frame_encode(&out, &part, 1), 0);
    wire_frames_seal(&out);
    for (size_t have = 0; have < out.size; have++) {
        struct peri_slice bytes = peri_slice_of(out.data, have);
        assert_int_equal(wire_frame_decode(bytes, 10, &message, &size, NULL), 0);
        assert_int_equal(size, have < 4 ? 0 : 18);
    }
    peri_buffer_deinit(&out);
}

static void damaged_frames_are_refused(void **state)
{
    (void)state;
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice part = text("0123456789");
    struct peri_slice message;
    struct peri_error err = PERI_ERROR_INIT;
    size_t size;
    assert_int_equal(wire_frame_encode(&out, &part, 1), 0);
    wire_frames_seal(&out);
    for (size_t bit = 32; bit < out.size * 8; bit++) { /* behind the size */
        out.data[bit / 8] = (char)(out.data[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(wire_frame_decode(peri_buffer_slice(&out), 10, &message, &size, &err),
                         PERI_EFORMAT);
        assert_string_equal(err.text, "a message of 10 bytes with a wrong checksum");
        out.data[bit / 8] = (char)(out.data[bit / 8] ^ 1 << bit % 8);
    }
    assert_int_equal(wire_frame_decode(peri_buffer_slice(&out), 9, &message, &size, &err),
                     PERI_ETOOBIG);
    assert_string_equal(err.text, "a message of 10 bytes, more than the limit 9");
    memset(out.data, 0, 4);
    assert_int_equal(wire_frame_decode(peri_buffer_slice(&out), 9, &message, &size, &err),
                     PERI_EFORMAT);
    assert_string_equal(err.text, "a frame without a message");
    peri_buffer_deinit(&out);
}

static void impossible_frames_are_not_made(void **state)
{
    (void)state;
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice part = text("");
    assert_int_equal(wire_frame_encode(&out, &part, 1), PERI_EINVAL);
    assert_int_equal(wire_frame_encode(&out, &part, 0), PERI_EINVAL);
    struct peri_slice large[] = {{"", SIZE_MAX}, {"", SIZE_MAX}};
    assert_int_equal(wire_frame_encode(&out, large, 2), PERI_ETOOBIG);
    part = text("x");
    test_alloc_fail(1);
    assert_int_equal(wire_frame_encode(&out, &part, 1), PERI_ENOMEM);
    assert_true(test_alloc_end());
    assert_int_equal(out.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back_one_by_one),
        cmocka_unit_test(unfinished_frames_say_what_is_missing),
        cmocka_unit_test(damaged_frames_are_refused),
        cmocka_unit_test(impossible_frames_are_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
