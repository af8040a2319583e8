#include "check/rope.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "check/hash.h"

enum { NODES_MIN = 64, SLOTS_MIN = 128, STEP = 32 };

/* The hash of a string is a polynomial in BASE modulo 2^64: that of two strings in a row follows
 * from theirs. It only says where to look. */
static const uint64_t BASE = UINT64_C(0x9e3779b97f4a7c15) | 1;

struct node {
    uint32_t before;
    check_value piece;
    uint64_t size, hash;
};

/* slots hold number + 1, 0 where free, and are at most half full. */
struct check_ropes {
    const struct check_values *values;
    struct node *nodes; /* 0 is the empty string */
    uint32_t *slots;
    size_t count, capacity, slot_count;
};

void check_ropes_close(struct check_ropes *ropes)
{
    if (ropes == NULL)
        return;
    free(ropes->nodes);
    free(ropes->slots);
    free(ropes);
}

static size_t slot_of(uint64_t size, uint64_t hash, size_t slot_count)
{
    return check_mix(size, hash) & (slot_count - 1);
}

int check_ropes_create(struct check_ropes **out, const struct check_values *values)
{
    struct check_ropes *ropes = calloc(1, sizeof *ropes);
    if (ropes == NULL)
        return PERI_ENOMEM;
    ropes->values = values;
    ropes->nodes = malloc(NODES_MIN * sizeof *ropes->nodes);
    ropes->slots = calloc(SLOTS_MIN, sizeof *ropes->slots);
    if (ropes->nodes == NULL || ropes->slots == NULL) {
        check_ropes_close(ropes);
        return PERI_ENOMEM;
    }
    ropes->capacity = NODES_MIN;
    ropes->slot_count = SLOTS_MIN;
    ropes->nodes[0] = (struct node){0};
    ropes->slots[slot_of(0, 0, SLOTS_MIN)] = 1;
    ropes->count = 1;
    *out = ropes;
    return 0;
}

static uint64_t extend(uint64_t hash, struct peri_slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        hash = hash * BASE + (unsigned char)bytes.data[i] + 1;
    return hash;
}

/* A rope's bytes from the last to the first, in runs. */
struct cursor {
    uint32_t rope;
    struct peri_slice run;
};

static void fill(const struct check_ropes *ropes, struct cursor *cursor)
{
    while (cursor->run.size == 0 && cursor->rope != 0) {
        cursor->run = check_value_to_string(ropes->values, ropes->nodes[cursor->rope].piece);
        cursor->rope = ropes->nodes[cursor->rope].before;
    }
}

/* Compares ropes of the same length. */
static bool is_same(const struct check_ropes *ropes, struct cursor a, struct cursor b)
{
    for (;;) {
        if (a.run.size == 0 && b.run.size == 0 && a.rope == b.rope)
            return true;
        fill(ropes, &a);
        fill(ropes, &b);
        size_t common = a.run.size < b.run.size ? a.run.size : b.run.size;
        if (common == 0)
            return true;
        a.run.size -= common;
        b.run.size -= common;
        if (a.run.data != b.run.data &&
            memcmp(a.run.data + a.run.size, b.run.data + b.run.size, common) != 0)
            return false;
    }
}

/* The slot of the rope that candidate describes, or the free one where it belongs. */
static uint32_t *find(const struct check_ropes *ropes, const struct node *candidate)
{
    struct cursor wanted = {candidate->before,
                            check_value_to_string(ropes->values, candidate->piece)};
    for (size_t at = slot_of(candidate->size, candidate->hash, ropes->slot_count);;
         at = (at + 1) & (ropes->slot_count - 1)) {
        uint32_t *slot = &ropes->slots[at];
        if (*slot == 0)
            return slot;
        const struct node *node = &ropes->nodes[*slot - 1];
        if (node->size == candidate->size && node->hash == candidate->hash &&
            is_same(ropes, wanted, (struct cursor){*slot - 1, {NULL, 0}}))
            return slot;
    }
}

static int grow(struct check_ropes *ropes)
{
    if (ropes->count == ropes->capacity) {
        struct node *nodes = realloc(ropes->nodes, ropes->capacity * 2 * sizeof *nodes);
        if (nodes == NULL)
            return PERI_ENOMEM;
        ropes->nodes = nodes;
        ropes->capacity *= 2;
    }
    if ((ropes->count + 1) * 2 <= ropes->slot_count)
        return 0;
    size_t slot_count = ropes->slot_count * 2;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < ropes->count; i++) {
        size_t at = slot_of(ropes->nodes[i].size, ropes->nodes[i].hash, slot_count);
        while (slots[at] != 0)
            at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(ropes->slots);
    ropes->slots = slots;
    ropes->slot_count = slot_count;
    return 0;
}

int check_rope_append(struct check_ropes *ropes, uint32_t rope, check_value piece, uint32_t *out)
{
    struct peri_slice bytes = check_value_to_string(ropes->values, piece);
    *out = rope;
    if (bytes.size == 0)
        return 0;
    const struct node *before = &ropes->nodes[rope];
    struct node node = {rope, piece, before->size + bytes.size, extend(before->hash, bytes)};
    uint32_t *slot = find(ropes, &node);
    if (*slot == 0) {
        if (ropes->count == UINT32_MAX - 1)
            return PERI_ETOOBIG;
        int rc = grow(ropes);
        if (rc != 0)
            return rc;
        slot = find(ropes, &node);
        ropes->nodes[ropes->count++] = node;
        *slot = (uint32_t)ropes->count;
    }
    *out = *slot - 1;
    return 0;
}

size_t check_rope_size(const struct check_ropes *ropes, uint32_t rope)
{
    return ropes->nodes[rope].size;
}

void check_rope_copy(const struct check_ropes *ropes, uint32_t rope, char *bytes)
{
    while (rope != 0) {
        const struct node *node = &ropes->nodes[rope];
        struct peri_slice piece = check_value_to_string(ropes->values, node->piece);
        memcpy(bytes + node->size - piece.size, piece.data, piece.size);
        rope = node->before;
    }
}

/* A string that does not lie in memory twice: its bytes stay in values, of which only the hashes
 * of every STEP bytes are kept. */
int check_rope_target_init(struct check_rope_target *target, const struct check_values *values,
                           check_value string)
{
    struct peri_slice bytes = check_value_to_string(values, string);
    size_t count = bytes.size / STEP + 1;
    target->string = string;
    target->hashes = malloc(count * sizeof *target->hashes);
    if (target->hashes == NULL)
        return PERI_ENOMEM;
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) {
        target->hashes[i] = hash;
        size_t rest = bytes.size - i * STEP;
        hash = extend(hash, peri_slice_of(bytes.data + i * STEP, rest < STEP ? rest : STEP));
    }
    return 0;
}

bool check_rope_may_begin(const struct check_ropes *ropes, uint32_t rope,
                          const struct check_rope_target *target)
{
    const struct node *node = &ropes->nodes[rope];
    struct peri_slice bytes = check_value_to_string(ropes->values, target->string);
    if (node->size > bytes.size)
        return false;
    size_t whole = node->size / STEP;
    struct peri_slice rest = {bytes.data + whole * STEP, node->size - whole * STEP};
    return extend(target->hashes[whole], rest) == node->hash;
}

void check_rope_target_deinit(struct check_rope_target *target)
{
    free(target->hashes);
    target->hashes = NULL;
}

size_t check_ropes_memory(const struct check_ropes *ropes)
{
    return ropes->capacity * sizeof *ropes->nodes + ropes->slot_count * sizeof *ropes->slots;
}
