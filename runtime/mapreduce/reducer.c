#include "mapreduce/reducer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "mapreduce/state.h"

static const char *const type_names[] = {"nil",     "a boolean", "a boolean", "an integer",
                                         "a float", "a string",  "a table"};

/* ---- what the files share ---- */

int mr_fold_reserve(const struct mr_fold *fold, size_t size)
{
    enum { FIRST = 32 };
    struct mr_state *state = fold->state;
    if (size <= state->capacity)
        return 0;
    size_t doubled = state->capacity < FIRST ? FIRST : 2 * state->capacity;
    size_t wanted = size > doubled ? size : doubled;
    int rc = fold->room->grow(fold->room->data, state, wanted);
    if (rc != 0 && wanted > size)
        rc = fold->room->grow(fold->room->data, state, size);
    return rc != 0 ? peri_fail(fold->err, rc, "%s", mr_reducer_name(fold->reducer->kind)) : 0;
}

int mr_fold_refuse(const struct mr_fold *fold, struct peri_slice value, const char *wanted)
{
    struct mr_datum datum;
    if (mr_value_decode(value, &datum) != 0)
        return mr_fold_malformed(fold);
    return peri_fail_plain(fold->err, PERI_EINVAL, "%s takes %s, not %s",
                           mr_reducer_name(fold->reducer->kind), wanted, type_names[datum.type]);
}

int mr_fold_malformed(const struct mr_fold *fold)
{
    return peri_fail(fold->err, PERI_EFORMAT, "state of %s", mr_reducer_name(fold->reducer->kind));
}

static int replace(const struct mr_fold *fold, struct peri_slice bytes)
{
    int rc = mr_fold_reserve(fold, bytes.size);
    if (rc != 0)
        return rc;
    memcpy(fold->state->data, bytes.data, bytes.size);
    fold->state->size = bytes.size;
    return 0;
}

static int append(const struct mr_fold *fold, struct peri_buffer *out, const void *data,
                  size_t size)
{
    int rc = peri_buffer_append(out, data, size);
    return rc != 0 ? peri_fail(fold->err, rc, "%s", mr_reducer_name(fold->reducer->kind)) : 0;
}

static struct peri_slice bytes_of(const struct mr_state *state)
{
    return peri_slice_of(state->data, state->size);
}

/* The state itself is the encoded form and the result: count, min, max, any, all. */
static int encode_plain(const struct mr_fold *fold, struct peri_buffer *out)
{
    return append(fold, out, fold->state->data, fold->state->size);
}

/* ---- count: an encoded integer ---- */

static int count_more(const struct mr_fold *fold, uint64_t more)
{
    int64_t count = 0;
    char bytes[MR_VALUE_SCALAR_MAX];
    (void)mr_value_read_integer(bytes_of(fold->state), &count);
    size_t size = mr_value_write_integer((int64_t)((uint64_t)count + more), bytes);
    return replace(fold, peri_slice_of(bytes, size));
}

static int count_add(const struct mr_fold *fold, struct peri_slice value,
                     const struct mr_position *position)
{
    (void)value;
    (void)position;
    return count_more(fold, 1);
}

static int count_merge(const struct mr_fold *fold, struct peri_slice encoded)
{
    int64_t more;
    if (!mr_value_read_integer(encoded, &more))
        return mr_fold_malformed(fold);
    return count_more(fold, (uint64_t)more);
}

static const struct mr_reducer_ops count_ops = {count_add, count_merge, encode_plain, encode_plain};

/* ---- min, max: an encoded value ---- */

static int extreme_merge(const struct mr_fold *fold, struct peri_slice value)
{
    struct mr_datum datum;
    if (mr_value_decode(value, &datum) != 0 || datum.type == MR_TABLE)
        return mr_fold_refuse(fold, value, "anything but tables");
    if (fold->state->size > 0) {
        int order = mr_value_compare(value, bytes_of(fold->state));
        bool is_better = fold->reducer->kind == MR_REDUCE_MIN ? order < 0 : order > 0;
        if (!is_better)
            return 0;
    }
    return replace(fold, value);
}

