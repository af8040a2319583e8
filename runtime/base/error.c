#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { FINAL = 0, RETRY = 1 };

static const struct {
    const char *name;
    const char *text;
    int code;
    int retry;
} table[] = {
#define ROW(name, code, retry, text) {#name, text, code, retry},
    PERI_ERRORS(ROW)
#undef ROW
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

static const char *own_text(int code)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (table[i].code == code)
            return table[i].text;
    return NULL;
}

const char *peri_strerror(int code)
{
    const char *text = own_text(code);
    if (text == NULL && code < 0)
        text = strerrordesc_np(-code);
    return text != NULL ? text : "unknown error";
}

const char *peri_error_name(int code)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (table[i].code == code)
            return table[i].name;
    const char *name = code < 0 ? strerrorname_np(-code) : NULL;
    return name != NULL ? name : "EUNKNOWN";
}

int peri_error_from_name(const char *name)
{
    enum { ERRNO_MAX = 256 };
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].code;
    for (int number = 1; number < ERRNO_MAX; number++) {
        const char *known = strerrorname_np(number);
        if (known != NULL && strcmp(known, name) == 0)
            return -number;
    }
    return 0;
}

bool peri_error_is_retryable(int code)
{
    for (size_t i = 0; i < TABLE_COUNT; i++)
        if (table[i].code == code)
            return table[i].retry == RETRY;
    return code == -EAGAIN || code == PERI_EBUSY || code == -EINTR;
}

static void flatten(char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\n' || *text == '\r')
            *text = ' ';
}

static void fill(struct peri_error *err, int code, const char *format, va_list args)
{
    err->code = code;
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    flatten(err->text);
}

int peri_fail(struct peri_error *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof err->text - used, ": %s", peri_strerror(code));
    return code;
}

int peri_fail_plain(struct peri_error *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    fill(err, code, format, args);
    va_end(args);
    return code;
}
