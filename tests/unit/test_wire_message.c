/* Messages between peers: every kind there and back, and bytes that no sender of ours made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "message_same.h"
#include "wire/message.h"

static struct peri_slice text(const char *string)
{
    return peri_slice_of(string, strlen(string));
}

/* ---- samples: two values of each type ---- */

static const char LONG[300] = "a string that needs two bytes of length";

static void sample_UINT(uint64_t *field, bool is_large)
{
    *field = is_large ? UINT64_MAX - 1 : 100;
}

static void sample_BOOL(bool *field, bool is_large)
{
    *field = is_large;
}

static void sample_TEXT(struct peri_slice *field, bool is_large)
{
    *field = is_large ? peri_slice_of(LONG, sizeof LONG) : text("echo");
}

static void sample_BYTES(struct peri_slice *field, bool is_large)
{
    *field = is_large ? peri_slice_of(LONG, sizeof LONG) : peri_slice_of("\xff\0", 2);
}

static void sample_VALUE(struct peri_slice *field, bool is_large)
{
    *field = is_large ? text("\x93\x01\x82\xa1\x61\xc0\x02\xc3\xcb........") : text("\x91\x07");
}

static struct wire_message sample(unsigned kind, bool is_large)
{
    struct wire_message message = {.kind = (uint8_t)kind};
    if (is_large) {
        message.flags = 0x8001;
        message.budget_ms = UINT32_MAX;
        message.id = UINT64_MAX;
    }
    switch (kind) {
#define MESSAGE(name, number, member, what) case number:
#define FIELD(type, member, field) sample_##type(&message.member.field, is_large);
#define MESSAGE_END(member) break;
#include "wire/messages.def"
    }
    return message;
}

static struct peri_buffer encode(const struct wire_message *message)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct peri_slice tail;
    assert_int_equal(wire_message_encode(message, &out, &tail), 0);
    assert_int_equal(peri_buffer_append(&out, tail.data, tail.size), 0);
    return out;
}

/* ---- tests ---- */

static void every_kind_comes_back(void **state)
{
    (void)state;
    size_t kinds = 0;
    for (unsigned kind = 0; kind < 256; kind++) {
        if (wire_kind_name(kind) == NULL)
            continue;
        kinds++;
        for (int is_large = 0; is_large <= 1; is_large++) {
            struct wire_message message = sample(kind, is_large);
            struct wire_message back;
            struct peri_error err = PERI_ERROR_INIT;
            struct peri_buffer bytes = encode(&message);
            assert_int_equal(wire_message_decode(peri_buffer_slice(&bytes), &back, &err), 0);
            assert_true(message_is_same(&message, &back));
            peri_buffer_deinit(&bytes);
        }
    }
    assert_int_equal(kinds, 17);
}

/* Every message cut short, lengthened, or with one byte changed to any other is refused or means
 * something; the sanitizers watch that nothing outside of it is read. */
static void no_prefix_is_a_message(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        if (wire_kind_name(kind) == NULL)
            continue;
        struct wire_message message = sample(kind, kind % 2 == 0);
        struct peri_buffer bytes = encode(&message);
        for (size_t size = 0; size < bytes.size; size++) {
            char *copy = malloc(size + 1); /* ends where the bytes end */
            memcpy(copy, bytes.data, size);
            assert_int_not_equal(wire_message_decode(peri_slice_of(copy, size), &message, NULL), 0);
            free(copy);
        }
        assert_int_equal(peri_buffer_append(&bytes, "\0", 1), 0);
        assert_int_equal(wire_message_decode(peri_buffer_slice(&bytes), &message, NULL),
                         PERI_EFORMAT);
        peri_buffer_deinit(&bytes);
    }
}

static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    char line[256];
    for (unsigned kind = 0; kind < 256; kind++) {
        if (wire_kind_name(kind) == NULL)
            continue;
        struct wire_message message = sample(kind, false);
        struct peri_buffer bytes = encode(&message);
        char *copy = malloc(bytes.size);
        for (size_t at = 0; at < bytes.size * 256; at++) {
            memcpy(copy, bytes.data, bytes.size);
            copy[at / 256] = (char)at;
            if (wire_message_decode(peri_slice_of(copy, bytes.size), &message, NULL) == 0)
                wire_message_print(&message, line, sizeof line);
        }
        free(copy);
        peri_buffer_deinit(&bytes);
    }
}