static int extreme_add(const struct mr_fold *fold, struct peri_slice value,
                       const struct mr_position *position)
{
    (void)position;
    return extreme_merge(fold, value);
}

static const struct mr_reducer_ops extreme_ops = {extreme_add, extreme_merge, encode_plain,
                                                  encode_plain};

/* ---- any, all: an encoded boolean ---- */

static int truth_merge(const struct mr_fold *fold, struct peri_slice value)
{
    struct mr_datum datum;
    if (mr_value_decode(value, &datum) != 0)
        return mr_fold_malformed(fold);
    bool is_true = datum.type != MR_NIL && datum.type != MR_FALSE;
    bool decides = is_true == (fold->reducer->kind == MR_REDUCE_ANY);
    const char byte = is_true ? MR_TRUE : MR_FALSE;
    if (fold->state->size > 0 && !decides)
        return 0;
    return replace(fold, peri_slice_of(&byte, 1));
}

static int truth_add(const struct mr_fold *fold, struct peri_slice value,
                     const struct mr_position *position)
{
    (void)position;
    return truth_merge(fold, value);
}

static const struct mr_reducer_ops truth_ops = {truth_add, truth_merge, encode_plain, encode_plain};

/* ---- first, last: big-endian position, then an encoded value ---- */

enum { POSITION_SIZE = 24 };

static bool is_wanted(const struct mr_fold *fold, const char *position)
{
    if (fold->state->size == 0)
        return true;
    int order = memcmp(position, fold->state->data, POSITION_SIZE);
    return fold->reducer->kind == MR_REDUCE_FIRST ? order < 0 : order > 0;
}

static int edge_add(const struct mr_fold *fold, struct peri_slice value,
                    const struct mr_position *position)
{
    char at[POSITION_SIZE];
    PERI_ASSERT(position != NULL);
    bits_put_be64(at, position->file);
    bits_put_be64(at + 8, position->offset);
    bits_put_be64(at + 16, position->sequence);
    if (!is_wanted(fold, at))
        return 0;
    int rc = mr_fold_reserve(fold, POSITION_SIZE + value.size);
    if (rc != 0)
        return rc;
    memcpy(fold->state->data, at, POSITION_SIZE);
    memcpy(fold->state->data + POSITION_SIZE, value.data, value.size);
    fold->state->size = POSITION_SIZE + value.size;
    return 0;
}

static int edge_merge(const struct mr_fold *fold, struct peri_slice encoded)
{
    if (encoded.size <= POSITION_SIZE)
        return mr_fold_malformed(fold);
    return is_wanted(fold, encoded.data) ? replace(fold, encoded) : 0;
}

static int edge_finish(const struct mr_fold *fold, struct peri_buffer *out)
{
    const struct mr_state *state = fold->state;
    return append(fold, out, state->data + POSITION_SIZE, state->size - POSITION_SIZE);
}

static const struct mr_reducer_ops edge_ops = {edge_add, edge_merge, encode_plain, edge_finish};

/* ---- by name ---- */

