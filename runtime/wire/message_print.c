/* message_print.c - a message as a line for people. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "wire/message.h"

struct printer {
    char *at;
    size_t left; /* with the final NUL */
};

__attribute__((format(printf, 2, 3))) static void print(struct printer *printer, const char *format,
                                                        ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(printer->at, printer->left, format, args);
    va_end(args);
    size_t used = size < 0 ? 0 : (size_t)size;
    if (used >= printer->left)
        used = printer->left - 1;
    printer->at += used;
    printer->left -= used;
}

/* Peers choose these bytes: what is no plain text must not reach a terminal. */
static void print_TEXT(struct printer *printer, struct peri_slice text)
{
    enum { SHOWN_MAX = 64 };
    for (size_t i = 0; i < text.size && i < SHOWN_MAX; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (isgraph(byte) && byte != '\\')
            print(printer, "%c", byte);
        else
            print(printer, "\\x%02x", byte);
    }
    if (text.size > SHOWN_MAX)
        print(printer, "...");
}

static void print_UINT(struct printer *printer, uint64_t number)
{
    print(printer, "%" PRIu64, number);
}

static void print_BOOL(struct printer *printer, bool flag)
{
    print(printer, "%s", flag ? "true" : "false");
}

static void print_BYTES(struct printer *printer, struct peri_slice bytes)
{
    print(printer, "%zuB", bytes.size);
}

static void print_VALUE(struct printer *printer, struct peri_slice value)
{
    print(printer, "%zuB", value.size);
}

void wire_message_print(const struct wire_message *message, char *out, size_t size)
{
    const char *name = wire_kind_name(message->kind);
    PERI_ASSERT(name != NULL && size > 0);
    struct printer printer = {out, size};
    print(&printer, "%s", name);
    if (message->id != 0)
        print(&printer, " id=%" PRIu64, message->id);
    if (message->budget_ms != 0)
        print(&printer, " budget=%" PRIu32, message->budget_ms);
    if (message->flags != 0)
        print(&printer, " flags=0x%x", message->flags);
    switch (message->kind) {
#define MESSAGE(name, number, member, what) case WIRE_##name:
#define FIELD(type, member, field)                                                                 \
    print(&printer, " " #field "=");                                                               \
    print_##type(&printer, message->member.field);
#define MESSAGE_END(member) break;
#include "wire/messages.def"
    }
}
