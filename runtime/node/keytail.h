/* keytail.h - what commands have said since the last round, in the machine's own words.
 *
 *      commands --> | chunk | chunk | chunk | chunk |
 *                   '---a round lays them---'  '--the next one
 *
 * What a command changes need not be keys at once. It can be items at the tail, which the next
 * round has the machine turn into keys, in the background (node_machine.lay); until the store has
 * them, they are read here. What becomes superfluous meanwhile is never a key. Items have a tag,
 * which never falls, and a hash by which one is found. Pure. */
#ifndef PERI_NODE_KEYTAIL_H
#define PERI_NODE_KEYTAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"

enum { NODE_KEYTAIL_CHUNK = 64 << 10, NODE_KEYTAIL_FILTER = 64 };

struct node_keytail_chunk {
    struct peri_list link;
    bool is_sealed; /* nothing is appended to it any more */
    uint64_t first_tag;
    uint64_t filter[NODE_KEYTAIL_FILTER]; /* a bit for each hash in here */
    size_t used, room;
    char bytes[]; /* items */
};

struct node_keytail_item {
    uint64_t tag, hash;
    struct peri_slice bytes;
};

/* Is not moved after node_keytail_init; ended by node_keytail_clear. */
struct node_keytail {
    struct peri_list chunks; /* the oldest first */
    size_t bytes;            /* of all chunks' items */
};

/* Some chunks of a tail, from first to last, which do not change any more; first NULL: none. */
struct node_keytail_piece {
    struct node_keytail_chunk *first, *last;
};

/* Where an item stands; zeroed: in front of the first. */
struct node_keytail_place {
    const struct node_keytail_chunk *chunk, *last; /* last: NULL for the whole tail */
    size_t at;
};

/* Makes an empty tail. */
void node_keytail_init(struct node_keytail *tail);
/* Frees all chunks; the tail is empty then. */
void node_keytail_clear(struct node_keytail *tail);

/* Appends an item, whose bytes are copied. Errors: PERI_ENOMEM. */
int node_keytail_append(struct node_keytail *tail, uint64_t tag, uint64_t hash,
                        struct peri_slice bytes);

/* Lets go of the items that it has more than so many bytes of; some room stays for the next. */
void node_keytail_cut(struct node_keytail *tail, size_t bytes);

/* Appends all items of another one. Errors: PERI_ENOMEM; then some may be there. */
int node_keytail_append_all(struct node_keytail *tail, const struct node_keytail *from);

/* The items in order, from the first whose tag is not below, and behind it; false behind the last.
 */
struct node_keytail_place node_keytail_seek(const struct node_keytail *tail, uint64_t tag);
struct node_keytail_place node_keytail_begin(const struct node_keytail_piece *piece);
bool node_keytail_next(const struct node_keytail *tail, struct node_keytail_place *place,
                       struct node_keytail_item *item);

/* The last item of that hash, with a tag from tag_min to tag_max, for which is_it(data, item) is
 * true; false when there is none. */
bool node_keytail_find(const struct node_keytail *tail, uint64_t hash, uint64_t tag_min,
                       uint64_t tag_max,
                       bool (*is_it)(void *data, const struct node_keytail_item *item), void *data,
                       struct node_keytail_item *found);

/* All chunks behind after, which is NULL or of the tail: nothing is appended to them any more. */
struct node_keytail_piece node_keytail_seal(struct node_keytail *tail,
                                            const struct node_keytail_chunk *after);

/* Moves the chunks up to last to the end of out; who reads a piece of them goes on. Returns how
 * many bytes their items have. */
size_t node_keytail_take(struct node_keytail *tail, struct node_keytail_chunk *last,
                         struct peri_list *out);

/* Frees chunks that node_keytail_take gave. */
void node_keytail_free(struct peri_list *chunks);

#endif
