#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/chunks.h"
#include "rpc/window.h"

enum { BYTES_MAX = 16 << 20, CHUNKS_MAX = 256 };

static uint64_t seed;

static unsigned draw(unsigned below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (unsigned)(seed >> 33) % below;
}

/* A message whose bytes follow from its id. */
static struct peri_buffer message_of(uint64_t id, size_t size)
{
    struct peri_buffer message = {NULL, 0, 0};
    assert_int_equal(peri_buffer_reserve(&message, size), 0);
    for (size_t i = 0; i < size; i++)
        message.data[i] = (char)(i * 31 + id * 7 + (i >> 8));
    message.size = size;
    return message;
}

static void add(struct rpc_outbox *outbox, uint64_t id, size_t size)
{
    struct peri_buffer message = message_of(id, size);
    struct peri_slice parts[2] = {peri_slice_of(message.data, size / 3),
                                  peri_slice_of(message.data + size / 3, size - size / 3)};
    assert_int_equal(rpc_outbox_add(outbox, id, parts, 2), 0);
    peri_buffer_deinit(&message);
}

/* The same, but the outbox takes what is behind the first bytes. Returns where that lies. */
static struct peri_slice give(struct rpc_outbox *outbox, uint64_t id, size_t size)
{
    struct peri_buffer message = message_of(id, size);
    struct peri_buffer body = {NULL, 0, 0};
    assert_int_equal(peri_buffer_append(&body, message.data + size / 3, size - size / 3), 0);
    struct peri_slice lies = peri_buffer_slice(&body);
    assert_int_equal(rpc_outbox_take(outbox, id, peri_slice_of(message.data, size / 3), &body), 0);
    assert_null(body.data);
    peri_buffer_deinit(&message);
    return lies;
}

/* Chunks under way, with bytes of their own. */
struct road {
    struct wire_message chunks[CHUNKS_MAX];
    char *bytes[CHUNKS_MAX];
    size_t count;
};

static void put(struct road *road, const struct wire_message *chunk)
{
    assert_true(road->count < CHUNKS_MAX);
    size_t size = chunk->chunk.bytes.size;
    char *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, chunk->chunk.bytes.data, size);
    road->bytes[road->count] = copy;
    road->chunks[road->count] = *chunk;
    road->chunks[road->count].chunk.bytes = peri_slice_of(copy, size);
    road->count++;
}

static void swap(struct road *road, size_t a, size_t b)
{
    struct wire_message chunk = road->chunks[a];
    char *bytes = road->bytes[a];
    road->chunks[a] = road->chunks[b];
    road->bytes[a] = road->bytes[b];
    road->chunks[b] = chunk;
    road->bytes[b] = bytes;
}

static void clear(struct road *road)
{
    for (size_t i = 0; i < road->count; i++)
        free(road->bytes[i]);
    road->count = 0;
}

static void test_messages_come_whole_whatever_the_order(void **state)
{
    (void)state;
    static struct road road;
    for (unsigned run = 1; run <= 20; run++) {
        struct rpc_outbox outbox;
        struct rpc_inbox inbox;
        struct wire_message chunk;
        size_t sizes[5];
        unsigned whole_count = 0;
        seed = run;
        rpc_outbox_init(&outbox, BYTES_MAX);
        rpc_inbox_init(&inbox, BYTES_MAX);
        for (unsigned id = 0; id < 5; id++) {
            sizes[id] = 1 + draw(5 * RPC_CHUNK_SIZE);
            if (draw(2) == 0)
                add(&outbox, id, sizes[id]);
            else
                (void)give(&outbox, id, sizes[id]);
        }
        while (rpc_outbox_next(&outbox, &chunk)) {
            assert_true(chunk.chunk.bytes.size <= RPC_CHUNK_SIZE);
            put(&road, &chunk);
            if (draw(4) == 0)
                put(&road, &chunk); /* the network repeats it */
            rpc_outbox_sent(&outbox);
        }
        assert_int_equal(outbox.bytes, 0);
        for (size_t i = road.count; i-- > 1;)
            swap(&road, i, draw((unsigned)i + 1));
        bool has_come[5] = {false};
        for (size_t i = 0; i < road.count; i++) {
            struct peri_buffer whole = {NULL, 0, 0};
            uint64_t id = road.chunks[i].id;
            if (has_come[id]) /* conn.h's owner asks the window of ids here */
                continue;
            int rc = rpc_inbox_add(&inbox, &road.chunks[i], 1, &whole);
            assert_in_range(rc, 0, 1);
            if (rc == 0)
                continue;
            struct peri_buffer expected = message_of(id, sizes[id]);
            assert_int_equal(whole.size, sizes[id]);
            assert_memory_equal(whole.data, expected.data, sizes[id]);
            peri_buffer_deinit(&expected);
            peri_buffer_deinit(&whole);
            has_come[id] = true;
            whole_count++;
        }
        assert_int_equal(whole_count, 5);
        assert_int_equal(inbox.bytes, 0);
        assert_int_equal(inbox.count, 0);
        clear(&road);
        rpc_outbox_deinit(&outbox);
        rpc_inbox_deinit(&inbox);
    }
}

