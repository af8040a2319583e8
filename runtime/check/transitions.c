#include "check/transitions.h"

#include <stdlib.h>

#include "base/error.h"
#include "check/hash.h"

enum { CAPACITY_MIN = 64, HALF = 32 };

static struct check_transition *find(const struct check_transitions *transitions, uint64_t key)
{
    size_t mask = transitions->capacity - 1;
    for (size_t at = check_mix(key, CHECK_HASH_SEED) & mask;; at = (at + 1) & mask) {
        struct check_transition *slot = &transitions->slots[at];
        if (slot->key == 0 || slot->key == key)
            return slot;
    }
}

static uint64_t key_of(uint32_t state, uint32_t effect)
{
    return (((uint64_t)state << HALF) | effect) + 1;
}

int check_transitions_get(const struct check_transitions *transitions, uint32_t state,
                          uint32_t effect, uint32_t *next)
{
    if (transitions->capacity == 0)
        return 0;
    const struct check_transition *slot = find(transitions, key_of(state, effect));
    *next = slot->next;
    return slot->key != 0;
}

static int grow(struct check_transitions *transitions)
{
    struct check_transitions larger = {NULL, transitions->count, transitions->capacity * 2};
    if (larger.capacity == 0)
        larger.capacity = CAPACITY_MIN;
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (larger.slots == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < transitions->capacity; i++) {
        const struct check_transition *slot = &transitions->slots[i];
        if (slot->key != 0)
            *find(&larger, slot->key) = *slot;
    }
    free(transitions->slots);
    *transitions = larger;
    return 0;
}

int check_transitions_put(struct check_transitions *transitions, uint32_t state, uint32_t effect,
                          uint32_t next)
{
    if ((transitions->count + 1) * 3 > transitions->capacity * 2) {
        int rc = grow(transitions);
        if (rc != 0)
            return rc;
    }
    *find(transitions, key_of(state, effect)) =
        (struct check_transition){key_of(state, effect), next};
    transitions->count++;
    return 0;
}

size_t check_transitions_memory(const struct check_transitions *transitions)
{
    return transitions->capacity * sizeof *transitions->slots;
}

void check_transitions_deinit(struct check_transitions *transitions)
{
    free(transitions->slots);
    *transitions = (struct check_transitions){0};
}
