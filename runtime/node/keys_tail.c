/* keys_tail.c - what machines say at the tail of a group's keys, until a round has laid it. */
#include "node/keytail.h"
#include "node/rounds.h"

int node_keys_tell(struct node_keys *keys, const struct node_keytail *items, struct peri_error *err)
{
    int rc = node_keytail_append_all(&keys->tail, items);
    return rc == 0 ? 0 : node_keys_end_replica(keys, rc, err);
}

const struct node_keytail *node_keys_tail(const struct node_keys *keys)
{
    return &keys->tail;
}

void node_keys_lay_soon(struct node_keys *keys)
{
    if (keys->told_bytes > 0)
        node_rounds_hurry(keys->group->node->rounds);
}

void node_keys_mark(struct node_keys *keys, uint64_t mark)
{
    if (mark > keys->next_mark)
        keys->next_mark = mark;
}

void node_keys_tail_commit(struct node_keys *keys)
{
    size_t more = keys->tail.bytes - keys->told_bytes;
    keys->group->node->rounds->dirty_bytes += more;
    keys->group->node->rounds->told_bytes += more;
    keys->told_bytes = keys->tail.bytes;
    keys->mark = keys->next_mark;
}

void node_keys_tail_discard(struct node_keys *keys)
{
    node_keytail_cut(&keys->tail, keys->told_bytes);
    keys->next_mark = keys->mark;
}

/* ---- rounds ---- */

void node_keys_tail_gather(struct node_keys *keys)
{
    struct node_keys_part *part = keys->part;
    part->piece = node_keytail_seal(&keys->tail, keys->laid);
    part->lay = keys->group->machine->lay;
    part->mark = keys->mark;
}

struct layer {
    struct node_keys_layer base;
    const struct node_keys_part *part;
    struct store_round *round;
};

static int put(struct node_keys_layer *base, struct peri_slice key, struct peri_slice value)
{
    struct layer *layer = container_of(base, struct layer, base);
    return store_round_put(layer->round, &layer->part->of, key, value);
}

int node_keys_tail_add(const struct node_keys_part *part, struct store_round *round)
{
    struct layer layer = {{put}, part, round};
    return part->piece.first != NULL ? part->lay(&part->piece, part->mark, &layer.base) : 0;
}

static void free_laid(struct node_keys *keys)
{
    struct peri_list chunks;
    if (keys->laid == NULL)
        return;
    peri_list_init(&chunks);
    size_t bytes = node_keytail_take(&keys->tail, keys->laid, &chunks);
    node_keytail_free(&chunks);
    keys->told_bytes -= bytes;
    keys->laid = NULL;
    node_rounds_let_go(keys->group->node->rounds, bytes);
}

void node_keys_tail_rest(struct node_keys *keys)
{
    if (keys->group->task_kind == NODE_TASK_NONE)
        free_laid(keys);
}

void node_keys_tail_settle(struct node_keys_part *part, bool is_written)
{
    if (part->piece.first != NULL && part->keys != NULL && is_written) {
        part->keys->laid = part->piece.last;
        node_keys_tail_rest(part->keys);
    }
    part->piece = (struct node_keytail_piece){NULL, NULL};
    node_keytail_free(&part->chunks);
}

void node_keys_tail_forget(struct node_keys *keys, struct node_keys_part *part)
{
    free_laid(keys);
    node_keys_tail_discard(keys);
    node_rounds_let_go(keys->group->node->rounds, keys->told_bytes);
    if (part != NULL && part->piece.first != NULL)
        (void)node_keytail_take(&keys->tail, part->piece.last, &part->chunks);
    node_keytail_clear(&keys->tail);
    keys->told_bytes = 0;
    keys->mark = keys->next_mark = 0;
}