static void test_transfers_take_turns(void **state)
{
    (void)state;
    static const uint64_t order[] = {1, 2, 3, 1, 2, 1};
    struct rpc_outbox outbox;
    struct wire_message chunk;
    rpc_outbox_init(&outbox, BYTES_MAX);
    add(&outbox, 1, 2 * RPC_CHUNK_SIZE + 1);
    add(&outbox, 2, RPC_CHUNK_SIZE + 1);
    add(&outbox, 3, 1);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        assert_true(rpc_outbox_next(&outbox, &chunk));
        assert_int_equal(chunk.id, order[i]);
        rpc_outbox_sent(&outbox);
    }
    assert_false(rpc_outbox_next(&outbox, &chunk));
    rpc_outbox_deinit(&outbox);
}

/* Moving 100 MB at once would keep all others waiting. */
static void test_what_is_taken_is_not_copied(void **state)
{
    (void)state;
    struct rpc_outbox outbox;
    struct wire_message chunk;
    rpc_outbox_init(&outbox, BYTES_MAX);
    const size_t size = 6 * RPC_CHUNK_SIZE;
    struct peri_slice lies = give(&outbox, 1, size);
    size_t seen = 0;
    for (; rpc_outbox_next(&outbox, &chunk); rpc_outbox_sent(&outbox)) {
        assert_true(chunk.chunk.bytes.size <= RPC_CHUNK_SIZE);
        assert_int_equal(chunk.chunk.total, size);
        if (chunk.chunk.offset < size - lies.size)
            continue;
        assert_ptr_equal(chunk.chunk.bytes.data, lies.data + seen);
        seen += chunk.chunk.bytes.size;
    }
    assert_int_equal(seen, lies.size);
    (void)give(&outbox, 2, size);
    struct peri_buffer body = message_of(3, BYTES_MAX);
    assert_int_equal(rpc_outbox_take(&outbox, 3, peri_slice_of("x", 1), &body), PERI_EBUSY);
    assert_int_equal(body.size, BYTES_MAX); /* still the caller's */
    peri_buffer_deinit(&body);
    rpc_outbox_deinit(&outbox);
}

static void test_the_outbox_is_bounded_and_forgets(void **state)
{
    (void)state;
    struct rpc_outbox outbox;
    struct wire_message chunk;
    struct peri_slice part = peri_slice_of("0123456789", 10);
    rpc_outbox_init(&outbox, 25);
    assert_int_equal(rpc_outbox_add(&outbox, 1, &part, 1), 0);
    assert_int_equal(rpc_outbox_add(&outbox, 2, &part, 1), 0);
    assert_int_equal(rpc_outbox_add(&outbox, 3, &part, 1), PERI_EBUSY);
    rpc_outbox_drop(&outbox, 1);
    assert_int_equal(rpc_outbox_add(&outbox, 3, &part, 1), 0);
    assert_true(rpc_outbox_next(&outbox, &chunk));
    assert_int_equal(chunk.id, 2);
    rpc_outbox_deinit(&outbox);
}

static struct wire_message chunk_of(uint64_t id, uint64_t total, uint64_t offset, size_t size)
{
    static char bytes[1 << 10];
    struct wire_message chunk = {.kind = WIRE_CHUNK, .id = id};
    chunk.chunk.total = total;
    chunk.chunk.offset = offset;
    chunk.chunk.bytes = peri_slice_of(bytes, size);
    return chunk;
}

static void test_chunks_that_contradict_each_other(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t total, offset;
        size_t size;
    } rows[] = {
        {"another total", 200, 10, 10}, {"behind the end", 100, 101, 10},
        {"over the end", 100, 95, 10},  {"over all ends", 100, UINT64_MAX - 4, 10},
        {"nothing", 100, 10, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rpc_inbox inbox;
        struct peri_buffer whole = {NULL, 0, 0};
        rpc_inbox_init(&inbox, BYTES_MAX);
        struct wire_message first = chunk_of(1, 100, 0, 10);
        struct wire_message second = chunk_of(1, rows[i].total, rows[i].offset, rows[i].size);
        assert_int_equal(rpc_inbox_add(&inbox, &first, 1, &whole), 0);
        if (rpc_inbox_add(&inbox, &second, 1, &whole) != PERI_EPROTOCOL)
            fail_msg("%s", rows[i].name);
        assert_int_equal(inbox.count, 0);
        assert_int_equal(inbox.bytes, 0);
        rpc_inbox_deinit(&inbox);
    }
}

