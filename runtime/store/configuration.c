#include "store/configuration.h"

#include "base/bits.h"

enum { VERSION = 1, MEMBER_MAX_BYTES = BITS_VARINT_MAX + 1 };

int store_configuration_encode(const struct raft_configuration *configuration,
                               struct peri_buffer *out)
{
    int rc = peri_buffer_reserve(out, 2 + configuration->count * MEMBER_MAX_BYTES);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    *at++ = VERSION;
    *at++ = (char)configuration->count;
    for (size_t i = 0; i < configuration->count; i++) {
        at = bits_put_varint(at, configuration->ids[i]);
        *at++ = (char)configuration->members[i];
    }
    out->size = (size_t)(at - out->data);
    return 0;
}

int store_configuration_decode(struct peri_slice bytes, struct raft_configuration *out,
                               struct peri_slice *rest)
{
    const char *at = bytes.data, *end = bytes.data + bytes.size;
    if (bytes.size < 2 || at[0] != VERSION || (unsigned char)at[1] > RAFT_MEMBERS_MAX)
        return PERI_EFORMAT;
    *out = (struct raft_configuration){.count = (unsigned char)at[1]};
    at += 2;
    for (size_t i = 0; i < out->count; i++) {
        at = bits_get_varint(at, end, &out->ids[i]);
        if (at == NULL || at == end)
            return PERI_EFORMAT;
        out->members[i] = (uint8_t)*at++;
    }
    if (rest != NULL)
        *rest = peri_slice_of(at, (size_t)(end - at));
    return raft_configuration_check(out, NULL) == 0 ? 0 : PERI_EFORMAT;
}
