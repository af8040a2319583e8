/* bits.h - integers as bytes: fixed little- and big-endian, and varints (LEB128). Pure. */
#ifndef PERI_BASE_BITS_H
#define PERI_BASE_BITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

static inline void bits_put_le16(char *out, uint16_t value)
{
    out[0] = (char)value;
    out[1] = (char)(value >> 8);
}

static inline uint16_t bits_get_le16(const char *in)
{
    const unsigned char *at = (const unsigned char *)in;
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline void bits_put_le32(char *out, uint32_t value)
{
    out[0] = (char)value;
    out[1] = (char)(value >> 8);
    out[2] = (char)(value >> 16);
    out[3] = (char)(value >> 24);
}

static inline uint32_t bits_get_le32(const char *in)
{
    const unsigned char *at = (const unsigned char *)in;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline void bits_put_le64(char *out, uint64_t value)
{
    bits_put_le32(out, (uint32_t)value);
    bits_put_le32(out + 4, (uint32_t)(value >> 32));
}

static inline uint64_t bits_get_le64(const char *in)
{
    return bits_get_le32(in) | (uint64_t)bits_get_le32(in + 4) << 32;
}

static inline void bits_put_be64(char *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (char)(value >> (56 - 8 * i));
}

static inline uint64_t bits_get_be64(const char *in)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | (unsigned char)in[i];
    return value;
}

/* The first 8 bytes as a big-endian number, shorter data padded with 00: orders like the bytes up
 * to there. */
static inline uint64_t bits_prefix(const char *data, size_t size)
{
    if (size >= 8)
        return bits_get_be64(data);
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)(unsigned char)data[i] << (56 - 8 * i);
    return value;
}

enum { BITS_VARINT_MAX = 10 };

/* Writes value to out, which holds BITS_VARINT_MAX bytes; returns the end. */
static inline char *bits_put_varint(char *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (char)(value | 0x80);
        value >>= 7;
    }
    *out++ = (char)value;
    return out;
}

/* Reads a varint in [in, end); returns the byte after it, or NULL when it is cut or too long. */
static inline const char *bits_get_varint(const char *in, const char *end, uint64_t *value)
{
    uint64_t result = 0;
    for (unsigned shift = 0; in < end && shift < 64; shift += 7) {
        unsigned char byte = (unsigned char)*in++;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return in;
        }
    }
    return NULL;
}

#endif
