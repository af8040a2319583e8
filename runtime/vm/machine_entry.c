#include "vm/machine_entry.h"

#include "wire/pack.h"

enum { FORMAT = 1, FIELDS = 7 };

int vm_entry_read(struct peri_slice bytes, struct vm_entry *out, struct peri_error *err)
{
    struct wire_unpacker unpacker = wire_unpack(bytes);
    uint32_t count = wire_unpack_array(&unpacker);
    uint64_t format = wire_unpack_uint(&unpacker);
    uint64_t kind = wire_unpack_uint(&unpacker);
    out->now_us = wire_unpack_uint(&unpacker);
    out->seed = wire_unpack_uint(&unpacker);
    out->session = wire_unpack_uint(&unpacker);
    out->sequence = wire_unpack_uint(&unpacker);
    out->body = wire_unpack_bytes(&unpacker);
    if (wire_unpack_end(&unpacker) != 0 || count != FIELDS || format != FORMAT ||
        kind >= VM_ENTRY_KINDS)
        return peri_fail_plain(err, PERI_EFORMAT, "this is no entry of a machine");
    out->kind = (enum vm_entry_kind)kind;
    return 0;
}
