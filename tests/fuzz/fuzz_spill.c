/* Fuzzes what is read back from spill files: records of blocks, keys, values, reducer states.
 *
 * The first byte chooses what reads the rest. Blocks are read behind their checksum, so that the
 * fuzzer need not find it. Beyond the sanitizers: a decoded key encodes to bytes that decode again.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "mapreduce/block.h"
#include "mapreduce/room.h"
#include "mapreduce/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_records(struct peri_slice bytes)
{
    const char *at = bytes.data;
    const char *end = bytes.data + bytes.size;
    struct peri_buffer key = {0};
    struct peri_slice value;
    while (at < end && mr_block_next(&at, end, &key, &value) == 0)
        PERI_ASSERT(value.data >= bytes.data && value.data + value.size <= end);
    peri_buffer_deinit(&key);
}

static void fuzz_key(struct peri_slice bytes)
{
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    struct peri_buffer scratch = {0};
    struct peri_buffer again = {0};
    size_t count;
    if (mr_key_decode(bytes, parts, &count, &scratch, NULL) == 0) {
        PERI_ASSERT(mr_key_encode(parts, count, &again, NULL) == 0);
        PERI_ASSERT(mr_key_first_parts(peri_buffer_slice(&again), count).size == again.size);
    }
    peri_buffer_deinit(&scratch);
    peri_buffer_deinit(&again);
}

static void fuzz_value(struct peri_slice bytes)
{
    struct mr_datum datum;
    struct peri_buffer json = {0};
    if (mr_value_decode(bytes, &datum) == 0)
        (void)mr_json_append(&json, &datum);
    peri_buffer_deinit(&json);
}

struct one_value {
    struct mr_values values;
    struct peri_slice value;
    int left;
};

static int next(struct mr_values *values, struct peri_slice *value, struct peri_error *err)
{
    struct one_value *one = container_of(values, struct one_value, values);
    (void)err;
    *value = one->value;
    return one->left-- > 0 ? 1 : 0;
}

/* A state that merges must encode and finish. */
static void fuzz_state(enum mr_reducer_kind kind, struct peri_slice bytes)
{
    enum { LIMIT = 1 << 20 };
    struct mr_reducer reducer = {.kind = kind, .limit = 100};
    struct mr_bounded_room room = mr_bounded_room(LIMIT);
    struct one_value one = {.values = {.next = next}, .value = bytes, .left = 2};
    struct peri_buffer out = {0};
    if (mr_group_reduce(&reducer, &one.values, &room, NULL) == 0 && room.state.size > 0) {
        (void)mr_reducer_encode(&reducer, &room.state, &out, NULL);
        (void)mr_reducer_finish(&reducer, &room.state, &out, NULL);
    }
    mr_bounded_room_deinit(&room);
    peri_buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct peri_slice rest = peri_slice_of((const char *)data + 1, size - 1);
    enum mr_reducer_kind kind = (enum mr_reducer_kind)(data[0] % (MR_REDUCE_CONCAT + 1));
    const struct mr_reducer reducer = {.kind = kind};
    if (data[0] >= 0xf0)
        fuzz_records(rest);
    else if (data[0] >= 0xe0)
        fuzz_key(rest);
    else if (data[0] >= 0xd0)
        fuzz_value(rest);
    else if (mr_reducer_has_state(&reducer))
        fuzz_state(kind, rest);
    return 0;
}
