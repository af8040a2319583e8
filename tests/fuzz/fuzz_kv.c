/* Fuzzes the key/value store with commands one after the other, each behind a byte that says how
 * long it is. Each is decoded as a command and as a query, and what decodes is carried out.
 *
 * Beyond the sanitizers: what decodes encodes again, and decodes to the same bytes; a command that
 * fails leaves nothing; an error has a text; nothing but a command's own kinds of errors comes out,
 * and no damage is found. */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "kv_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct kv_command command;

static void check_again(struct peri_slice bytes, bool is_query)
{
    struct peri_buffer first = {NULL, 0, 0}, second = {NULL, 0, 0};
    struct kv_query query;
    for (int round = 0; round < 2; round++) {
        struct peri_buffer *to = round == 0 ? &first : &second;
        int rc = is_query ? kv_query_decode(bytes, &query, NULL)
                          : kv_command_decode(bytes, &command, NULL);
        PERI_ASSERT(rc == 0);
        if (is_query)
            kv_store_encode_query(&query, to);
        else
            kv_store_encode(&command, to);
        bytes = peri_buffer_slice(&first);
    }
    PERI_ASSERT(peri_slice_compare(peri_buffer_slice(&first), peri_buffer_slice(&second)) == 0);
    peri_buffer_deinit(&first);
    peri_buffer_deinit(&second);
}

static void check_error(int rc, const struct peri_error *err)
{
    PERI_ASSERT(rc == 0 || err->text[0] != '\0');
    PERI_ASSERT(rc == 0 || rc == PERI_EINVAL || rc == PERI_ETOOBIG || rc == PERI_EVERSION ||
                rc == PERI_ESESSION || rc == PERI_ELEASE || rc == PERI_ECOMPACTED);
}

static void carry_out(struct kv_store *store, struct peri_slice bytes, struct peri_buffer *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    size_t before = kv_store_count(store, 'k') + kv_store_count(store, 'e');
    int rc = kv_store_apply(store, bytes, out, &err);
    check_error(rc, &err);
    PERI_ASSERT(rc == 0 || kv_store_count(store, 'k') + kv_store_count(store, 'e') == before);
    if (kv_command_decode(bytes, &command, NULL) == 0)
        check_again(bytes, false);
    rc = kv_store_ask(store, bytes, out, &err);
    check_error(rc, &err);
    struct kv_query query;
    if (kv_query_decode(bytes, &query, NULL) == 0)
        check_again(bytes, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kv_store store = {.random = 1};
    struct peri_buffer out = {NULL, 0, 0};
    while (size > 1) {
        size_t length = *data++;
        size--;
        length = length < size ? length : size;
        carry_out(&store, peri_slice_of((const char *)data, length), &out);
        data += length;
        size -= length;
    }
    peri_buffer_deinit(&out);
    kv_store_deinit(&store);
    return 0;
}
