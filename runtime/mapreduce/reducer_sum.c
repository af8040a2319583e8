/* sum and avg. Encoded sum: an integer value while no float came, else FLOATS, zigzag varint of the
 * integers' wrapped sum, the floats' exact sum. Encoded avg: count varint, exact sum of all. */
#include <math.h>

#include "base/bits.h"
#include "mapreduce/exact.h"
#include "mapreduce/state.h"

enum { FLOATS = 7 }; /* no value starts with it */

struct sum {
    uint64_t integers; /* sum: of the integers, wrapped */
    uint64_t count;    /* sum: floats; avg: all values */
    struct mr_exact exact;
};

static struct sum *sum_of(const struct mr_fold *fold)
{
    return (struct sum *)(void *)fold->state->data;
}

/* The state, made on first use, covering span. On error unchanged. */
static int prepare(const struct mr_fold *fold, struct mr_exact_span span)
{
    static const struct mr_exact none = {0};
    bool is_new = fold->state->size == 0;
    size_t limbs = mr_exact_need(is_new ? &none : &sum_of(fold)->exact, span);
    size_t size = sizeof(struct sum) + limbs * sizeof(int64_t);
    int rc = mr_fold_reserve(fold, size);
    if (rc != 0)
        return rc;
    struct sum *sum = sum_of(fold);
    if (is_new)
        memset(sum, 0, sizeof *sum);
    size_t capacity = (fold->state->capacity - sizeof *sum) / sizeof(int64_t);
    sum->exact.capacity = (uint16_t)(capacity < MR_EXACT_LIMBS ? capacity : MR_EXACT_LIMBS);
    mr_exact_widen(&sum->exact, span);
    fold->state->size = size;
    return 0;
}

static int add_float(const struct mr_fold *fold, double number)
{
    int rc = prepare(fold, mr_exact_span_of(number));
    if (rc != 0)
        return rc;
    sum_of(fold)->count++;
    mr_exact_add(&sum_of(fold)->exact, number);
    return 0;
}

static int add_integer(const struct mr_fold *fold, int64_t integer)
{
    bool is_avg = fold->reducer->kind == MR_REDUCE_AVG;
    struct mr_exact_span none = {0, 0};
    int rc = prepare(fold, is_avg ? mr_exact_span_of_integer() : none);
    if (rc != 0)
        return rc;
    if (is_avg) {
        sum_of(fold)->count++;
        mr_exact_add_integer(&sum_of(fold)->exact, integer);
    } else {
        sum_of(fold)->integers += (uint64_t)integer;
    }
    return 0;
}

static int sum_add(const struct mr_fold *fold, struct peri_slice value,
                   const struct mr_position *position)
{
    struct mr_datum datum;
    (void)position;
    int rc = mr_value_decode(value, &datum);
    if (rc == 0 && datum.type == MR_INTEGER)
        return add_integer(fold, datum.integer);
    if (rc == 0 && datum.type == MR_FLOAT)
        return add_float(fold, datum.number);
    return mr_fold_refuse(fold, value, "numbers");
}

static uint64_t zigzag(uint64_t value)
{
    return value << 1 ^ (0 - (value >> 63));
}

static uint64_t unzigzag(uint64_t value)
{
    return value >> 1 ^ (0 - (value & 1));
}

static int merge_exact(const struct mr_fold *fold, struct peri_slice exact)
{
    struct mr_exact_span span;
    if (!mr_exact_encoded_span(exact, &span))
        return mr_fold_malformed(fold);
    int rc = prepare(fold, span);
    if (rc == 0)
        mr_exact_add_encoded(&sum_of(fold)->exact, exact);
    return rc;
}

static int sum_merge(const struct mr_fold *fold, struct peri_slice encoded)
{
    int64_t integer;
    uint64_t head;
    bool is_avg = fold->reducer->kind == MR_REDUCE_AVG;
    const char *end = encoded.data + encoded.size;
    if (!is_avg && mr_value_read_integer(encoded, &integer))
        return add_integer(fold, integer);
    if (encoded.size == 0 || (!is_avg && encoded.data[0] != FLOATS))
        return mr_fold_malformed(fold);
    const char *at = bits_get_varint(encoded.data + (is_avg ? 0 : 1), end, &head);
    if (at == NULL)
        return mr_fold_malformed(fold);
    int rc = merge_exact(fold, peri_slice_of(at, (size_t)(end - at)));
    if (rc != 0)
        return rc;
    if (is_avg)
        sum_of(fold)->count += head;
    else
        sum_of(fold)->integers += unzigzag(head);
    sum_of(fold)->count += is_avg ? 0 : 1; /* as good as one float: the result is one */
    return 0;
}

static int no_memory(const struct mr_fold *fold, int rc)
{
    return rc != 0 ? peri_fail(fold->err, rc, "%s", mr_reducer_name(fold->reducer->kind)) : 0;
}

static int sum_encode(const struct mr_fold *fold, struct peri_buffer *out)
{
    const struct sum *sum = sum_of(fold);
    char head[1 + BITS_VARINT_MAX] = {FLOATS};
    bool is_avg = fold->reducer->kind == MR_REDUCE_AVG;
    if (!is_avg && sum->count == 0)
        return no_memory(
            fold,
            peri_buffer_append(out, head, mr_value_write_integer((int64_t)sum->integers, head)));
    char *end = is_avg ? bits_put_varint(head, sum->count)
                       : bits_put_varint(head + 1, zigzag(sum->integers));
    int rc = peri_buffer_append(out, head, (size_t)(end - head));
    return no_memory(fold, rc != 0 ? rc : mr_exact_encode(&sum->exact, out));
}

static int sum_finish(const struct mr_fold *fold, struct peri_buffer *out)
{
    const struct sum *sum = sum_of(fold);
    struct mr_datum result = {.type = MR_FLOAT};
    if (fold->reducer->kind == MR_REDUCE_AVG)
        result.number = mr_exact_round(&sum->exact, 0) / (double)sum->count;
    else if (sum->count > 0)
        result.number = mr_exact_round(&sum->exact, (int64_t)sum->integers);
    else
        result = (struct mr_datum){.type = MR_INTEGER, .integer = (int64_t)sum->integers};
    return no_memory(fold, mr_value_encode(&result, out));
}

const struct mr_reducer_ops mr_reducer_sum_ops = {sum_add, sum_merge, sum_encode, sum_finish};
