/* state_format.c - the keys and values of the state store as bytes (state.h draws them). */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "store/configuration.h"
#include "store/state_internal.h"

enum { CHECK_BYTES = 8 };

struct peri_slice state_name(char kind, uint64_t group, char *out)
{
    out[0] = kind;
    bits_put_be64(out + 1, group);
    return peri_slice_of(out, STATE_NAME_BYTES);
}

struct peri_slice state_prefix(uint64_t group, uint64_t epoch, char *out)
{
    (void)state_name(STATE_KEY_VALUE, group, out);
    bits_put_be64(out + STATE_NAME_BYTES, epoch);
    return peri_slice_of(out, STATE_PREFIX_BYTES);
}

int state_applied_encode(const struct store_applied *applied, struct peri_buffer *out)
{
    size_t start = out->size;
    int rc = peri_buffer_reserve(out, 2 + 4 * BITS_VARINT_MAX + 1);
    if (rc != 0)
        return rc;
    char *at = out->data + start;
    *at++ = STATE_VERSION;
    at = bits_put_varint(at, applied->epoch);
    at = bits_put_varint(at, applied->index);
    at = bits_put_varint(at, applied->term);
    char *size = at++;
    out->size = (size_t)(at - out->data);
    size_t size_at = (size_t)(size - out->data), members_at = out->size;
    rc = store_configuration_encode(&applied->members, out);
    if (rc == 0) {
        out->data[size_at] = (char)(out->size - members_at); /* below 256: 16 members */
        rc = peri_buffer_append(out, applied->extra.data, applied->extra.size);
    }
    char name[STATE_NAME_BYTES], check[CHECK_BYTES];
    struct peri_slice key = state_name(STATE_KEY_APPLIED, applied->group, name);
    if (rc == 0) {
        bits_put_le64(check, XXH3_64bits_withSeed(out->data + start, out->size - start,
                                                  XXH3_64bits(key.data, key.size)));
        rc = peri_buffer_append(out, check, sizeof check);
    }
    if (rc != 0)
        out->size = start;
    return rc;
}

int state_applied_decode(struct peri_slice bytes, uint64_t group, struct store_applied *out)
{
    char name[STATE_NAME_BYTES];
    struct peri_slice key = state_name(STATE_KEY_APPLIED, group, name);
    if (bytes.size < 2 + CHECK_BYTES)
        return PERI_ECORRUPT;
    bytes.size -= CHECK_BYTES;
    const char *at = bytes.data + 1, *end = bytes.data + bytes.size;
    if (bits_get_le64(end) !=
        XXH3_64bits_withSeed(bytes.data, bytes.size, XXH3_64bits(key.data, key.size)))
        return PERI_ECORRUPT;
    if (bytes.data[0] != STATE_VERSION)
        return PERI_EVERSION;
    *out = (struct store_applied){.group = group};
    at = bits_get_varint(at, end, &out->epoch);
    if (at != NULL)
        at = bits_get_varint(at, end, &out->index);
    if (at != NULL)
        at = bits_get_varint(at, end, &out->term);
    if (at == NULL || at == end || (unsigned char)*at > end - at - 1)
        return PERI_ECORRUPT;
    struct peri_slice members = peri_slice_of(at + 1, (unsigned char)*at);
    at += 1 + members.size;
    out->extra = peri_slice_of(at, (size_t)(end - at));
    return store_configuration_decode(members, &out->members, NULL) == 0 ? 0 : PERI_ECORRUPT;
}

int state_put(struct store_batch *batch, struct peri_slice prefix, struct peri_slice key,
              struct peri_slice value)
{
    struct peri_buffer name = {0};
    int rc = peri_buffer_append(&name, prefix.data, prefix.size);
    if (rc == 0)
        rc = peri_buffer_append(&name, key.data, key.size);
    if (rc == 0)
        rc = store_batch_put(batch, peri_buffer_slice(&name), value);
    peri_buffer_deinit(&name);
    return rc;
}
