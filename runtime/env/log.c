#include "env/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/utf8.h"
#include "env/ops.h"

enum {
    MESSAGE_MAX = 4096,
    LINE_BYTES_MAX = 16384,
    LINE_SOFT_MAX = LINE_BYTES_MAX - 256, /* behind it only what closes the line */
    LITERAL_MAX = 64,
    LEVEL_COUNT = 4
};

static const char *const level_names[LEVEL_COUNT] = {"debug", "info", "warn", "error"};
static const char *const level_colours[LEVEL_COUNT] = {"\x1b[2m", "\x1b[32m", "\x1b[33m",
                                                       "\x1b[31m"};

/* A line under construction. Texts are cut and fields dropped at LINE_SOFT_MAX, so that a long line
 * is still well-formed; the newline always fits. */
struct line {
    size_t size;
    char bytes[LINE_BYTES_MAX];
};

static void put(struct line *line, const char *bytes, size_t size)
{
    size_t room = sizeof line->bytes - 1 - line->size;
    if (size > room)
        size = room;
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* Bytes of the printable character at the front of text, or 0. Control codes are not printable;
 * some terminals obey those of Latin-1 (C2 80 to C2 9F) as well. */
static size_t printable_length(struct peri_slice text)
{
    const unsigned char *bytes = (const unsigned char *)text.data;
    size_t length = peri_utf8_length(text);
    if (length == 1)
        return bytes[0] >= ' ' && bytes[0] != 0x7F;
    return length == 2 && bytes[0] == 0xC2 && bytes[1] < 0xA0 ? 0 : length;
}

static void put_escaped(struct line *line, unsigned char byte, bool is_json)
{
    char text[8];
    if (byte == '"' || byte == '\\')
        (void)snprintf(text, sizeof text, "\\%c", byte);
    else if (byte == '\n')
        (void)snprintf(text, sizeof text, "\\n");
    else if (byte == '\t')
        (void)snprintf(text, sizeof text, "\\t");
    else
        (void)snprintf(text, sizeof text, is_json ? "\\u%04x" : "\\x%02x", byte);
    put_text(line, text);
}

static void put_quoted(struct line *line, struct peri_slice text, bool is_json)
{
    put(line, "\"", 1);
    while (text.size > 0 && line->size < LINE_SOFT_MAX) {
        size_t length = printable_length(text);
        if (length == 0 || *text.data == '"' || *text.data == '\\')
            put_escaped(line, (unsigned char)*text.data, is_json);
        else
            put(line, text.data, length);
        length = length > 0 ? length : 1;
        text = peri_slice_of(text.data + length, text.size - length);
    }
    put(line, "\"", 1);
}

static bool is_bare(struct peri_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte <= ' ' || byte >= 0x7F || byte == '"' || byte == '\\' || byte == '=')
            return false;
    }
    return text.size > 0;
}

static void put_field(struct line *line, enum env_log_format format,
                      const struct env_log_field *field)
{
    bool is_json = format == ENV_LOG_JSON;
    bool is_literal = field->is_literal && field->value.size <= LITERAL_MAX;
    if (line->size >= LINE_SOFT_MAX)
        return;
    if (line->size > 0 && line->bytes[line->size - 1] != '{')
        put(line, is_json ? "," : " ", 1);
    if (!is_json && is_bare(field->key))
        put(line, field->key.data, field->key.size);
    else
        put_quoted(line, field->key, is_json);
    put(line, is_json ? ":" : "=", 1);
    if (is_literal || (!is_json && is_bare(field->value)))
        put(line, field->value.data, field->value.size);
    else
        put_quoted(line, field->value, is_json);
}

static struct peri_slice slice_of_text(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

static void put_pair(struct line *line, enum env_log_format format, const char *key,
                     struct peri_slice value)
{
    struct env_log_field field = {slice_of_text(key), value, false};
    put_field(line, format, &field);
}

static void put_time(struct line *line, struct env *env, enum env_log_format format)
{
    enum { US_PER_S = 1000000 };
    int64_t now_us = env_wall_us(env);
    time_t seconds = (time_t)(now_us / US_PER_S);
    struct tm parts;
    char text[64];
    if (gmtime_r(&seconds, &parts) == NULL)
        return;
    size_t used = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text + used, sizeof text - used, ".%06dZ", (int)(now_us % US_PER_S));
    put_pair(line, format, "time", slice_of_text(text));
}

static void put_level(struct line *line, struct env *env, enum env_log_format format,
                      enum env_log_level level)
{
    if (format == ENV_LOG_JSON || !atomic_load(&env->log_colour)) {
        put_pair(line, format, "level", slice_of_text(level_names[level]));
        return;
    }
    put_text(line, " level=");
    put_text(line, level_colours[level]);
    put_text(line, level_names[level]);
    put_text(line, "\x1b[0m");
}

void env_log_fields(struct env *env, enum env_log_level level, const char *component,
                    struct peri_slice message, const struct env_log_field *fields, size_t count)
{
    if (!env_log_is_on(env, level))
        return;
    enum env_log_format format = env_log_format(env);
    struct line line;
    line.size = 0;
    if (format == ENV_LOG_JSON)
        put(&line, "{", 1);
    put_time(&line, env, format);
    put_level(&line, env, format, level);
    if (env->log_node != NULL)
        put_pair(&line, format, "node", slice_of_text(env->log_node));
    if (component != NULL)
        put_pair(&line, format, "component", slice_of_text(component));
    put_pair(&line, format, "msg", message);
    for (size_t i = 0; i < count; i++)
        put_field(&line, format, &fields[i]);
    if (format == ENV_LOG_JSON)
        put(&line, "}", 1);
    line.bytes[line.size++] = '\n';
    (void)env_file_write(env_file_stderr(env), line.bytes, line.size, NULL);
}

static void format_message(char *out, size_t size, const char *format, va_list args)
{
    (void)vsnprintf(out, size, format, args);
}

void env_log(struct env *env, enum env_log_level level, const char *component, const char *format,
             ...)
{
    if (!env_log_is_on(env, level))
        return;
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    format_message(message, sizeof message, format, args);
    va_end(args);
    env_log_fields(env, level, component, slice_of_text(message), NULL, 0);
}

bool env_log_is_on(struct env *env, enum env_log_level level)
{
    return (int)level >= atomic_load(&env->log_level);
}

void env_log_set_level(struct env *env, enum env_log_level level)
{
    atomic_store(&env->log_level, (int)level);
}

enum env_log_level env_log_level(struct env *env)
{
    return (enum env_log_level)atomic_load(&env->log_level);
}

void env_log_set_format(struct env *env, enum env_log_format format)
{
    atomic_store(&env->log_format, (int)format);
}

enum env_log_format env_log_format(struct env *env)
{
    return (enum env_log_format)atomic_load(&env->log_format);
}

const char *env_log_level_name(enum env_log_level level)
{
    return level_names[level];
}

int env_log_level_from_name(const char *name)
{
    for (int level = 0; level < LEVEL_COUNT; level++)
        if (strcmp(level_names[level], name) == 0)
            return level;
    return PERI_EINVAL;
}
