/* state_internal.h - what the files of the state store share. */
#ifndef PERI_STORE_STATE_INTERNAL_H
#define PERI_STORE_STATE_INTERNAL_H

#include "base/list.h"
#include "store/state.h"

struct store_state {
    struct store *store; /* NULL: it could not be opened again */
    struct env *env;
    struct store_options how;
    struct peri_list sources;
    char path[];
};

/* source.c: what the source was made from goes; it can only be closed. */
void state_source_end(struct peri_list *link);
/* Frees one that nobody has closed. */
void state_source_free(struct peri_list *link);

enum { STATE_VERSION = 1 };
enum { STATE_PREFIX_BYTES = 17, STATE_NAME_BYTES = 9 };
enum { STATE_KEY_APPLIED = 'A', STATE_KEY_STAGED = 'G', STATE_KEY_VALUE = 'S' };

/* Writes kind and group to out, STATE_NAME_BYTES; the slice is of out. */
struct peri_slice state_name(char kind, uint64_t group, char *out);

/* Writes what stands before the keys of a group's epoch to out, STATE_PREFIX_BYTES. */
struct peri_slice state_prefix(uint64_t group, uint64_t epoch, char *out);

/* Appends a value of kind A, without check; reads one, *rest being what stands behind members.
 * Errors: PERI_ENOMEM; PERI_ECORRUPT, PERI_EVERSION. */
int state_applied_encode(const struct store_applied *applied, struct peri_buffer *out);
int state_applied_decode(struct peri_slice bytes, uint64_t group, struct store_applied *out);

/* Is store_batch_put of prefix and key together. */
int state_put(struct store_batch *batch, struct peri_slice prefix, struct peri_slice key,
              struct peri_slice value);

#endif
