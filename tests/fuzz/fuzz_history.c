/* Fuzzes the readers of histories: the first byte chooses the format and the model. What can be
 * read is searched for a while, so that models meet odd operations too. What is right stays right
 * seen through some of its values, and through some of these. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "check/linearizable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FORMATS = 4,
    STEPS = 500,
    MEMORY_MAX = 16 << 20,
    OPERATIONS_MAX = 1000,
    VALUES_MAX = 20,
    SKIP_MAX = 2
};

static int search(struct check_part *part)
{
    struct check_search *search;
    const struct check_limits limits = {NULL, CHECK_NEVER, MEMORY_MAX};
    PERI_ASSERT(check_search_create(&search, part, &limits) == 0);
    int result = check_search_run(search, STEPS);
    PERI_ASSERT(result >= CHECK_MORE && result <= CHECK_FULL);
    if (result == CHECK_LEGAL)
        PERI_ASSERT(check_search_order_size(search) <= part->count);
    check_search_close(search);
    return result;
}

static void look_closer(const struct check_history *history, struct check_part *part, unsigned skip)
{
    check_value values[VALUES_MAX];
    struct check_focus focus;
    struct check_part *seen;
    struct peri_error err = PERI_ERROR_INIT;
    for (size_t i = 0; i < VALUES_MAX; i += 2) {
        const struct check_operation *operation = &history->operations[i * skip % history->count];
        values[i] = operation->input;
        values[i + 1] = operation->output;
    }
    PERI_ASSERT(check_focus_init(&focus, history->values, values, VALUES_MAX) == 0);
    int rc = check_part_focus(&seen, history, part, &focus, &err);
    PERI_ASSERT(rc == 0 || (rc == PERI_EINVAL && err.text[0] != '\0'));
    if (rc != 0) {
        check_focus_deinit(&focus);
        return;
    }
    PERI_ASSERT(search(seen) != CHECK_ILLEGAL);
    if (skip < SKIP_MAX)
        look_closer(history, seen, skip + 1);
    check_part_close(seen);
}

static void judge(const struct check_history *history, const struct check_model *model)
{
    uint32_t operations[OPERATIONS_MAX];
    struct check_part *part;
    struct peri_error err = PERI_ERROR_INIT;
    size_t count = history->count < OPERATIONS_MAX ? history->count : OPERATIONS_MAX;
    for (uint32_t i = 0; i < count; i++)
        operations[i] = i;
    int rc = check_part_create(&part, history, model, NULL, operations, count, &err);
    PERI_ASSERT(rc == 0 || (rc == PERI_EFORMAT && err.text[0] != '\0'));
    if (rc != 0)
        return;
    if (search(part) == CHECK_LEGAL && count > 0)
        look_closer(history, part, 1);
    check_part_close(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct check_history history;
    struct peri_error err = PERI_ERROR_INIT;
    if (size == 0)
        return 0;
    const struct check_model *model = check_model_at(data[0] / FORMATS % 8);
    PERI_ASSERT(check_history_init(&history) == 0);
    int rc = check_history_read(&history, (enum check_format)(data[0] % FORMATS),
                                peri_slice_of((const char *)data + 1, size - 1), &err);
    PERI_ASSERT(rc == 0 || err.text[0] != '\0');
    judge(&history, model);
    check_history_deinit(&history);
    return 0;
}
