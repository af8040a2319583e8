#include "check/sequence.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "check/hash.h"

enum { SLOTS_MIN = 64, NODES_MIN = 32, WORDS_MIN = 128 };

struct node {
    uint32_t at, count; /* words */
    uint32_t hash;
};

/* slots hold number + 1, 0 where free, and are at most half full. */
struct check_sequences {
    struct node *nodes;
    uint32_t *words, *slots;
    size_t node_count, node_capacity, word_count, word_capacity, slot_count;
};

int check_sequences_create(struct check_sequences **out)
{
    struct check_sequences *sequences = calloc(1, sizeof *sequences);
    if (sequences == NULL)
        return PERI_ENOMEM;
    sequences->slots = calloc(SLOTS_MIN, sizeof *sequences->slots);
    sequences->words = malloc(WORDS_MIN * sizeof *sequences->words); /* never NULL: see get */
    sequences->word_capacity = WORDS_MIN;
    if (sequences->slots == NULL || sequences->words == NULL) {
        check_sequences_close(sequences);
        return PERI_ENOMEM;
    }
    sequences->slot_count = SLOTS_MIN;
    *out = sequences;
    return 0;
}

static uint32_t hash_of(const uint32_t *words, size_t count)
{
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++)
        hash = check_mix(hash, words[i]);
    return (uint32_t)(hash ^ (hash >> 32));
}

static bool is_equal(const struct check_sequences *sequences, const struct node *node,
                     uint32_t hash, const uint32_t *words, size_t count)
{
    return node->hash == hash && node->count == count &&
           (count == 0 || memcmp(sequences->words + node->at, words, count * sizeof *words) == 0);
}

/* The slot of an equal sequence, or the free one where it belongs. */
static uint32_t *find(const struct check_sequences *sequences, uint32_t hash, const uint32_t *words,
                      size_t count)
{
    size_t mask = sequences->slot_count - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        uint32_t *slot = &sequences->slots[at];
        if (*slot == 0 || is_equal(sequences, &sequences->nodes[*slot - 1], hash, words, count))
            return slot;
    }
}

static int grow_slots(struct check_sequences *sequences)
{
    size_t slot_count = sequences->slot_count * 2, mask = slot_count - 1;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < sequences->node_count; i++) {
        size_t at = sequences->nodes[i].hash & mask;
        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = (uint32_t)i + 1;
    }
    free(sequences->slots);
    sequences->slots = slots;
    sequences->slot_count = slot_count;
    return 0;
}

/* Makes room for one node and count words. */
static int reserve(struct check_sequences *sequences, size_t count)
{
    if (sequences->node_count == sequences->node_capacity) {
        size_t capacity = sequences->node_capacity == 0 ? NODES_MIN : sequences->node_capacity * 2;
        struct node *nodes = realloc(sequences->nodes, capacity * sizeof *nodes);
        if (nodes == NULL)
            return PERI_ENOMEM;
        sequences->nodes = nodes;
        sequences->node_capacity = capacity;
    }
    size_t need = sequences->word_count + count;
    if (need > sequences->word_capacity) {
        size_t capacity = sequences->word_capacity * 2;
        capacity = capacity < need ? need : capacity;
        uint32_t *words = realloc(sequences->words, capacity * sizeof *words);
        if (words == NULL)
            return PERI_ENOMEM;
        sequences->words = words;
        sequences->word_capacity = capacity;
    }
    return 0;
}

int check_sequences_add(struct check_sequences *sequences, const uint32_t *words, size_t count,
                        uint32_t *number)
{
    uint32_t hash = hash_of(words, count);
    uint32_t *slot = find(sequences, hash, words, count);
    if (*slot != 0) {
        *number = *slot - 1;
        return 0;
    }
    if (sequences->node_count >= UINT32_MAX - 1 || count > UINT32_MAX - sequences->word_count)
        return PERI_ETOOBIG;
    int rc = reserve(sequences, count);
    if (rc == 0 && (sequences->node_count + 1) * 2 > sequences->slot_count) {
        rc = grow_slots(sequences);
        slot = find(sequences, hash, words, count);
    }
    if (rc != 0)
        return rc;
    sequences->nodes[sequences->node_count] =
        (struct node){(uint32_t)sequences->word_count, (uint32_t)count, hash};
    if (count > 0)
        memcpy(sequences->words + sequences->word_count, words, count * sizeof *words);
    sequences->word_count += count;
    sequences->node_count++;
    *slot = (uint32_t)sequences->node_count;
    *number = (uint32_t)sequences->node_count - 1;
    return 0;
}

const uint32_t *check_sequences_get(const struct check_sequences *sequences, uint32_t number,
                                    size_t *count)
{
    const struct node *node = &sequences->nodes[number];
    *count = node->count;
    return sequences->words + node->at;
}

uint32_t check_sequences_count(const struct check_sequences *sequences)
{
    return (uint32_t)sequences->node_count;
}

size_t check_sequences_memory(const struct check_sequences *sequences)
{
    return sequences->node_capacity * sizeof(struct node) +
           (sequences->word_capacity + sequences->slot_count) * sizeof(uint32_t);
}

void check_sequences_close(struct check_sequences *sequences)
{
    if (sequences == NULL)
        return;
    free(sequences->nodes);
    free(sequences->words);
    free(sequences->slots);
    free(sequences);
}
