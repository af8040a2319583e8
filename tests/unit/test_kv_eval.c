/* Scripts as commands of the store, with an engine whose scripts are lists of commands: runs begin
 * again at every read, and what is refused has no effect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/assert.h"
#include "kv/script.h"
#include "kv_store.h"
#include "wire/pack.h"

static struct kv_store store;
static struct peri_buffer bytes, out;
static struct peri_error err;
static unsigned runs;

/* Words with blanks between them. */
static void read_words(struct peri_slice line, struct resp_command *command)
{
    command->count = 0;
    for (size_t at = 0; at < line.size;) {
        size_t end = at;
        while (end < line.size && line.data[end] != ' ')
            end++;
        command->args[command->count++] = peri_slice_of(line.data + at, end - at);
        at = end + 1;
    }
}

/* Commands with ; between them: all of their replies. One that is refused ends the script, but
 * where a ? stands in front of it. */
static int run_lines(struct kv_engine *engine, const struct kv_script_call *call,
                     struct peri_buffer *reply, struct peri_error *failed)
{
    static struct resp_command command;
    (void)engine;
    runs++;
    for (size_t at = 0; at < call->text.size;) {
        size_t end = at, before = reply->size;
        while (end < call->text.size && call->text.data[end] != ';')
            end++;
        bool is_patient = call->text.data[at] == '?';
        read_words(peri_slice_of(call->text.data + at + is_patient, end - at - is_patient),
                   &command);
        int rc = call->command(call->host, &command, reply);
        if (rc != 0)
            return rc;
        if (reply->data[before] == '-' && !is_patient)
            return peri_fail_plain(failed, PERI_ELUA, "%.*s", (int)(reply->size - before - 3),
                                   reply->data + before + 1);
        at = end + 1;
    }
    return 0;
}

static struct kv_engine engine = {run_lines};

static int set_up(void **state)
{
    (void)state;
    store = (struct kv_store){.random = 7};
    store.view.engine = &engine;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kv_store_deinit(&store);
    peri_buffer_deinit(&bytes);
    peri_buffer_deinit(&out);
    return 0;
}

/* Runs a script at that time; keys with blanks between them. */
static int eval(uint64_t now_ms, const char *script, const char *keys)
{
    static struct resp_command list;
    struct wire_packer packer = {&bytes, 0};
    bytes.size = 0;
    read_words(kv_text(keys), &list);
    kv_command_begin(&packer, 10, "eval");
    wire_pack_bytes(&packer, kv_text(script));
    wire_pack_uint(&packer, 1000000);
    wire_pack_uint(&packer, 2);
    wire_pack_array(&packer, list.count);
    for (uint32_t i = 0; i < list.count; i++)
        wire_pack_bytes(&packer, list.args[i]);
    wire_pack_array(&packer, 0);
    assert_int_equal(0, packer.rc);
    assert_int_equal(0, kv_command_stamp(&bytes, now_ms));
    return kv_store_apply(&store, peri_buffer_slice(&bytes), &out, &err);
}

static void expect(uint64_t now_ms, const char *script, const char *keys, const char *reply)
{
    if (eval(now_ms, script, keys) != 0)
        fail_msg("%s: %s", script, err.text);
    struct wire_unpacker in = wire_unpack(peri_buffer_slice(&out));
    (void)wire_unpack_array(&in);
    (void)wire_unpack_uint(&in);
    (void)wire_unpack_uint(&in);
    struct peri_slice found = wire_unpack_bytes(&in);
    assert_int_equal(0, wire_unpack_end(&in));
    if (peri_slice_compare(found, kv_text(reply)) != 0)
        fail_msg("%s: %.*s", script, (int)found.size, found.data);
}

