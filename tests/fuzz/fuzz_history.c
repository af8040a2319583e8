/* Fuzzes the readers of histories: the first byte chooses the format and the model. What can be
 * read is searched for a while, so that models meet odd operations too. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "check/linearizable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FORMATS = 4, STEPS = 2000, MEMORY_MAX = 16 << 20, OPERATIONS_MAX = 1000 };

static void search(struct check_part *part)
{
    struct check_search *search;
    const struct check_limits limits = {NULL, CHECK_NEVER, MEMORY_MAX};
    PERI_ASSERT(check_search_create(&search, part, &limits) == 0);
    int result = check_search_run(search, STEPS);
    PERI_ASSERT(result >= CHECK_MORE && result <= CHECK_FULL);
    if (result == CHECK_LEGAL)
        PERI_ASSERT(check_search_order_size(search) <= part->count);
    check_search_close(search);
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
    search(part);
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
