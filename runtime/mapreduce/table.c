#include "mapreduce/table.h"

#include <stdlib.h>

#include "base/assert.h"

enum { SLOTS_MIN = 1024 };

/* One key and its state, in the arena at a multiple of MR_SORT_UNIT. */
struct entry {
    uint32_t key_size; /* first: mr_sort_key reads it */
    uint16_t part;
    bool is_inline; /* the state is the integer in word; else word is a block's arena offset */
    int64_t word;
    char key[];
};

/* A state that does not fit into an entry. */
struct state_block {
    uint32_t size, capacity;
    char data[];
};

struct mr_table {
    uint64_t *slots; /* upper hash << 32 | 1 + entry's offset / MR_SORT_UNIT; 0 is empty */
    size_t mask;     /* slots - 1, a power of two less one */
    size_t count;
    char *arena; /* limit_bytes of address space; touched up to high */
    size_t used, high;
    size_t limit_bytes;
    struct mr_reducer reducer;
};

static size_t slots_bytes(size_t mask)
{
    return (mask + 1) * sizeof(uint64_t);
}

int mr_table_create(struct mr_table **out, const struct mr_reducer *reducer, size_t limit_bytes,
                    struct peri_error *err)
{
    struct mr_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return peri_fail(err, PERI_ENOMEM, "emit table");
    table->reducer = *reducer;
    table->limit_bytes = limit_bytes;
    table->mask = SLOTS_MIN - 1;
    table->slots = calloc(SLOTS_MIN, sizeof *table->slots);
    table->arena = malloc(limit_bytes);
    if (table->slots == NULL || table->arena == NULL) {
        mr_table_close(table);
        return peri_fail(err, PERI_ENOMEM, "emit table");
    }
    *out = table;
    return 0;
}

size_t mr_table_count(const struct mr_table *table)
{
    return table->count;
}

size_t mr_table_used_bytes(const struct mr_table *table)
{
    return table->high + slots_bytes(table->mask);
}

size_t mr_table_limit_bytes(const struct mr_table *table)
{
    return table->limit_bytes;
}

/* ---- arena ---- */

/* Room for size bytes, or NULL at the limit. Touched pages count even after a clear. */
static void *arena_take(struct mr_table *table, size_t size)
{
    size_t rounded = (size + MR_SORT_UNIT - 1) / MR_SORT_UNIT * MR_SORT_UNIT;
    size_t end = table->used + rounded;
    size_t high = end > table->high ? end : table->high;
    if (size > table->limit_bytes || high + slots_bytes(table->mask) > table->limit_bytes)
        return NULL;
    void *at = table->arena + table->used;
    table->used = end;
    table->high = high;
    return at;
}

static struct entry *entry_of(const struct mr_table *table, uint64_t slot)
{
    return (struct entry *)(void *)(table->arena + (size_t)((uint32_t)slot - 1) * MR_SORT_UNIT);
}

static uint64_t slot_of(const struct mr_table *table, const struct entry *entry, uint64_t hash)
{
    size_t offset = (size_t)((const char *)entry - table->arena);
    return (hash >> 32 << 32) | (uint32_t)(offset / MR_SORT_UNIT + 1);
}

/* ---- slots ---- */

static int double_slots(struct mr_table *table)
{
    size_t mask = 2 * table->mask + 1;
    if (table->high + slots_bytes(table->mask) + slots_bytes(mask) > table->limit_bytes)
        return PERI_EMEMORY;
    uint64_t *slots = calloc(mask + 1, sizeof *slots);
    if (slots == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i <= table->mask; i++) {
        uint64_t slot = table->slots[i];
        size_t at = slot >> 32 & mask;
        if (slot == 0)
            continue;
        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = slot;
    }
    free(table->slots);
    table->slots = slots;
    table->mask = mask;
    return 0;
}

/* The slot of a key, or the empty one where it belongs. A key is its tag and the bytes after it. */
static inline uint64_t *find_slot(const struct mr_table *table, uint64_t hash, char tag,
                                  struct peri_slice rest)
{
    uint32_t upper = (uint32_t)(hash >> 32);
    for (size_t at = upper & table->mask;; at = (at + 1) & table->mask) {
        uint64_t *slot = &table->slots[at];
        if (*slot == 0)
            return slot;
        if ((uint32_t)(*slot >> 32) != upper)
            continue;
        const struct entry *entry = entry_of(table, *slot);
        if (entry->key_size == rest.size + 1 && entry->key[0] == tag &&
            memcmp(entry->key + 1, rest.data, rest.size) == 0)
            return slot;
    }
}

static uint32_t partition_of(const struct mr_partitioner *partitioner, const uint32_t *part,
                             struct peri_slice key)
{
    return part != NULL ? *part : mr_partition_of(partitioner, key);
}

