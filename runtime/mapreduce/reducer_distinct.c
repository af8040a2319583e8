/* distinct. 64-bit hashes of the values while there are at most EXACT_MAX different ones, then a
 * HyperLogLog. Both depend only on the set of values, and so does the moment of the change. The
 * estimate is Ertl's (arXiv 1702.01284, algorithm 6), which needs no correction tables.
 * Encoded: 0, then the hashes ascending; or 1, then the registers. */
#include <math.h>
#include <stdlib.h>

#include "base/bits.h"
#include "mapreduce/state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    EXACT_MAX = 8192,
    INDEX_BITS = 14,
    REGISTERS = 1 << INDEX_BITS,
    RANK_MAX = 64 - INDEX_BITS + 1,
    KIND_EXACT = 0,
    KIND_ESTIMATE = 1,
};

struct distinct {
    uint32_t kind;
    uint32_t count; /* of hashes; the first sorted of them ascend without repeats */
    uint64_t sorted;
    uint64_t hashes[]; /* or uint8_t registers[REGISTERS] */
};

static struct distinct *distinct_of(const struct mr_fold *fold)
{
    return (struct distinct *)(void *)fold->state->data;
}

static uint8_t *registers_of(struct distinct *distinct)
{
    return (uint8_t *)distinct->hashes;
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x;
    uint64_t y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Sorts the hashes and drops repeats. */
static void tidy(struct distinct *distinct)
{
    size_t kept = 0;
    if (distinct->sorted == distinct->count)
        return;
    qsort(distinct->hashes, distinct->count, sizeof distinct->hashes[0], compare_hashes);
    for (size_t i = 0; i < distinct->count; i++)
        if (kept == 0 || distinct->hashes[i] != distinct->hashes[kept - 1])
            distinct->hashes[kept++] = distinct->hashes[i];
    distinct->count = (uint32_t)kept;
    distinct->sorted = kept;
}

static void register_hash(uint8_t *registers, uint64_t hash)
{
    size_t index = hash >> (64 - INDEX_BITS);
    uint64_t rest = hash << INDEX_BITS;
    unsigned rank = rest == 0 ? RANK_MAX : (unsigned)__builtin_clzll(rest) + 1;
    if (registers[index] < rank)
        registers[index] = (uint8_t)rank;
}

/* Turns the full state into an estimate; EXACT_MAX hashes have the room for the registers. */
static int start_estimate(const struct mr_fold *fold)
{
    uint8_t *registers = calloc(1, REGISTERS);
    struct distinct *distinct = distinct_of(fold);
    if (registers == NULL)
        return peri_fail(fold->err, PERI_ENOMEM, "distinct");
    for (uint32_t i = 0; i < distinct->count; i++)
        register_hash(registers, distinct->hashes[i]);
    memcpy(registers_of(distinct), registers, REGISTERS);
    free(registers);
    distinct->kind = KIND_ESTIMATE;
    fold->state->size = sizeof *distinct + REGISTERS;
    return 0;
}

static size_t room_for(const struct mr_fold *fold)
{
    size_t room = (fold->state->capacity - sizeof(struct distinct)) / sizeof(uint64_t);
    return room < EXACT_MAX ? room : EXACT_MAX;
}

static int prepare(const struct mr_fold *fold)
{
    if (fold->state->size > 0)
        return 0;
    int rc = mr_fold_reserve(fold, sizeof(struct distinct) + sizeof(uint64_t));
    if (rc != 0)
        return rc;
    memset(fold->state->data, 0, sizeof(struct distinct));
    fold->state->size = sizeof(struct distinct);
    return 0;
}

/* Makes room for one hash more, or turns to estimating. */
static int make_room(const struct mr_fold *fold, uint64_t hash)
{
    tidy(distinct_of(fold));
    size_t count = distinct_of(fold)->count;
    fold->state->size = sizeof(struct distinct) + count * sizeof(uint64_t);
    if (count == EXACT_MAX) {
        const uint64_t *hashes = distinct_of(fold)->hashes;
        bool is_known = bsearch(&hash, hashes, count, sizeof hash, compare_hashes) != NULL;
        return is_known ? 0 : start_estimate(fold);
    }
    if (2 * count < room_for(fold))
        return 0;
    size_t more = 2 * count < EXACT_MAX ? 2 * count + 1 : EXACT_MAX;
    return mr_fold_reserve(fold, sizeof(struct distinct) + more * sizeof(uint64_t));
}

static int add_hash(const struct mr_fold *fold, uint64_t hash)
{
    int rc = 0;
    if (distinct_of(fold)->kind == KIND_EXACT && distinct_of(fold)->count == room_for(fold))
        rc = make_room(fold, hash);
    if (rc != 0)
        return rc;
    struct distinct *distinct = distinct_of(fold);
    if (distinct->kind == KIND_ESTIMATE) {
        register_hash(registers_of(distinct), hash);
    } else if (distinct->count < room_for(fold)) { /* full and still exact: the hash is known */
        distinct->hashes[distinct->count++] = hash;
        fold->state->size += sizeof hash;
    }
    return 0;
}

static int distinct_add(const struct mr_fold *fold, struct peri_slice value,
                        const struct mr_position *position)
{
    (void)position;
    int rc = prepare(fold);
    return rc != 0 ? rc : add_hash(fold, XXH3_64bits(value.data, value.size));
}

static int merge_registers(const struct mr_fold *fold, const char *from)
{
    int rc = mr_fold_reserve(fold, sizeof(struct distinct) + REGISTERS);
    if (rc == 0 && distinct_of(fold)->kind == KIND_EXACT) {
        tidy(distinct_of(fold));
        rc = start_estimate(fold);
    }
    if (rc != 0)
        return rc;
    uint8_t *registers = registers_of(distinct_of(fold));
    for (size_t i = 0; i < REGISTERS; i++)
        if (registers[i] < (uint8_t)from[i])
            registers[i] = (uint8_t)from[i];
    return 0;
}

static int distinct_merge(const struct mr_fold *fold, struct peri_slice encoded)
{
    int rc = prepare(fold);
    if (rc != 0)
        return rc;
    if (encoded.size == 1 + REGISTERS && encoded.data[0] == KIND_ESTIMATE)
        return merge_registers(fold, encoded.data + 1);
    if (encoded.size % sizeof(uint64_t) != 1 || encoded.data[0] != KIND_EXACT)
        return mr_fold_malformed(fold);
    for (size_t at = 1; rc == 0 && at < encoded.size; at += sizeof(uint64_t))
        rc = add_hash(fold, bits_get_le64(encoded.data + at));
    return rc;
}

static int distinct_encode(const struct mr_fold *fold, struct peri_buffer *out)
{
    struct distinct *distinct = distinct_of(fold);
    const char kind = (char)distinct->kind;
    if (peri_buffer_reserve(out, 1 + EXACT_MAX * sizeof(uint64_t)) != 0)
        return peri_fail(fold->err, PERI_ENOMEM, "distinct");
    (void)peri_buffer_append(out, &kind, 1);
    if (kind == KIND_ESTIMATE)
        return peri_buffer_append(out, registers_of(distinct), REGISTERS);
    tidy(distinct);
    fold->state->size = sizeof *distinct + distinct->count * sizeof(uint64_t);
    for (uint32_t i = 0; i < distinct->count; i++) {
        bits_put_le64(out->data + out->size, distinct->hashes[i]);
        out->size += sizeof(uint64_t);
    }
    return 0;
}

/* ---- the estimate ---- */

static double sigma(double x)
{
    double y = 1;
    double z = x;
    double before;
    if (x == 1)
        return INFINITY;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    double y = 1;
    double z = 1 - x;
    double before;
    if (x == 0 || x == 1)
        return 0;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != before);
    return z / 3;
}

