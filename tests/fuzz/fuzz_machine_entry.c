/* What stands in the log for a machine in a file: any bytes, as a client that makes its own entries
 * could propose them. What is read lies in the bytes, and an entry packed again is read the same.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "vm/machine_entry.h"
#include "wire/pack.h"

static void pack(const struct vm_entry *entry, struct peri_buffer *out)
{
    struct wire_packer packer = {out, 0};
    wire_pack_array(&packer, 7);
    wire_pack_uint(&packer, 1);
    wire_pack_uint(&packer, entry->kind);
    wire_pack_uint(&packer, entry->now_us);
    wire_pack_uint(&packer, entry->seed);
    wire_pack_uint(&packer, entry->session);
    wire_pack_uint(&packer, entry->sequence);
    wire_pack_bytes(&packer, entry->body);
    PERI_ASSERT(packer.rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_buffer bytes = {NULL, 0, 0};
    struct vm_entry entry, again;
    struct peri_slice input = peri_slice_of((const char *)data, size);
    int rc = vm_entry_read(input, &entry, &err);
    PERI_ASSERT(rc == 0 ? err.code == 0 : rc == PERI_EFORMAT && err.code == rc);
    if (rc != 0)
        return 0;
    PERI_ASSERT(entry.kind < VM_ENTRY_KINDS);
    PERI_ASSERT(entry.body.size == 0 || (entry.body.data >= input.data &&
                                         entry.body.data + entry.body.size <= input.data + size));
    pack(&entry, &bytes);
    PERI_ASSERT(vm_entry_read(peri_buffer_slice(&bytes), &again, &err) == 0);
    PERI_ASSERT(again.kind == entry.kind && again.now_us == entry.now_us &&
                again.seed == entry.seed && again.session == entry.session &&
                again.sequence == entry.sequence &&
                peri_slice_compare(again.body, entry.body) == 0);
    peri_buffer_deinit(&bytes);
    return 0;
}
