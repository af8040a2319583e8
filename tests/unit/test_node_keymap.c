/* What memory knows of keys: the ordered map, and the table that puts in order what is asked for,
 * are what a sorted array is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/keytable.h"

enum { KEYS = 700, STEPS = 40000, STEPS_OF_A_SIZE = 8000 };

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

/* Of those, in a table, that are to be in order. */
static bool is_ordered[KEYS];

static void check_entry(const struct node_keymap_entry *entry, unsigned number)
{
    assert_int_equal(entry != NULL, model[number] >= 0);
    if (entry == NULL)
        return;
    assert_int_equal(node_keymap_value(entry).size, model[number]);
    for (int i = 0; i < model[number]; i++)
        assert_int_equal((unsigned char)node_keymap_value(entry).data[i], model[number] % 251);
}

static bool is_in(unsigned number, bool has_all)
{
    return model[number] >= 0 && (has_all || is_ordered[number]);
}

/* The map holds all, or those of them that are to be in order: walked from a third on, and back. */
static void check_order(const struct node_keymap *map, bool has_all)
{
    char room[16];
    const struct node_keymap_entry *entry = node_keymap_seek(map, key_of(KEYS / 3, room));
    for (unsigned number = KEYS / 3; number < KEYS; number++) {
        if (!is_in(number, has_all))
            continue;
        assert_non_null(entry);
        assert_int_equal(peri_slice_compare(node_keymap_key(entry), key_of(number, room)), 0);
        entry = entry->next[0];
    }
    assert_null(entry);
    entry = node_keymap_seek_below(map, key_of(KEYS / 3, room));
    for (unsigned number = KEYS / 3; number-- > 0;) {
        if (!is_in(number, has_all))
            continue;
        assert_non_null(entry);
        assert_int_equal(peri_slice_compare(node_keymap_key(entry), key_of(number, room)), 0);
        entry = node_keymap_seek_below(map, node_keymap_key(entry));
    }
    assert_null(entry);
}

static void begin(void)
{
    for (unsigned i = 0; i < KEYS; i++)
        model[i] = -1;
    memset(is_ordered, 0, sizeof is_ordered);
}

static struct node_keymap_entry *new_entry(unsigned number, int size)
{
    char room[16], value[600];
    memset(value, size % 251, sizeof value);
    model[number] = size;
    return node_keymap_entry_create(key_of(number, room), peri_slice_of(value, (size_t)size),
                                    false);
}

/* Few keys, many, few again: what grows shrinks, too. */
static unsigned draw_key(uint64_t *seed, unsigned step)
{
    return (unsigned)draw(seed, step / STEPS_OF_A_SIZE % 2 == 0 ? 40 : KEYS);
}

/* ---- the map ---- */

static struct node_keymap_entry *find(const struct node_keymap *map, unsigned number)
{
    char room[16];
    return node_keymap_find(map, key_of(number, room));
}

static void put(struct node_keymap *map, unsigned number, int size)
{
    struct node_keymap_entry *known = find(map, number), *entry = new_entry(number, size);
    if (known != NULL && node_keymap_overwrite(known, entry)) {
        assert_true(known->value_room >= (size_t)size && known->value_room < (size_t)size + 300);
        free(entry);
    } else {
        assert_ptr_equal(node_keymap_put(map, entry), known);
        free(known);
    }
}

static void test_map(void **state)
{
    struct node_keymap map = {.heads = {NULL}};
    uint64_t seed = 7;
    (void)state;
    begin();
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned number = draw_key(&seed, step), other = (unsigned)draw(&seed, KEYS);
        if (draw(&seed, 5) < 3) {
            put(&map, number, (int)draw(&seed, 600));
        } else if (model[number] >= 0) {
            struct node_keymap_entry *entry = find(&map, number);
            node_keymap_remove(&map, entry);
            free(entry);
            model[number] = -1;
        }
        check_entry(find(&map, number), number);
        check_entry(find(&map, other), other);
        if (step % 500 == 0)
            check_order(&map, true);
    }
    node_keymap_clear(&map);
    assert_null(find(&map, 1));
}

/* ---- the table ---- */

static struct node_keymap_entry *look_up(const struct node_keytable *table, unsigned number)
{
    char room[16];
    return node_keytable_find(table, key_of(number, room));
}

static void change(struct node_keytable *table, unsigned number, uint64_t *seed)
{
    struct node_keymap_entry *known = look_up(table, number);
    if (known == NULL) {
        node_keytable_put(table, new_entry(number, (int)draw(seed, 600)));
        is_ordered[number] = false;
        return;
    }
    switch (draw(seed, 5)) {
    case 0:
        node_keytable_remove(table, known);
        free(known);
        model[number] = -1;
        break;
    case 1:
        node_keytable_unorder(table, known);
        is_ordered[number] = false;
        break;
    default:
        node_keytable_order(table, known);
        is_ordered[number] = true;
    }
}

static void test_table(void **state)
{
    struct node_keytable table;
    uint64_t seed = 11;
    (void)state;
    begin();
    node_keytable_init(&table);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned number = draw_key(&seed, step), other = (unsigned)draw(&seed, KEYS);
        change(&table, number, &seed);
        check_entry(look_up(&table, number), number);
        check_entry(look_up(&table, other), other);
        if (step % 100 == 0) /* now and then: much is loose until then */
            check_order(node_keytable_ordered(&table), false);
    }
    node_keytable_clear(&table);
    assert_int_equal(table.count, 0);
    assert_null(look_up(&table, 1));
    assert_null(node_keytable_ordered(&table)->heads[0]);
    node_keytable_put(&table, new_entry(1, 3)); /* and it begins again */
    check_entry(look_up(&table, 1), 1);
    node_keytable_clear(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_map), cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
