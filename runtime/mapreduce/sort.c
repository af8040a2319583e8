#include "mapreduce/sort.h"

#include <stdbool.h>

enum {
    ORDER_BYTES = 3, /* partition and tag */
    DIGITS = ORDER_BYTES + 8,
    RADIX = 256,
    RADIX_MIN = 256,   /* smaller buckets are sorted by comparing */
    INSERTION_MAX = 16 /* and these by insertion */
};

struct sort {
    const struct mr_sort_records *records;
    bool varies[DIGITS]; /* the items differ in that byte at all */
};

/* ---- comparing ---- */

static int compare_rest(const struct sort *sort, const struct mr_sort_item *a,
                        const struct mr_sort_item *b)
{
    enum { COMPARED = 9 };
    struct peri_slice x = mr_sort_key(sort->records, a);
    struct peri_slice y = mr_sort_key(sort->records, b);
    if (x.size > COMPARED && y.size > COMPARED) {
        struct peri_slice rest_x = peri_slice_of(x.data + COMPARED, x.size - COMPARED);
        struct peri_slice rest_y = peri_slice_of(y.data + COMPARED, y.size - COMPARED);
        return peri_slice_compare(rest_x, rest_y);
    }
    return peri_slice_compare(x, y);
}

static bool is_before(const struct sort *sort, const struct mr_sort_item *a,
                      const struct mr_sort_item *b)
{
    if (a->order != b->order)
        return a->order < b->order;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    int order = compare_rest(sort, a, b);
    return order != 0 ? order < 0 : a->record < b->record;
}

static void swap(struct mr_sort_item *a, struct mr_sort_item *b)
{
    struct mr_sort_item held = *a;
    *a = *b;
    *b = held;
}

static void insertion_sort(const struct sort *sort, struct mr_sort_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct mr_sort_item item = items[i];
        size_t j = i;
        for (; j > 0 && is_before(sort, &item, &items[j - 1]); j--)
            items[j] = items[j - 1];
        items[j] = item;
    }
}

static void sift_down(const struct sort *sort, struct mr_sort_item *items, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_before(sort, &items[child], &items[child + 1]))
            child++;
        if (!is_before(sort, &items[at], &items[child]))
            return;
        swap(&items[at], &items[child]);
    }
}

static void heap_sort(const struct sort *sort, struct mr_sort_item *items, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(sort, items, i, count);
    for (size_t end = count; end-- > 1;) {
        swap(&items[0], &items[end]);
        sift_down(sort, items, 0, end);
    }
}

/* Puts the median of first, middle and last in front. */
static void choose_pivot(const struct sort *sort, struct mr_sort_item *items, size_t count)
{
    struct mr_sort_item *middle = &items[count / 2];
    struct mr_sort_item *last = &items[count - 1];
    if (is_before(sort, last, middle))
        swap(last, middle);
    if (is_before(sort, middle, &items[0]))
        swap(middle, &items[0]);
    if (is_before(sort, last, middle))
        swap(last, middle);
    swap(middle, &items[0]);
}

/* Items never compare equal, because records differ: two-way partitioning is enough. */
static size_t split_by_pivot(const struct sort *sort, struct mr_sort_item *items, size_t count)
{
    choose_pivot(sort, items, count);
    struct mr_sort_item pivot = items[0];
    size_t low = 0;
    size_t high = count;
    for (;;) {
        do
            low++;
        while (low < count && is_before(sort, &items[low], &pivot));
        do
            high--;
        while (is_before(sort, &pivot, &items[high]));
        if (low >= high)
            break;
        swap(&items[low], &items[high]);
    }
    swap(&items[0], &items[high]);
    return high;
}

/* Quicksort that turns to heapsort when depth_left pivots were bad. */
static void compare_sort(const struct sort *sort, struct mr_sort_item *items, size_t count,
                         unsigned depth_left)
{
    while (count > INSERTION_MAX) {
        if (depth_left-- == 0) {
            heap_sort(sort, items, count);
            return;
        }
        size_t at = split_by_pivot(sort, items, count);
        if (at < count - at - 1) {
            compare_sort(sort, items, at, depth_left);
            items += at + 1;
            count -= at + 1;
        } else {
            compare_sort(sort, items + at + 1, count - at - 1, depth_left);
            count = at;
        }
    }
    insertion_sort(sort, items, count);
}

/* ---- radix ---- */

static inline unsigned digit_of(const struct mr_sort_item *item, unsigned digit)
{
    if (digit < ORDER_BYTES)
        return item->order >> (8 * (ORDER_BYTES - 1 - digit)) & 0xff;
    return (unsigned)(item->prefix >> (8 * (DIGITS - 1 - digit))) & 0xff;
}

static void find_varying(struct sort *sort, const struct mr_sort_item *items, size_t count)
{
    struct mr_sort_item differs = {0};
    for (size_t i = 1; i < count; i++) {
        differs.order |= items[i].order ^ items[0].order;
        differs.prefix |= items[i].prefix ^ items[0].prefix;
    }
    for (unsigned digit = 0; digit < DIGITS; digit++)
        sort->varies[digit] = digit_of(&differs, digit) != 0;
}

/* Moves every item into its digit's bucket, in place; buckets end at ends[]. */
static void distribute(struct mr_sort_item *items, size_t count, unsigned digit, size_t ends[RADIX])
{
    size_t at[RADIX];
    size_t counts[RADIX] = {0};
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        counts[digit_of(&items[i], digit)]++;
    for (unsigned i = 0; i < RADIX; i++) {
        at[i] = total;
        total += counts[i];
        ends[i] = total;
    }
    for (unsigned bucket = 0; bucket < RADIX; bucket++) {
        while (at[bucket] < ends[bucket]) {
            struct mr_sort_item item = items[at[bucket]];
            for (unsigned to; (to = digit_of(&item, digit)) != bucket;)
                swap(&item, &items[at[to]++]);
            items[at[bucket]++] = item;
        }
    }
}

static unsigned log2_of(size_t count)
{
    unsigned bits = 0;
    while (count >>= 1)
        bits++;
    return bits;
}

static void radix_sort(const struct sort *sort, struct mr_sort_item *items, size_t count,
                       unsigned digit)
{
    size_t ends[RADIX];
    while (digit < DIGITS && !sort->varies[digit])
        digit++;
    if (digit == DIGITS || count < RADIX_MIN) {
        compare_sort(sort, items, count, 2 * log2_of(count) + 2);
        return;
    }
    distribute(items, count, digit, ends);
    size_t start = 0;
    for (unsigned i = 0; i < RADIX; i++) {
        if (ends[i] - start > 1)
            radix_sort(sort, items + start, ends[i] - start, digit + 1);
        start = ends[i];
    }
}

void mr_sort(struct mr_sort_item *items, size_t count, const struct mr_sort_records *records)
{
    struct sort sort = {.records = records};
    if (count < 2)
        return;
    find_varying(&sort, items, count);
    radix_sort(&sort, items, count, 0);
}
