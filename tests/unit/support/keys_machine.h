/* keys_machine.h - a machine that keeps its state in keys: a list of texts, as that of
 * node_cluster.h, and paddings that make the state large.
 *
 *      "fail..."   writes, and then fails: nothing of it may be seen
 *      "drop"      deletes the oldest text
 *      "pad..."    adds a text, and writes KEYS_PAD_BYTES under a key of its own
 *      "look..."   reads and writes the key of that name: "new" or "there"
 *      other       adds a text; the result is how many were ever added
 *
 * A query answers with all texts, "a;b;c;", read in small pages. */
#ifndef PERI_TESTS_KEYS_MACHINE_H
#define PERI_TESTS_KEYS_MACHINE_H

#include "node/keys.h"

enum { KEYS_PAD_BYTES = 300 << 10 };

struct keys_machine {
    struct node_machine machine;
    struct node_task *task;
    struct node_keys_read read;
    struct peri_buffer from;
    uint64_t restores;
    uint64_t waits; /* commands whose read had to be made in the background */
};

/* Starts zeroed or as it was when its node went down; ended by keys_machine_deinit. */
void keys_machine_init(struct keys_machine *machine);
void keys_machine_deinit(struct keys_machine *machine);

#endif
