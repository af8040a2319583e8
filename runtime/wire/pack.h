/* pack.h - MessagePack without Lua: values one after the other, for C on both sides.
 *
 * Writer and reader keep their first failure, so that a whole message can be written or read before
 * anybody asks. After a failure nothing more is written, and what is read is 0, empty or false. */
#ifndef PERI_WIRE_PACK_H
#define PERI_WIRE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* ---- writing: appends to out, which is lent; rc is 0 or PERI_ENOMEM ---- */

struct wire_packer {
    struct peri_buffer *out;
    int rc;
};

/* An array of count values, which come next. */
void wire_pack_array(struct wire_packer *packer, uint32_t count);
/* A number in its shortest form. */
void wire_pack_uint(struct wire_packer *packer, uint64_t number);
void wire_pack_int(struct wire_packer *packer, int64_t number);
/* A number with a fraction, as 64 bits. */
void wire_pack_double(struct wire_packer *packer, double number);
/* A string of bytes. */
void wire_pack_bytes(struct wire_packer *packer, struct peri_slice bytes);
/* true, false, nil */
void wire_pack_bool(struct wire_packer *packer, bool flag);
void wire_pack_nil(struct wire_packer *packer);

/* ---- reading: bytes are lent; rc is 0 or PERI_EFORMAT ---- */

struct wire_unpacker {
    const char *at, *end;
    int rc;
};

/* Starts in front of the first value. */
static inline struct wire_unpacker wire_unpack(struct peri_slice bytes)
{
    return (struct wire_unpacker){bytes.data, bytes.data + bytes.size, 0};
}

/* The head of an array: how many values come next, never more than there are bytes left. */
uint32_t wire_unpack_array(struct wire_unpacker *unpacker);
/* A number that is not negative; any number of 64 bits. */
uint64_t wire_unpack_uint(struct wire_unpacker *unpacker);
int64_t wire_unpack_int(struct wire_unpacker *unpacker);
/* A string, text or not; lent with the bytes. */
struct peri_slice wire_unpack_bytes(struct wire_unpacker *unpacker);
/* true or false */
bool wire_unpack_bool(struct wire_unpacker *unpacker);
/* All has been read: else that is a failure, too. Returns rc. */
int wire_unpack_end(struct wire_unpacker *unpacker);

#endif