/* A total of 1 TB with ten bytes of it takes ten bytes; too many of either are refused. */
static void test_the_inbox_takes_what_came(void **state)
{
    (void)state;
    struct rpc_inbox inbox;
    struct peri_buffer whole = {NULL, 0, 0};
    rpc_inbox_init(&inbox, 1000);
    for (uint64_t id = 0; id < RPC_TRANSFERS_MAX; id++) {
        struct wire_message chunk = chunk_of(id, UINT64_C(1) << 40, id % 2 * 500, 10);
        assert_int_equal(rpc_inbox_add(&inbox, &chunk, id, &whole), 0);
    }
    assert_int_equal(inbox.bytes, 10 * RPC_TRANSFERS_MAX);
    struct wire_message more = chunk_of(1000, 100, 0, 10);
    assert_int_equal(rpc_inbox_add(&inbox, &more, 1, &whole), PERI_EBUSY);
    struct wire_message much = chunk_of(0, UINT64_C(1) << 40, 10, 500);
    assert_int_equal(rpc_inbox_add(&inbox, &much, 1, &whole), PERI_EBUSY);
    rpc_inbox_drop(&inbox, 1);
    assert_int_equal(inbox.count, RPC_TRANSFERS_MAX - 2);
    rpc_inbox_expire(&inbox, RPC_TRANSFER_IDLE_US + 10);
    assert_int_equal(inbox.count, RPC_TRANSFERS_MAX - 11);
    rpc_inbox_expire(&inbox, RPC_TRANSFER_IDLE_US * 2);
    assert_int_equal(inbox.count, 0);
    assert_int_equal(inbox.bytes, 0);
    rpc_inbox_deinit(&inbox);
}

/* Against a table of all numbers: a number is new once, and never when it is older than the window.
 */
static void test_the_window(void **state)
{
    (void)state;
    enum { NUMBERS = 200000, STEPS = 400000 };
    static bool seen[NUMBERS];
    for (unsigned run = 1; run <= 4; run++) {
        static struct rpc_window window;
        uint64_t highest = 0;
        memset(&window, 0, sizeof window);
        memset(seen, 0, sizeof seen);
        seed = run;
        for (unsigned step = 0; step < STEPS; step++) {
            uint64_t number = highest + draw(8);
            if (draw(3) == 0)
                number = number > 40000 ? number - draw(40000) : draw((unsigned)number + 1);
            if (draw(20000) == 0)
                number = highest + draw(40000); /* a long jump */
            if (number >= NUMBERS)
                break;
            bool is_old = number + RPC_WINDOW_SIZE <= highest;
            bool expected = !seen[number] && !is_old;
            assert_int_equal(rpc_window_has(&window, number), !expected);
            assert_int_equal(rpc_window_is_new(&window, number), expected);
            seen[number] = true;
            highest = number > highest ? number : highest;
        }
    }
}

/* The last numbers that there are: nothing turns round to 0, and no loop passes the end. */
static void test_the_end_of_all_numbers(void **state)
{
    (void)state;
    static struct rpc_window window;
    memset(&window, 0, sizeof window);
    assert_true(rpc_window_is_new(&window, 1));
    assert_true(rpc_window_is_new(&window, UINT64_MAX - 2));
    assert_false(rpc_window_is_new(&window, UINT64_MAX));
    assert_true(rpc_window_is_new(&window, UINT64_MAX - 1));
    assert_false(rpc_window_is_new(&window, UINT64_MAX));
    assert_false(rpc_window_is_new(&window, UINT64_MAX - 2));
    assert_false(rpc_window_is_new(&window, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_whole_whatever_the_order),
        cmocka_unit_test(test_transfers_take_turns),
        cmocka_unit_test(test_what_is_taken_is_not_copied),
        cmocka_unit_test(test_the_outbox_is_bounded_and_forgets),
        cmocka_unit_test(test_chunks_that_contradict_each_other),
        cmocka_unit_test(test_the_inbox_takes_what_came),
        cmocka_unit_test(test_the_window),
        cmocka_unit_test(test_the_end_of_all_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
