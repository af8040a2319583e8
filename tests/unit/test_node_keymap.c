/* The ordered map of keys in memory: with and without its hash table it is what a sorted array is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/keymap.h"

enum { KEYS = 700, STEPS = 40000 };

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % below;
}

static struct peri_slice key_of(unsigned number, char room[16])
{
    return peri_slice_of(room, (size_t)snprintf(room, 16, "%05u", number));
}

/* What the map should hold: the size of each value, or -1. */
static int model[KEYS];

static void check_key(const struct node_keymap *map, unsigned number)
{
    char room[16];
    const struct node_keymap_entry *entry = node_keymap_find(map, key_of(number, room));
    assert_int_equal(entry != NULL, model[number] >= 0);
    if (entry == NULL)
        return;
    assert_int_equal(node_keymap_value(entry).size, model[number]);
    for (int i = 0; i < model[number]; i++)
        assert_int_equal((unsigned char)node_keymap_value(entry).data[i], model[number] % 251);
}

static void check_order(const struct node_keymap *map)
{
    char room[16];
    const struct node_keymap_entry *entry = node_keymap_seek(map, key_of(KEYS / 3, room));
    for (unsigned number = KEYS / 3; number < KEYS; number++) {
        if (model[number] < 0)
            continue;
        assert_non_null(entry);
        assert_int_equal(peri_slice_compare(node_keymap_key(entry), key_of(number, room)), 0);
        entry = entry->next[0];
    }
    assert_null(entry);
    entry = node_keymap_seek_below(map, key_of(KEYS / 3, room));
    for (unsigned number = KEYS / 3; number-- > 0;) {
        if (model[number] < 0)
            continue;
        assert_non_null(entry);
        assert_int_equal(peri_slice_compare(node_keymap_key(entry), key_of(number, room)), 0);
        entry = node_keymap_seek_below(map, node_keymap_key(entry));
    }
    assert_null(entry);
}

static void put(struct node_keymap *map, unsigned number, int size)
{
    char room[16], value[600];
    memset(value, size % 251, sizeof value);
    struct node_keymap_entry *entry =
        node_keymap_entry_create(key_of(number, room), peri_slice_of(value, (size_t)size), false);
    struct node_keymap_entry *known = node_keymap_find(map, key_of(number, room));
    if (known != NULL && node_keymap_overwrite(known, entry)) {
        assert_true(known->value_room >= (size_t)size && known->value_room < (size_t)size + 300);
        free(entry);
    } else {
        assert_ptr_equal(node_keymap_put(map, entry), known);
        free(known);
    }
    model[number] = size;
}

static void walk(bool is_indexed)
{
    struct node_keymap map = {.is_indexed = is_indexed};
    uint64_t seed = 7;
    for (unsigned i = 0; i < KEYS; i++)
        model[i] = -1;
    for (unsigned step = 0; step < STEPS; step++) {
        char room[16];
        /* Few keys, many, few again: the table grows, and lives with holes. */
        unsigned number = (unsigned)draw(&seed, step / 8000 % 2 == 0 ? 40 : KEYS);
        if (draw(&seed, 5) < 3) {
            put(&map, number, (int)draw(&seed, 600));
        } else if (model[number] >= 0) {
            struct node_keymap_entry *entry = node_keymap_find(&map, key_of(number, room));
            node_keymap_remove(&map, entry);
            free(entry);
            model[number] = -1;
        }
        check_key(&map, number);
        check_key(&map, (unsigned)draw(&seed, KEYS));
        if (step % 500 == 0)
            check_order(&map);
    }
    assert_int_equal(map.slots != NULL, is_indexed);
    node_keymap_clear(&map);
    assert_null(map.slots);
    assert_null(node_keymap_find(&map, peri_slice_of("00001", 5)));
}

static void test_list(void **state)
{
    (void)state;
    walk(false);
}

static void test_table(void **state)
{
    (void)state;
    walk(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_list), cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
