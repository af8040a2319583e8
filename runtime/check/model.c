#include "check/model.h"

#include <string.h>

static const struct check_model *const models[] = {
    &check_model_register, &check_model_cas_register, &check_model_kv,    &check_model_append,
    &check_model_counter,  &check_model_set,          &check_model_queue, &check_model_lock,
};

const struct check_model *check_model_at(size_t i)
{
    return i < sizeof models / sizeof *models ? models[i] : NULL;
}

const struct check_model *check_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcmp(models[i]->name, name) == 0)
            return models[i];
    }
    return NULL;
}

int check_model_refuse(const struct check_model *model, const struct check_values *values,
                       const struct check_operation *operation, struct peri_error *err)
{
    enum { SHOWN_MAX = 40 };
    struct peri_slice f = {"?", 1};
    if (check_value_kind(values, operation->f) == CHECK_KIND_STRING)
        f = check_value_to_string(values, operation->f);
    return peri_fail_plain(err, PERI_EFORMAT,
                           "line %u: the model %s has no such operation as this %.*s; it has %s",
                           operation->call_line, model->name,
                           f.size > SHOWN_MAX ? SHOWN_MAX : (int)f.size, f.data, model->operations);
}

int check_model_init_zero(void *instance, uint32_t *state)
{
    (void)instance;
    *state = 0;
    return 0;
}

int check_model_after_a(void *instance, const struct check_effect *effect, uint32_t *state)
{
    (void)instance;
    *state = effect->a;
    return 0;
}
