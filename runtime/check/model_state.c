#include "check/model_state.h"

#include <stdlib.h>
#include <string.h>

int check_state_create(struct check_values *values, const struct check_external *external,
                       void **out)
{
    (void)external;
    struct check_state_instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return PERI_ENOMEM;
    instance->values = values;
    int rc = check_sequences_create(&instance->states);
    if (rc != 0) {
        check_state_close(instance);
        return rc;
    }
    *out = instance;
    return 0;
}

void check_state_close(void *data)
{
    struct check_state_instance *instance = data;
    check_sequences_close(instance->states);
    free(instance->words);
    free(instance);
}

int check_state_init(void *data, uint32_t *state)
{
    struct check_state_instance *instance = data;
    return check_sequences_add(instance->states, NULL, 0, state);
}

int check_state_show(void *data, uint32_t state, check_value *out)
{
    const struct check_state_instance *instance = data;
    size_t count;
    const uint32_t *words = check_sequences_get(instance->states, state, &count);
    return check_value_list(instance->values, CHECK_KIND_LIST, words, count, out);
}

size_t check_state_memory(void *data)
{
    const struct check_state_instance *instance = data;
    return check_sequences_memory(instance->states) + instance->capacity * sizeof *instance->words;
}

int check_state_load(struct check_state_instance *instance, uint32_t state, size_t *count)
{
    const uint32_t *words = check_sequences_get(instance->states, state, count);
    if (*count + 1 > instance->capacity) {
        size_t capacity = (*count + 1) * 2;
        uint32_t *larger = realloc(instance->words, capacity * sizeof *larger);
        if (larger == NULL)
            return PERI_ENOMEM;
        instance->words = larger;
        instance->capacity = capacity;
    }
    if (*count > 0)
        memcpy(instance->words, words, *count * sizeof *words);
    return 0;
}

int check_state_store(struct check_state_instance *instance, const uint32_t *words, size_t count,
                      uint32_t *state)
{
    int rc = check_sequences_add(instance->states, words, count, state);
    return rc == 0 ? CHECK_ACCEPT : rc;
}