static void test_commands(void **state)
{
    (void)state;
    expect(1, "set a 1;incr a;get a", "a", "+OK\r\n:2\r\n$1\r\n2\r\n");
    expect(2, "mset a 5 b 6;mget a b c;del a b c;exists a", "a b c",
           "+OK\r\n*3\r\n$1\r\n5\r\n$1\r\n6\r\n$-1\r\n:2\r\n:0\r\n");
    expect(3, "set a x px 100;pttl a;expireat a 1001;pttl a;incrbyfloat f 1.5", "a f",
           "+OK\r\n:100\r\n:1\r\n:1000\r\n$3\r\n1.5\r\n");
    expect(900, "pttl a;get a", "a", ":103\r\n$1\r\nx\r\n");
    expect(2000, "get a;set a y nx", "a", "$-1\r\n+OK\r\n");
    expect(2000, "?incr a;?incr a x;?nonsense;?keys *;?get z;?msetnx a 1;append a z", "a",
           "-ERR value is not an integer or out of range\r\n"
           "-ERR Wrong number of args calling 'incr' from script\r\n"
           "-ERR Unknown Redis command called from script: 'nonsense'\r\n"
           "-ERR 'keys' is not allowed from script\r\n"
           "-ERR a script uses only keys that EVAL names, and not 'z'\r\n"
           "-ERR MSETNX cannot stand in a transaction: use WATCH\r\n:2\r\n");
    expect(2000, "", "", "");
}

/* Keys are read before the script runs: it does not run once for each. */
static void test_restarts(void **state)
{
    char script[1024] = "", keys[1024] = "";
    (void)state;
    for (int i = 0; i < 60; i++) {
        (void)snprintf(script + strlen(script), sizeof script - strlen(script), "incr k%d;", i);
        (void)snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "k%d ", i);
    }
    for (int i = 0; i < 20; i++) {
        runs = 0;
        assert_int_equal(0, eval(1, script, keys));
        assert_in_range(runs, 1, 2);
    }
    expect(1, "get k0;get k59", "k0 k59", "$2\r\n20\r\n$2\r\n20\r\n");
}

static void test_no_effect(void **state)
{
    static const struct {
        const char *script;
        int code;
        const char *text;
    } failures[] = {
        {"set a 2;set b 3;incr c;incr a x", PERI_ELUA, "ERR Wrong number"},
        {"set a 2;set a x;incr a", PERI_ELUA, "ERR value is not an integer"},
        {"set a 2;get z", PERI_ELUA, "ERR a script uses only keys"},
        {"del a b c;lpush a 1", PERI_ELUA, "ERR Unknown Redis command"},
    };
    (void)state;
    expect(1, "set a 1", "a b c", "+OK\r\n");
    size_t events = kv_store_count(&store, 'e');
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        assert_int_equal(failures[i].code, eval(2, failures[i].script, "a b c"));
        if (strncmp(err.text, failures[i].text, strlen(failures[i].text)) != 0)
            fail_msg("%s: %s", failures[i].script, err.text);
        assert_int_equal(events, kv_store_count(&store, 'e'));
        expect(2, "mget a b c", "a b c", "*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n");
    }
    store.view.engine = NULL;
    assert_int_equal(PERI_EINVAL, eval(3, "get a", "a"));
}

/* What cannot be is refused before anything runs. */
static void test_malformed(void **state)
{
    static char large[KV_KEY_MAX + 2];
    char many[4 * (KV_SCRIPT_KEYS_MAX + 1) + 1] = "";
    (void)state;
    memset(large, 'x', sizeof large - 1);
    for (int i = 0; i <= KV_SCRIPT_KEYS_MAX; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "%d ", i);
    assert_int_equal(PERI_ETOOBIG, eval(1, "get a", large));
    assert_int_equal(PERI_ETOOBIG, eval(1, "get a", many));
    assert_int_equal(0, eval(1, "get a", "a"));
    for (size_t size = 0; size < bytes.size; size++) { /* any part of it */
        assert_int_equal(PERI_EINVAL,
                         kv_store_apply(&store, peri_slice_of(bytes.data, size), &out, &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restarts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_effect, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_malformed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
