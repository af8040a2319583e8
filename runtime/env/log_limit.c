#include "env/log_limit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { PERIOD_US = 1000000, MESSAGE_MAX = 1024 };

/* FNV-1a. Two pairs of equal keys share an entry, which does no harm. */
static uint64_t key_of(struct peri_slice who, int kind)
{
    const uint64_t prime = UINT64_C(0x100000001b3);
    uint64_t key = (UINT64_C(0xcbf29ce484222325) ^ (unsigned)kind) * prime;
    for (size_t i = 0; i < who.size; i++)
        key = (key ^ (unsigned char)who.data[i]) * prime;
    return key;
}

static bool is_quiet(const struct env_log_pair *pair, uint64_t now_us)
{
    return pair->logged_us == 0 || now_us - pair->logged_us >= PERIOD_US;
}

/* The entry of the key; else one that is not needed any more, preferably without a count, which the
 * shared entry inherits; else the shared one. */
static struct env_log_pair *find(struct env_log_limit *limit, uint64_t key, uint64_t now_us)
{
    struct env_log_pair *shared = &limit->pairs[0];
    struct env_log_pair *unused = shared;
    for (size_t i = 1; i < ENV_LOG_LIMIT_PAIRS; i++) {
        struct env_log_pair *pair = &limit->pairs[i];
        if (pair->key == key && pair->logged_us != 0)
            return pair;
        if (is_quiet(pair, now_us) && (unused == shared || pair->left_out < unused->left_out))
            unused = pair;
    }
    if (unused == shared)
        return shared;
    shared->left_out += unused->left_out;
    *unused = (struct env_log_pair){.key = key};
    return unused;
}

void env_log_limited(struct env *env, struct env_log_limit *limit, struct peri_slice who, int kind,
                     enum env_log_level level, const char *component, const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    if (!env_log_is_on(env, level))
        return;
    uint64_t now_us = env_now_us(env);
    struct env_log_pair *pair = find(limit, key_of(who, kind), now_us);
    if (!is_quiet(pair, now_us)) {
        pair->left_out++;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (pair->left_out > 0)
        env_log(env, level, component, "%s (and %" PRIu64 " more since the last such line)",
                message, pair->left_out);
    else
        env_log(env, level, component, "%s", message);
    pair->left_out = 0;
    pair->logged_us = now_us > 0 ? now_us : 1;
}

void env_log_limit_end(struct env *env, struct env_log_limit *limit, enum env_log_level level,
                       const char *component)
{
    uint64_t left_out = 0;
    for (size_t i = 0; i < ENV_LOG_LIMIT_PAIRS; i++)
        left_out += limit->pairs[i].left_out;
    *limit = (struct env_log_limit){0};
    if (left_out > 0)
        env_log(env, level, component, "%" PRIu64 " lines like those before were left out",
                left_out);
}