/* Adds a key with an empty state at slot; NULL at the limit. */
static struct entry *insert(struct mr_table *table, const struct mr_partitioner *partitioner,
                            const uint32_t *part, uint64_t hash, char tag, struct peri_slice rest,
                            uint64_t *slot)
{
    struct entry *entry = arena_take(table, sizeof *entry + 1 + rest.size);
    if (entry == NULL)
        return NULL;
    entry->key_size = (uint32_t)rest.size + 1;
    entry->key[0] = tag;
    if (rest.size > 0)
        memcpy(entry->key + 1, rest.data, rest.size);
    struct peri_slice key = peri_slice_of(entry->key, entry->key_size);
    entry->part = (uint16_t)partition_of(partitioner, part, key);
    entry->is_inline =
        table->reducer.kind == MR_REDUCE_SUM || table->reducer.kind == MR_REDUCE_COUNT;
    entry->word = 0;
    *slot = slot_of(table, entry, hash);
    table->count++;
    return entry;
}

/* ---- states ---- */

static int grow_state(void *data, struct mr_state *state, size_t capacity)
{
    struct mr_table *table = data;
    if (capacity > MR_STATE_MAX)
        return PERI_ETOOBIG;
    struct state_block *block = arena_take(table, sizeof *block + capacity);
    if (block == NULL)
        return PERI_EMEMORY;
    block->capacity = (uint32_t)capacity;
    if (state->size > 0)
        memcpy(block->data, state->data, state->size);
    state->data = block->data;
    state->capacity = capacity;
    return 0;
}

static struct mr_state load_state(const struct mr_table *table, const struct entry *entry)
{
    if (entry->word == 0)
        return (struct mr_state){0};
    struct state_block *block = (struct state_block *)(void *)(table->arena + entry->word);
    return (struct mr_state){block->data, block->size, block->capacity};
}

static void store_state(const struct mr_table *table, struct entry *entry,
                        const struct mr_state *state)
{
    if (state->data == NULL)
        return;
    struct state_block *block = container_of(state->data, struct state_block, data);
    block->size = (uint32_t)state->size;
    entry->word = (char *)block - table->arena;
}

static int add_to_state(struct mr_table *table, struct entry *entry, struct peri_slice value,
                        const struct mr_position *position, struct peri_error *err)
{
    const struct mr_room room = {grow_state, table};
    struct mr_state state = load_state(table, entry);
    int rc = mr_reducer_add(&table->reducer, &state, value, position, &room, err);
    store_state(table, entry, &state); /* the block may have moved before an error */
    return rc;
}

/* Turns an inline integer sum into a state that can take floats as well. */
static int leave_inline(struct mr_table *table, struct entry *entry, struct peri_error *err)
{
    char bytes[MR_VALUE_SCALAR_MAX];
    struct entry moved = {.word = 0};
    size_t size = mr_value_write_integer(entry->word, bytes);
    int rc = add_to_state(table, &moved, peri_slice_of(bytes, size), NULL, err);
    if (rc != 0)
        return rc;
    entry->word = moved.word;
    entry->is_inline = false;
    return 0;
}

static int add_to_entry(struct mr_table *table, struct entry *entry, bool is_new,
                        struct peri_slice value, const struct mr_position *position,
                        struct peri_error *err)
{
    int64_t integer;
    if (!entry->is_inline)
        return add_to_state(table, entry, value, position, err);
    if (table->reducer.kind == MR_REDUCE_COUNT) {
        entry->word++;
        return 0;
    }
    if (mr_value_read_integer(value, &integer)) {
        entry->word = (int64_t)((uint64_t)entry->word + (uint64_t)integer); /* wraps, as in Lua */
        return 0;
    }
    int rc = is_new ? 0 : leave_inline(table, entry, err);
    if (rc != 0)
        return rc;
    entry->is_inline = false;
    return add_to_state(table, entry, value, position, err);
}

/* ---- adding ---- */

/* Takes back a key whose first value was refused, so that an error changes nothing. */
static void take_back(struct mr_table *table, uint64_t *slot, size_t used)
{
    *slot = 0;
    table->count--;
    table->used = used;
}

int mr_table_add(struct mr_table *table, const struct mr_partitioner *partitioner,
                 const uint32_t *part, struct peri_slice key, struct peri_slice value,
                 const struct mr_position *position, struct peri_error *err)
{
    struct peri_slice rest = peri_slice_of(key.data + 1, key.size - 1);
    uint64_t hash = mr_partition_hash((enum mr_key_tag)key.data[0], rest.data, rest.size);
    if (2 * table->count >= table->mask && double_slots(table) != 0)
        return PERI_EMEMORY;
    uint64_t *slot = find_slot(table, hash, key.data[0], rest);
    bool is_new = *slot == 0;
    size_t used = table->used;
    struct entry *entry = is_new ? insert(table, partitioner, part, hash, key.data[0], rest, slot)
                                 : entry_of(table, *slot);
    if (entry == NULL)
        return PERI_EMEMORY;
    int rc = add_to_entry(table, entry, is_new, value, position, err);
    if (rc != 0 && is_new)
        take_back(table, slot, used);
    return rc;
}

