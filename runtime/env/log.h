/* log.h - log lines: one line a call, on standard error, in one write.
 *
 * logfmt (the default), where a level is coloured on a terminal unless NO_COLOR or TERM=dumb says
 * otherwise: time=2026-11-20T20:05:40.123456Z level=warn component=fiber msg="slice overrun"
 * fiber=7 json:
 *   {"time":"2026-11-20T20:05:40.123456Z","level":"warn","component":"fiber","msg":"slice
 * overrun","fiber":7} Bytes that are not printable text are escaped, so that no value can forge a
 * line. All functions are safe on any thread. */
#ifndef PERI_ENV_LOG_H
#define PERI_ENV_LOG_H

#include "base/slice.h"
#include "env/env.h"

enum env_log_level { ENV_LOG_DEBUG, ENV_LOG_INFO, ENV_LOG_WARN, ENV_LOG_ERROR };
enum env_log_format { ENV_LOG_LOGFMT, ENV_LOG_JSON };

/* A named value of a log line. */
struct env_log_field {
    struct peri_slice key;
    struct peri_slice value;
    bool is_literal; /* value is a number, true, false or null: json writes it without quotes */
};

/* Writes "<formatted message>" unless level is below the filter. component names the folder or
 * module that speaks; NULL leaves it out. Long messages are cut at 4096 bytes. */
void env_log(struct env *env, enum env_log_level level, const char *component, const char *format,
             ...) __attribute__((format(printf, 4, 5)));

/* Writes message and fields (in the order given) unless level is below the filter. */
void env_log_fields(struct env *env, enum env_log_level level, const char *component,
                    struct peri_slice message, const struct env_log_field *fields, size_t count);

/* True when a line of that level would be written. */
bool env_log_is_on(struct env *env, enum env_log_level level);

/* The filter starts at ENV_LOG_INFO: lines below it are dropped. */
void env_log_set_level(struct env *env, enum env_log_level level);
enum env_log_level env_log_level(struct env *env);
void env_log_set_format(struct env *env, enum env_log_format format);
enum env_log_format env_log_format(struct env *env);

/* "debug", "info", "warn", "error". */
const char *env_log_level_name(enum env_log_level level);
/* The reverse; negative when no level has that name. */
int env_log_level_from_name(const char *name);

#endif