static void wrong_messages_are_named(void **state)
{
    (void)state;
#define HEAD(kind) "\3" kind "\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define BYTES(string)                                                                              \
    {                                                                                              \
        string, sizeof(string) - 1                                                                 \
    }
    static const struct {
        struct peri_slice bytes;
        int code;
        const char *text;
    } cases[] = {
        {BYTES("\1\1"), PERI_EFORMAT, "a message of only 2 bytes"},
        {BYTES("\1\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), PERI_EVERSION,
         "the peer speaks version 1 of the protocol, we speak 3"},
        {BYTES("\x80\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), PERI_EFORMAT,
         "a message that begins with byte 80"},
        {BYTES(HEAD("\0")), PERI_EFORMAT, "no kind of message has number 0"},
        {BYTES(HEAD("\xff")), PERI_EFORMAT, "no kind of message has number 255"},
        {BYTES(HEAD("\17")), PERI_EFORMAT, "the body of a PING is no array of 1 fields"},
        {BYTES(HEAD("\17") "\x92\1\2"), PERI_EFORMAT, "the body of a PING is no array of 1 fields"},
        {BYTES(HEAD("\17") "\x91\xff"), PERI_EFORMAT, "field sent_us of a PING is malformed"},
        {BYTES(HEAD("\17") "\x91\1\1"), PERI_EFORMAT, "1 bytes behind the fields of a PING"},
        {BYTES(HEAD("\6") "\x92\xa4"
                          "ech"),
         PERI_EFORMAT, "field name of a CALL is malformed"},
        {BYTES(HEAD("\6") "\x92\xdb\xff\xff\xff\xff"), PERI_EFORMAT,
         "field name of a CALL is malformed"},
        {BYTES(HEAD("\6") "\x92\xa0\xdd\xff\xff\xff\xff\1"), PERI_EFORMAT,
         "field args of a CALL is malformed"},
        {BYTES(HEAD("\6") "\x92\xa0\xdf\xff\xff\xff\xff\1\1"), PERI_EFORMAT,
         "field args of a CALL is malformed"},
        {BYTES(HEAD("\6") "\x92\xa0\xc1"), PERI_EFORMAT, "field args of a CALL is malformed"},
        {BYTES(HEAD("\6") "\x92\xa0\xd4\1\1"), PERI_EFORMAT, "field args of a CALL is malformed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_message message;
        struct peri_error err = PERI_ERROR_INIT;
        assert_int_equal(wire_message_decode(cases[i].bytes, &message, &err), cases[i].code);
        assert_string_equal(err.text, cases[i].text);
    }
}

/* ---- messages said again ---- */

static struct wire_message echo_call(void)
{
    struct wire_message call = {.kind = WIRE_CALL, .flags = 2, .budget_ms = 1000, .id = 7};
    call.call.name = peri_slice_of("echo", 4);
    call.call.args = peri_slice_of("\x91\x01", 2);
    return call;
}

static void a_message_is_said_again(void **state)
{
    (void)state;
    struct wire_message calls[2] = {echo_call(), echo_call()};
    calls[1].kind = WIRE_REPLY;
    calls[1].reply.values = peri_slice_of("\x90", 1);
    for (size_t i = 0; i < 2; i++) {
        static const char bytes[] = "\x80\x92\xa1x\xc0";
        struct wire_message message = calls[i];
        struct wire_message wanted = calls[i];
        struct wire_again again;
        wanted.id = 8;
        if (i == 0)
            wanted.call.args = peri_slice_of(bytes + 1, 4);
        else
            wanted.reply.values = peri_slice_of(bytes + 1, 4);
        assert_true(wire_is_again(peri_slice_of(bytes, 5)));
        assert_int_equal(wire_message_decode_again(peri_slice_of(bytes, 5), &message), 0);
        assert_true(message_is_same(&message, &wanted));
        wire_again_note(&again, &calls[i]);
        assert_true(wire_again_fits(&again, &message));
        assert_true(peri_slice_is_same(wire_again_value(&message), peri_slice_of(bytes + 1, 4)));
    }
}

static void wrong_repetitions_change_nothing(void **state)
{
    (void)state;
    struct wire_message long_name = echo_call();
    struct wire_message ping = {.kind = WIRE_PING, .id = 1};
    struct wire_message last = echo_call();
    char name[WIRE_AGAIN_NAME_MAX + 1] = {0};
    long_name.call.name = peri_slice_of(name, sizeof name);
    last.id = UINT64_MAX;
    const struct {
        struct wire_message before;
        struct peri_slice bytes;
    } cases[] = {
        {echo_call(), BYTES("\x80")},               /* no value */
        {echo_call(), BYTES("\x80\x91")},           /* half of one */
        {echo_call(), BYTES("\x80\x91\xd9")},       /* of a text, whose size is missing */
        {echo_call(), BYTES("\x80\x91\xd9\x02x")},  /* which is longer than the message */
        {echo_call(), BYTES("\x80\x91\xd9\x01xy")}, /* or shorter */
        {echo_call(), BYTES("\x80\x01\x02")},       /* two values */
        {echo_call(), BYTES("\x80\xc1")},           /* none of MessagePack */
        {long_name, BYTES("\x80\x90")},
        {last, BYTES("\x80\x90")}, /* nothing can follow */
        {ping, BYTES("\x80\x01")},
        {{.kind = 0}, BYTES("\x80\x01")}, /* nothing came before */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_message message = cases[i].before;
        assert_int_equal(wire_message_decode_again(cases[i].bytes, &message), PERI_EFORMAT);
        assert_memory_equal(&message, &cases[i].before, sizeof message);
    }
}

static void another_message_is_not_said_again(void **state)
{
    (void)state;
    struct wire_message before = echo_call();
    struct wire_message next[8];
    struct wire_again again;
    wire_again_note(&again, &before);
    for (size_t i = 0; i < 8; i++) {
        next[i] = before;
        next[i].id = 8;
    }
    assert_true(wire_again_fits(&again, &next[0]));
    next[1].id = 9;
    next[2].flags = 0;
    next[3].budget_ms = 999;
    next[4].kind = WIRE_CAST;
    next[5].call.name = peri_slice_of("ech", 3);
    next[6].call.name = peri_slice_of("ecko", 4);
    next[7].call.args = peri_slice_of("", 0); /* nil, which only the full form knows */
    for (size_t i = 1; i < 8; i++)
        assert_false(wire_again_fits(&again, &next[i]));
    before.kind = WIRE_ITEM;
    wire_again_note(&again, &before);
    assert_int_equal(again.kind, 0);
}

static void values_end_where_they_end(void **state)
{
    (void)state;
    static const struct {
        struct peri_slice bytes;
        size_t size;
    } cases[] = {
        {BYTES(""), 0},
        {BYTES("\xc0"), 1},
        {BYTES("\xe0tail"), 1},
        {BYTES("\xd3........tail"), 9},
        {BYTES("\xd3......."), 0},
        {BYTES("\x92\x93\1\2\3\xc4\2..tail"), 9},
        {BYTES("\x92\x93\1\2\3"), 0},
        {BYTES("\x81\xa1k\x81\xa1l\x90tail"), 7},
        {BYTES("\xdc\0\2\1\2tail"), 5},
        {BYTES("\x9f"), 0},
        {BYTES("\xc7\1\1."), 0},
        {BYTES("\xc1"), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(wire_value_size(cases[i].bytes), cases[i].size);
}
#undef BYTES
#undef HEAD

/* A hostile value of a megabyte of "[[[[..." costs a walk over it, not a stack. */
static void nesting_costs_no_stack(void **state)
{
    (void)state;
    enum { DEPTH = 1 << 20 };
    char *bytes = malloc(DEPTH);
    memset(bytes, 0x91, DEPTH);
    assert_int_equal(wire_value_size(peri_slice_of(bytes, DEPTH)), 0);
    bytes[DEPTH - 1] = 1;
    assert_int_equal(wire_value_size(peri_slice_of(bytes, DEPTH)), DEPTH);
    free(bytes);
}

static void an_absent_value_is_nil(void **state)
{
    (void)state;
    struct wire_message message = {.kind = WIRE_REPLY, .id = 3};
    struct wire_message back;
    struct peri_buffer bytes = encode(&message);
    assert_int_equal(wire_message_decode(peri_buffer_slice(&bytes), &back, NULL), 0);
    assert_true(message_same_VALUE(back.reply.values, text("\xc0")));
    peri_buffer_deinit(&bytes);
}

static void lines_are_for_people(void **state)
{
    (void)state;
    char line[128];
    struct wire_message call = {.kind = WIRE_CALL, .id = 7, .budget_ms = 1000};
    call.call.name = text("echo");
    call.call.args = text("\x91\xa9"
                          "twelve by");
    wire_message_print(&call, line, sizeof line);
    assert_string_equal(line, "CALL id=7 budget=1000 name=echo args=11B");

    struct wire_message error = {.kind = WIRE_ERROR, .id = 9, .flags = 2};
    error.error.code = text("E\033[2J x");
    error.error.retryable = true;
    wire_message_print(&error, line, sizeof line);
    assert_string_equal(line, "ERROR id=9 flags=0x2 code=E\\x1b[2J\\x20x message= retryable=true"
                              " traceback=");

    struct wire_message ping = {.kind = WIRE_PING};
    ping.ping.sent_us = UINT64_MAX;
    wire_message_print(&ping, line, sizeof line);
    assert_string_equal(line, "PING sent_us=18446744073709551615");
    wire_message_print(&ping, line, 8);
    assert_string_equal(line, "PING se");
    wire_message_print(&ping, line, 1);
    assert_string_equal(line, "");
}

static void encoding_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct wire_message message = sample(WIRE_CALL, true);
    for (long n = 1;; n++) {
        struct peri_buffer out = {NULL, 0, 0};
        struct peri_slice tail;
        test_alloc_fail(n);
        int rc = wire_message_encode(&message, &out, &tail);
        bool has_failed = test_alloc_end();
        assert_int_equal(rc, has_failed ? PERI_ENOMEM : 0);
        assert_true(!has_failed || out.size == 0);
        peri_buffer_deinit(&out);
        if (!has_failed)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(no_prefix_is_a_message),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(wrong_messages_are_named),
        cmocka_unit_test(a_message_is_said_again),
        cmocka_unit_test(wrong_repetitions_change_nothing),
        cmocka_unit_test(another_message_is_not_said_again),
        cmocka_unit_test(values_end_where_they_end),
        cmocka_unit_test(nesting_costs_no_stack),
        cmocka_unit_test(an_absent_value_is_nil),
        cmocka_unit_test(lines_are_for_people),
        cmocka_unit_test(encoding_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
