/* sim_pair.h - two simulated nodes with a connection, and ends that note what they hear.
 *
 * Node "s" listens on port 7200, node "c" may dial it. Failures fail the test that runs. */
#ifndef PERI_TESTS_SIM_PAIR_H
#define PERI_TESTS_SIM_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env/env.h"
#include "env/fault.h"
#include "sim/node.h"
#include "sim/world.h"

enum { MS = 1000, SECOND = 1000000, END_NUMBERS_MAX = 20000 };

/* One end of a connection, and everything that it has heard. */
struct end {
    struct sim_world *world;
    struct env_conn *conn;
    struct env_listener *listener; /* of the side that listens */
    int opens, open_status;
    int closes, close_status;
    int writables;
    uint64_t opened_us, closed_us, heard_us;
    size_t count;
    uint32_t numbers[END_NUMBERS_MAX]; /* of the messages, in the order of arrival */
    bool echoes;
    bool closes_when_heard;
    size_t message_max;
};

struct pair {
    struct sim_world *world;
    struct sim_node *server_node, *client_node;
    struct end server, client;
};

/* What an end does with its connection: notes everything in struct end, its data. */
void end_on_open(void *data, int status);
void end_on_message(void *data, struct peri_slice message);
void end_on_close(void *data, int status);
extern const struct env_conn_events end_events; /* of the three, and writables */

/* Accepts for the end that is data. */
void end_on_connection(void *data, struct env_conn *conn);

/* For struct sim_node_events: a node that listens, and one that does not. */
int end_listen(void *data, struct sim_node *node);
int end_start(void *data, struct sim_node *node);

/* Adds a node and starts it; end is its data. */
struct sim_node *end_add(struct sim_world *world, const char *name,
                         int (*on_start)(void *data, struct sim_node *node), struct end *end);

/* Sends one number; the numbers from 0 to count - 1. */
void end_send(struct end *end, uint32_t number);
void end_send_all(struct end *end, uint32_t count);

/* The end has heard the numbers from 0 to count - 1, in order and once. */
void end_assert_in_order(const struct end *end, size_t count);

/* Two nodes that are up; the latency is 1 ms. Lent until the next call; its world is the caller's.
 */
struct pair *pair_create(uint64_t seed);

/* The same, connected. */
struct pair *pair_create_connected(uint64_t seed);

/* The client connects. */
void pair_dial(struct pair *pair, const char *address);

/* Sets a fault of all links and nodes. */
void pair_set(struct pair *pair, enum env_fault fault, int64_t number);

/* Lets virtual time pass. */
void pair_run_for(struct pair *pair, uint64_t us);

#endif