static const struct {
    const char *name;
    const struct mr_reducer_ops *ops;
    uint64_t limit; /* default; 0 when it takes none */
    uint64_t limit_max;
} kinds[] = {
    [MR_REDUCE_NONE] = {"none", NULL, 0, 0},
    [MR_REDUCE_IDENTITY] = {"identity", NULL, 0, 0},
    [MR_REDUCE_SUM] = {"sum", &mr_reducer_sum_ops, 0, 0},
    [MR_REDUCE_COUNT] = {"count", &count_ops, 0, 0},
    [MR_REDUCE_MIN] = {"min", &extreme_ops, 0, 0},
    [MR_REDUCE_MAX] = {"max", &extreme_ops, 0, 0},
    [MR_REDUCE_AVG] = {"avg", &mr_reducer_sum_ops, 0, 0},
    [MR_REDUCE_FIRST] = {"first", &edge_ops, 0, 0},
    [MR_REDUCE_LAST] = {"last", &edge_ops, 0, 0},
    [MR_REDUCE_ANY] = {"any", &truth_ops, 0, 0},
    [MR_REDUCE_ALL] = {"all", &truth_ops, 0, 0},
    [MR_REDUCE_DISTINCT] = {"distinct", &mr_reducer_distinct_ops, 0, 0},
    [MR_REDUCE_TOPK] = {"topk", &mr_reducer_list_ops, 10, 10000},
    [MR_REDUCE_SET] = {"set", &mr_reducer_list_ops, 65536, 1 << 24},
    [MR_REDUCE_CONCAT] = {"concat", &mr_reducer_list_ops, 1 << 20, MR_STATE_MAX / 2},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

static int parse_limit(struct mr_reducer *reducer, const char *text, const char *name,
                       struct peri_error *err)
{
    uint64_t max = kinds[reducer->kind].limit_max;
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9' && value <= max; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    if (text[0] != ')' || text[1] != '\0' || value < 1 || value > max)
        return peri_fail_plain(err, PERI_EINVAL,
                               "reducer '%s': %s takes a number from 1 to %" PRIu64, name,
                               kinds[reducer->kind].name, max);
    reducer->limit = value;
    return 0;
}

int mr_reducer_parse(struct mr_reducer *out, const char *name, struct peri_error *err)
{
    size_t length = strcspn(name, "(");
    for (unsigned kind = MR_REDUCE_IDENTITY; kind < KINDS; kind++) {
        if (strlen(kinds[kind].name) != length || memcmp(kinds[kind].name, name, length) != 0)
            continue;
        struct mr_reducer reducer = {.kind = (enum mr_reducer_kind)kind,
                                     .limit = kinds[kind].limit};
        if (name[length] == '(' && reducer.limit == 0)
            return peri_fail_plain(err, PERI_EINVAL, "reducer '%s': %s takes no number", name,
                                   kinds[kind].name);
        int rc = name[length] == '(' ? parse_limit(&reducer, name + length + 1, name, err) : 0;
        if (rc == 0)
            *out = reducer;
        return rc;
    }
    return peri_fail_plain(err, PERI_EINVAL,
                           "no reducer is called '%s'; there are identity, sum, count, min, max, "
                           "avg, first, last, any, all, distinct, topk(n), set and concat",
                           name);
}

const char *mr_reducer_name(enum mr_reducer_kind kind)
{
    return kinds[kind].name;
}

bool mr_reducer_has_state(const struct mr_reducer *reducer)
{
    return kinds[reducer->kind].ops != NULL;
}

static const struct mr_reducer_ops *ops_of(const struct mr_reducer *reducer)
{
    PERI_ASSERT(mr_reducer_has_state(reducer));
    return kinds[reducer->kind].ops;
}

int mr_reducer_add(const struct mr_reducer *reducer, struct mr_state *state,
                   struct peri_slice value, const struct mr_position *position,
                   const struct mr_room *room, struct peri_error *err)
{
    const struct mr_fold fold = {reducer, state, room, err};
    return ops_of(reducer)->add(&fold, value, position);
}

int mr_reducer_merge(const struct mr_reducer *reducer, struct mr_state *state,
                     struct peri_slice encoded, const struct mr_room *room, struct peri_error *err)
{
    const struct mr_fold fold = {reducer, state, room, err};
    return ops_of(reducer)->merge(&fold, encoded);
}

int mr_reducer_encode(const struct mr_reducer *reducer, struct mr_state *state,
                      struct peri_buffer *out, struct peri_error *err)
{
    const struct mr_fold fold = {reducer, state, NULL, err};
    return ops_of(reducer)->encode(&fold, out);
}

int mr_reducer_finish(const struct mr_reducer *reducer, struct mr_state *state,
                      struct peri_buffer *out, struct peri_error *err)
{
    const struct mr_fold fold = {reducer, state, NULL, err};
    return ops_of(reducer)->finish(&fold, out);
}
