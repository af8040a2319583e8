/* lay.h - history that commands have told becomes keys, unless it is compacted by then. */
#ifndef PERI_KV_LAY_H
#define PERI_KV_LAY_H

#include "node/keys.h"

/* Puts the records of the events in a piece, of which those up to revision mark are compacted:
 * node_machine.lay. */
int kv_lay(const struct node_keytail_piece *piece, uint64_t mark, struct node_keys_layer *layer);

#endif
