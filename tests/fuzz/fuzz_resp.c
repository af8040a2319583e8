/* Fuzzes the decoder of Redis' protocol, and the plans of commands.
 *
 * Beyond the sanitizers: what is cut anywhere needs more bytes, or is refused as the whole is; a
 * command takes as many bytes as were looked at, and its arguments lie in them; a command that is
 * planned is one that the store decodes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "kv/command.h"
#include "kv/resp_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct resp_command command, again;
static struct kv_command decoded;

/* The operations, as the branch of a command. */
static void check_plan(const struct resp_plan *plan, const struct peri_buffer *operations,
                       const struct peri_buffer *absent, uint32_t absent_count)
{
    struct peri_buffer bytes = {NULL, 0, 0};
    struct wire_packer out = {&bytes, 0};
    struct peri_error err = PERI_ERROR_INIT;
    wire_pack_array(&out, 8);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    for (int i = 0; i < 3; i++)
        wire_pack_uint(&out, 0);
    wire_pack_bytes(&out, peri_slice_of("do", 2));
    wire_pack_array(&out, absent_count);
    PERI_ASSERT(peri_buffer_append(&bytes, absent->data, absent->size) == 0);
    wire_pack_array(&out, plan->operations);
    PERI_ASSERT(peri_buffer_append(&bytes, operations->data, operations->size) == 0);
    wire_pack_array(&out, 0);
    int rc = kv_command_decode(peri_buffer_slice(&bytes), &decoded, &err);
    bool is_about_keys =
        strncmp(err.text, "a key has", 9) == 0; /* their size is the store's affair */
    PERI_ASSERT(rc == 0 || is_about_keys);
    peri_buffer_deinit(&bytes);
}

static void plan_command(void)
{
    struct peri_buffer operations = {NULL, 0, 0}, absent = {NULL, 0, 0};
    struct wire_packer out = {&operations, 0}, compares = {&absent, 0};
    struct peri_error err = PERI_ERROR_INIT;
    struct resp_plan plan;
    uint32_t count = 0;
    const struct resp_word *word = resp_word_find(command.args[0]);
    if (word == NULL || word->plan == NULL || !resp_word_takes(word, command.count))
        return;
    int rc = resp_plan_make(word, &command, 1000000, &plan, &out, &compares, &count, &err);
    PERI_ASSERT(rc == 0 || (rc == PERI_EINVAL && strncmp(err.text, "ERR ", 4) == 0));
    if (rc == 0)
        check_plan(&plan, &operations, &absent, count);
    peri_buffer_deinit(&operations);
    peri_buffer_deinit(&absent);
}

static void check_command(struct peri_slice bytes, size_t size)
{
    size_t other = 0;
    PERI_ASSERT(size > 0 && size <= bytes.size && command.count <= RESP_ARGS_MAX);
    for (uint32_t i = 0; i < command.count; i++)
        PERI_ASSERT(command.args[i].data >= bytes.data &&
                    command.args[i].data + command.args[i].size <= bytes.data + size);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 8)
        PERI_ASSERT(resp_decode(peri_slice_of(bytes.data, cut), &again, &other, NULL) == 0);
    if (command.count > 0)
        plan_command();
    if (command.count > 2)
        (void)resp_matches(command.args[1], command.args[2]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct peri_slice bytes = {(const char *)data, size};
    size_t used = 0;
    struct peri_error err = PERI_ERROR_INIT;
    int rc;
    while ((rc = resp_decode(bytes, &command, &used, &err)) == 1) {
        check_command(bytes, used);
        bytes = peri_slice_of(bytes.data + used, bytes.size - used);
    }
    PERI_ASSERT(rc == 0 || err.text[0] != '\0');
    return 0;
}