static int64_t estimate(const uint8_t *registers)
{
    static const double alpha = 0.72134752044448170368; /* 1 / (2 ln 2) */
    const double m = REGISTERS;
    uint32_t counts[RANK_MAX + 1] = {0};
    for (size_t i = 0; i < REGISTERS; i++)
        counts[registers[i] < RANK_MAX ? registers[i] : RANK_MAX]++;
    double z = m * tau(1 - counts[RANK_MAX] / m);
    for (unsigned rank = RANK_MAX - 1; rank >= 1; rank--)
        z = 0.5 * (z + counts[rank]);
    z += m * sigma(counts[0] / m);
    return (int64_t)(alpha * m * m / z + 0.5);
}

static int distinct_finish(const struct mr_fold *fold, struct peri_buffer *out)
{
    char bytes[MR_VALUE_SCALAR_MAX];
    struct distinct *distinct = distinct_of(fold);
    int64_t result;
    if (distinct->kind == KIND_ESTIMATE) {
        result = estimate(registers_of(distinct));
    } else {
        tidy(distinct);
        result = distinct->count;
    }
    int rc = peri_buffer_append(out, bytes, mr_value_write_integer(result, bytes));
    return rc != 0 ? peri_fail(fold->err, rc, "distinct") : 0;
}

const struct mr_reducer_ops mr_reducer_distinct_ops = {distinct_add, distinct_merge,
                                                       distinct_encode, distinct_finish};