static int add_hashed(struct mr_table *table, const struct mr_partitioner *partitioner,
                      uint64_t hash, struct peri_slice string, int64_t integer,
                      struct peri_error *err)
{
    if (2 * table->count >= table->mask && double_slots(table) != 0)
        return PERI_EMEMORY;
    uint64_t *slot = find_slot(table, hash, MR_KEY_STRING, string);
    struct entry *entry = *slot != 0
                              ? entry_of(table, *slot)
                              : insert(table, partitioner, NULL, hash, MR_KEY_STRING, string, slot);
    if (entry == NULL)
        return PERI_EMEMORY;
    if (entry->is_inline) {
        uint64_t more = table->reducer.kind == MR_REDUCE_SUM ? (uint64_t)integer : 1;
        entry->word = (int64_t)((uint64_t)entry->word + more);
        return 0;
    }
    char bytes[MR_VALUE_SCALAR_MAX];
    size_t size = mr_value_write_integer(integer, bytes);
    return add_to_state(table, entry, peri_slice_of(bytes, size), NULL, err);
}

int mr_table_add_string(struct mr_table *table, const struct mr_partitioner *partitioner,
                        struct peri_slice string, int64_t integer, struct peri_error *err)
{
    uint64_t hash = mr_partition_hash(MR_KEY_STRING, string.data, string.size);
    return add_hashed(table, partitioner, hash, string, integer, err);
}

/* Asks for the memory of the strings' slots, then of their entries, so that the waits overlap. */
static void prefetch_strings(const struct mr_table *table, const struct mr_tally *tallies,
                             size_t count, uint64_t *hashes)
{
    for (size_t i = 0; i < count; i++) {
        struct peri_slice string = tallies[i].string;
        hashes[i] = mr_partition_hash(MR_KEY_STRING, string.data, string.size);
        __builtin_prefetch(&table->slots[hashes[i] >> 32 & table->mask]);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t slot = table->slots[hashes[i] >> 32 & table->mask];
        if (slot != 0)
            __builtin_prefetch(entry_of(table, slot), 1);
    }
}

int mr_table_add_tallies(struct mr_table *table, const struct mr_partitioner *partitioner,
                         const struct mr_tally *tallies, size_t count, size_t *done,
                         struct peri_error *err)
{
    enum { BATCH = 32 };
    uint64_t hashes[BATCH];
    *done = 0;
    while (*done < count) {
        size_t batch = count - *done < BATCH ? count - *done : BATCH;
        prefetch_strings(table, tallies + *done, batch, hashes);
        for (size_t i = 0; i < batch; i++, ++*done) {
            const struct mr_tally *tally = &tallies[*done];
            int rc = add_hashed(table, partitioner, hashes[i], tally->string, tally->integer, err);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

/* ---- sorting ---- */

/* Moves the slots in use to the front; there are at most half as many as slots. */
static void compact_slots(struct mr_table *table)
{
    size_t count = 0;
    for (size_t i = 0; i <= table->mask; i++)
        if (table->slots[i] != 0)
            table->slots[count++] = table->slots[i];
    PERI_ASSERT(count == table->count);
}

const struct mr_sort_item *mr_table_sort(struct mr_table *table, struct mr_sort_records *records,
                                         size_t *count)
{
    struct mr_sort_item *items = (struct mr_sort_item *)(void *)table->slots;
    compact_slots(table);
    /* An item takes the room of two slots: from the back, none is overwritten before it is read. */
    for (size_t i = table->count; i-- > 0;) {
        uint64_t slot;
        memcpy(&slot, (char *)items + i * sizeof slot, sizeof slot);
        const struct entry *entry = entry_of(table, slot);
        struct peri_slice key = peri_slice_of(entry->key, entry->key_size);
        struct mr_sort_item item =
            mr_sort_item_of(entry->part, key, (size_t)((const char *)entry - table->arena));
        memcpy(&items[i], &item, sizeof item);
    }
    *records = (struct mr_sort_records){table->arena, offsetof(struct entry, key)};
    *count = table->count;
    mr_sort(items, table->count, records);
    return items;
}

int mr_table_encode(struct mr_table *table, const struct mr_sort_item *item,
                    struct peri_buffer *out, struct peri_error *err)
{
    const struct entry *entry =
        (const struct entry *)(const void *)(table->arena + (size_t)item->record * MR_SORT_UNIT);
    if (!entry->is_inline) {
        struct mr_state state = load_state(table, entry);
        return mr_reducer_encode(&table->reducer, &state, out, err);
    }
    char bytes[MR_VALUE_SCALAR_MAX];
    size_t size = mr_value_write_integer(entry->word, bytes);
    int rc = peri_buffer_append(out, bytes, size);
    return rc != 0 ? peri_fail(err, rc, "emit table") : 0;
}

void mr_table_clear(struct mr_table *table)
{
    memset(table->slots, 0, slots_bytes(table->mask));
    table->count = 0;
    table->used = 0;
}

void mr_table_close(struct mr_table *table)
{
    if (table == NULL)
        return;
    free(table->slots);
    free(table->arena);
    free(table);
}
