/* births.h - what birth.c, of the own disk, and births.c, of all, have in common. */
#ifndef PERI_NODE_BIRTHS_H
#define PERI_NODE_BIRTHS_H

#include "node/parts.h"

enum {
    BIRTHS_ENTRY_SIZE = 24, /* a copy of a birth; what is known of another node */
    BIRTHS_PLAIN_SIZE = 16, /* the same without an age */
    BIRTHS_SEED = 1,        /* of checks; 0 without ages */
};

/* The whole file of that name in the log of the node with these data; nothing when it is not there.
 * Blocks. Errors: errno codes, PERI_ENOMEM. */
int node_births_read(struct env *env, const char *data, const char *name, struct peri_buffer *out,
                     struct peri_error *err);
/* Replaces it durably. Blocks. Errors: errno codes. */
int node_births_write(struct node *node, const char *name, struct peri_slice bytes,
                      struct peri_error *err);

/* Reads, or makes, the birth of the own disk. Blocks. Errors: as node_births_load. */
int node_birth_load(struct node *node, struct peri_error *err);
/* Counts its age on, in the background, when it is time to. */
void node_birth_age(struct node *node);

#endif
