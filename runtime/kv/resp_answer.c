/* resp_answer.c - what operations of the store answer, as replies of Redis. */
#include <string.h>

#include "kv/resp_plan.h"

enum { MS_PER_S = 1000 };

const char *resp_error_text(const char *text)
{
    static const char start[] = "the value of the key is no ";
    if (strncmp(text, start, sizeof start - 1) != 0 && strncmp(text, "the sum has", 11) != 0)
        return text;
    return text[sizeof start - 1] == 'n' ? "value is not a valid float"
                                         : "value is not an integer or out of range";
}

/* The value at the front of the results, or nil. */
static bool read_value(struct wire_unpacker *results, struct peri_slice *out)
{
    enum { NIL = 0xc0 };
    if (results->at < results->end && (unsigned char)*results->at == NIL) {
        results->at++;
        return false;
    }
    *out = wire_unpack_bytes(results);
    return true;
}

static void answer_value(struct wire_unpacker *results, struct resp_writer *writer)
{
    struct peri_slice value;
    if (read_value(results, &value))
        resp_bulk(writer, value);
    else
        resp_nil(writer);
}

/* From a to b, both included; below 0: from the end. */
static void answer_part(const struct resp_plan *plan, struct wire_unpacker *results,
                        struct resp_writer *writer)
{
    struct peri_slice value = {"", 0};
    (void)read_value(results, &value);
    int64_t size = (int64_t)value.size;
    int64_t from = plan->a < 0 ? plan->a + size : plan->a;
    int64_t to = plan->b < 0 ? plan->b + size : plan->b;
    from = from < 0 ? 0 : from;
    to = to >= size ? size - 1 : to;
    resp_bulk(writer, from <= to ? peri_slice_of(value.data + from, (size_t)(to - from + 1))
                                 : peri_slice_of("", 0));
}

static int64_t read_number(struct wire_unpacker *results)
{
    enum { FALSE_BYTE = 0xc2, TRUE_BYTE = 0xc3 };
    unsigned char head = results->at < results->end ? (unsigned char)*results->at : 0;
    if (head == FALSE_BYTE || head == TRUE_BYTE)
        return wire_unpack_bool(results);
    return wire_unpack_int(results);
}

static int64_t sum_of(const struct resp_plan *plan, struct wire_unpacker *results, bool counts)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < plan->operations; i++) {
        int64_t number = read_number(results);
        sum += counts ? number != -2 : number;
    }
    return sum;
}

static void answer_time(const struct resp_plan *plan, struct wire_unpacker *results,
                        struct resp_writer *writer)
{
    int64_t ms = wire_unpack_int(results);
    if (ms >= 0)
        ms = ms > plan->idle_ms ? ms - plan->idle_ms : 0;
    bool is_seconds = plan->shape == RESP_TTL_SECONDS || plan->shape == RESP_END_SECONDS;
    if (ms >= 0 && (plan->shape == RESP_END_SECONDS || plan->shape == RESP_END_MS))
        ms += plan->a;
    resp_integer(writer, is_seconds && ms >= 0 ? (ms + MS_PER_S / 2) / MS_PER_S : ms);
}

/* Of a set: whether it happened, and the value before. */
static void answer_set(const struct resp_plan *plan, struct wire_unpacker *results,
                       struct resp_writer *writer)
{
    struct peri_slice old;
    (void)wire_unpack_array(results);
    bool happened = wire_unpack_bool(results);
    bool has_old = read_value(results, &old);
    if (plan->shape == RESP_HAPPENED)
        resp_integer(writer, happened);
    else if (plan->shape == RESP_OLD && has_old)
        resp_bulk(writer, old);
    else if (plan->shape == RESP_OLD || !happened)
        resp_nil(writer);
    else
        resp_status(writer, "OK");
}

/* What the operations behind those that the reply is made of have answered. */
static void skip(struct wire_unpacker *results, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        (void)read_number(results);
}

void resp_plan_answer(const struct resp_plan *plan, struct wire_unpacker *results,
                      struct resp_writer *writer)
{
    switch (plan->shape) {
    case RESP_OK: /* of one set, or of several */
        for (uint32_t i = 0; i + 1 < plan->operations; i++) {
            struct peri_slice old;
            (void)wire_unpack_array(results);
            (void)wire_unpack_bool(results);
            (void)read_value(results, &old);
        }
        answer_set(plan, results, writer);
        break;
    case RESP_OK_OR_NIL:
    case RESP_HAPPENED:
    case RESP_OLD:
        answer_set(plan, results, writer);
        break;
    case RESP_VALUE:
        answer_value(results, writer);
        skip(results, plan->operations - 1);
        break;
    case RESP_VALUES:
        resp_array(writer, plan->operations);
        for (uint32_t i = 0; i < plan->operations; i++)
            answer_value(results, writer);
        break;
    case RESP_PART:
        answer_part(plan, results, writer);
        break;
    case RESP_NUMBER:
    case RESP_SUM:
        resp_integer(writer, sum_of(plan, results, false));
        break;
    case RESP_THERE:
        resp_integer(writer, sum_of(plan, results, true));
        break;
    case RESP_TTL_SECONDS:
    case RESP_TTL_MS:
    case RESP_END_SECONDS:
    case RESP_END_MS:
        answer_time(plan, results, writer);
        break;
    case RESP_BYTES:
        resp_bulk(writer, wire_unpack_bytes(results));
        break;
    case RESP_TYPE:
        resp_status(writer, wire_unpack_int(results) == -2 ? "none" : "string");
        break;
    }
}
