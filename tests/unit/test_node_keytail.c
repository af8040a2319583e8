/* What commands say, compared with a list: appended, cut, found, sealed and taken at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "node/keytail.h"

enum { SEEDS = 200, STEPS = 400, ITEMS_MAX = 4 * STEPS, HASHES = 9, SIZE_MAX_OF_ITEM = 3000 };

struct expected {
    uint64_t tag, hash;
    size_t size, bytes; /* of the tail when it had come */
    char fill;
};

static struct expected items[ITEMS_MAX];
static size_t first, count, laid; /* items[first .. count) are in the tail, up to laid sealed */
static uint64_t random_state;
static char text[SIZE_MAX_OF_ITEM];

static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % below;
}

static void check_item(const struct node_keytail_item *item, const struct expected *expected)
{
    assert_int_equal(item->tag, expected->tag);
    assert_int_equal(item->hash, expected->hash);
    assert_int_equal(item->bytes.size, expected->size);
    memset(text, expected->fill, sizeof text);
    assert_memory_equal(item->bytes.data, text, expected->size);
}

static void append(struct node_keytail *tail, uint64_t *tag)
{
    struct expected *item = &items[count++];
    *tag += draw(3);
    *item = (struct expected){.tag = *tag,
                              .hash = draw(HASHES) << 58 | draw(2),
                              .size = draw(draw(4) == 0 ? SIZE_MAX_OF_ITEM : 60),
                              .fill = (char)('a' + draw(26))};
    memset(text, item->fill, sizeof text);
    assert_int_equal(
        node_keytail_append(tail, item->tag, item->hash, peri_slice_of(text, item->size)), 0);
    item->bytes = tail->bytes;
}

static size_t bytes_before(size_t at)
{
    return at > first ? items[at - 1].bytes : 0;
}

static void cut(struct node_keytail *tail, uint64_t *tag)
{
    size_t least = laid > first ? laid : first;
    if (count > least)
        count -= draw(count - least < 5 ? count - least + 1 : 5);
    node_keytail_cut(tail, bytes_before(count));
    *tag = count > 0 ? items[count - 1].tag : 0;
}

/* Seals what is there, and takes it when that has been done before. */
static void lay(struct node_keytail *tail)
{
    struct node_keytail_piece piece = node_keytail_seal(tail, NULL);
    struct node_keytail_place place;
    struct node_keytail_item item;
    struct peri_list chunks;
    assert_int_equal(piece.first != NULL, count > first);
    if (piece.first == NULL)
        return;
    laid = count;
    place = node_keytail_begin(&piece);
    if (draw(2) == 0)
        return;
    peri_list_init(&chunks);
    assert_int_equal(node_keytail_take(tail, piece.last, &chunks), bytes_before(laid));
    for (; first < laid; first++) {
        assert_true(node_keytail_next(NULL, &place, &item));
        check_item(&item, &items[first]);
    }
    assert_false(node_keytail_next(NULL, &place, &item));
    assert_int_equal(tail->bytes, 0);
    node_keytail_free(&chunks);
}

static bool has_fill(void *data, const struct node_keytail_item *item)
{
    const char *fill = data;
    return item->bytes.size > 0 && item->bytes.data[0] == *fill;
}

static void find(const struct node_keytail *tail, uint64_t tag)
{
    uint64_t hash = draw(HASHES) << 58 | draw(2), least = draw(tag + 2), most = draw(tag + 2);
    char fill = (char)('a' + draw(26));
    struct node_keytail_item item;
    const struct expected *expected = NULL;
    for (size_t i = first; i < count; i++)
        if (items[i].hash == hash && items[i].tag >= least && items[i].tag <= most &&
            items[i].size > 0 && items[i].fill == fill)
            expected = &items[i];
    bool is_found = node_keytail_find(tail, hash, least, most, has_fill, &fill, &item);
    assert_int_equal(is_found, expected != NULL);
    if (expected != NULL)
        check_item(&item, expected);
}

static void walk(const struct node_keytail *tail, uint64_t tag)
{
    uint64_t from = draw(tag + 2);
    size_t at = first;
    struct node_keytail_place place = node_keytail_seek(tail, from);
    struct node_keytail_item item;
    while (at < count && items[at].tag < from)
        at++;
    for (; at < count; at++) {
        assert_true(node_keytail_next(tail, &place, &item));
        check_item(&item, &items[at]);
    }
    assert_false(node_keytail_next(tail, &place, &item));
}

static void test_tail(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct node_keytail tail, copy;
        uint64_t tag = 0;
        random_state = seed * 7919;
        first = count = laid = 0;
        node_keytail_init(&tail);
        for (int i = 0; i < STEPS; i++) {
            for (uint64_t more = draw(4); more > 0; more--)
                append(&tail, &tag);
            if (draw(6) == 0)
                cut(&tail, &tag);
            if (draw(25) == 0)
                lay(&tail);
            find(&tail, tag);
            if (draw(10) == 0)
                walk(&tail, tag);
        }
        node_keytail_init(&copy);
        assert_int_equal(node_keytail_append_all(&copy, &tail), 0);
        walk(&copy, tag);
        node_keytail_clear(&copy);
        node_keytail_clear(&tail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
