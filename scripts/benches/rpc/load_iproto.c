/* load_iproto.c - Tarantool's iproto (doc: Box protocol): size, header map, body map. */
#include "load.h"

enum {
    GREETING_SIZE = 128,
    SIZE_BYTE = 0xce,
    TYPE = 0x00,
    SYNC = 0x01,
};

void load_iproto_greet(int fd)
{
    char greeting[GREETING_SIZE];
    load_read(fd, greeting, sizeof greeting);
}

static void put_be32(char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(value >> (24 - 8 * i));
}

static uint32_t get_be32(const char *in)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 8 | (unsigned char)in[i];
    return value;
}

void load_iproto_put(struct peri_buffer *out, int type, uint64_t id, struct peri_slice body)
{
    char head[14] = {(char)SIZE_BYTE, 0, 0, 0, 0, '\x82', TYPE, (char)type, SYNC, '\xce'};
    put_be32(head + 1, (uint32_t)(sizeof head - 5 + body.size));
    put_be32(head + 10, (uint32_t)id);
    load_append(out, head, sizeof head);
    load_append(out, body.data, body.size);
}

/* Answers carry ids as Tarantool writes them: 83 00 ce TYPE 01 cf ID 05 ce SCHEMA. */
size_t load_iproto_get(const char *bytes, size_t size, uint64_t *id)
{
    enum { TYPE_AT = 8, SYNC_AT = 14 };
    if (size < 5)
        return 0;
    if ((unsigned char)bytes[0] != SIZE_BYTE)
        load_fail("no answer of Tarantool's");
    size_t whole = 5 + (size_t)get_be32(bytes + 1);
    if (size < whole)
        return 0;
    if (whole < LOAD_IPROTO_HEADER_SIZE || get_be32(bytes + TYPE_AT) != 0)
        load_fail("Tarantool answers with an error");
    *id = (uint64_t)get_be32(bytes + SYNC_AT) << 32 | get_be32(bytes + SYNC_AT + 4);
    return whole;
}
