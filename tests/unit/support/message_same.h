/* message_same.h - whether two messages say the same, field by field of messages.def. */
#ifndef PERI_TESTS_MESSAGE_SAME_H
#define PERI_TESTS_MESSAGE_SAME_H

#include "wire/message.h"

static inline bool message_same_UINT(uint64_t a, uint64_t b)
{
    return a == b;
}

static inline bool message_same_BOOL(bool a, bool b)
{
    return a == b;
}

static inline bool message_same_TEXT(struct peri_slice a, struct peri_slice b)
{
    return peri_slice_compare(a, b) == 0;
}
#define message_same_BYTES message_same_TEXT
#define message_same_VALUE message_same_TEXT

/* Headers and all fields are equal. */
static inline bool message_is_same(const struct wire_message *a, const struct wire_message *b)
{
    bool is_same = a->kind == b->kind && a->flags == b->flags && a->budget_ms == b->budget_ms &&
                   a->id == b->id;
    switch (a->kind) {
#define MESSAGE(name, number, member, what) case number:
#define FIELD(type, member, field)                                                                 \
    is_same = is_same && message_same_##type(a->member.field, b->member.field);
#define MESSAGE_END(member) break;
#include "wire/messages.def"
    }
    return is_same;
}

#endif
