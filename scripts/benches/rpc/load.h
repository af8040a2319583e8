/* load.h - what a protocol tells the load generator: how a request looks, and where an answer ends.
 */
#ifndef PERI_BENCH_LOAD_H
#define PERI_BENCH_LOAD_H

#include "wire/frame.h"
#include "wire/message.h"

#include <stdint.h>

enum { LOAD_PAYLOAD_SIZE = 64, LOAD_CONNECTIONS_MAX = 10000, LOAD_DEPTH_MAX = 1024 };

/* What protocols may ask for: the last argument, or ""; how many requests are in flight on each
 * connection; and the number of the one that is being served. */
extern const char *load_mode;
extern uint64_t load_depth;
extern unsigned load_connection;

struct load_protocol {
    const char *name;
    bool is_framed; /* its requests are frames, whose checksums are still missing */
    /* Whatever must be said before the first request; blocks. Exits when it fails. */
    void (*greet)(int fd);
    /* Appends the request with that id to out; where it is no frame, to out's bytes. */
    void (*request)(struct wire_frames *out, uint64_t id);
    /* Looks for an answer at the front of bytes: returns its size, or 0 when more must come. *id is
     * the request's, or stays as it is when answers come in the order of requests. Exits when the
     * answer is wrong. The bytes of a burst go on where the last answer ended. */
    size_t (*answer)(const char *bytes, size_t size, uint64_t *id);
};

/* The payload of every request: 64 letters. */
extern const char load_payload[LOAD_PAYLOAD_SIZE + 1];

/* Ends the program: "load: <what>". */
_Noreturn void load_fail(const char *what);

/* Appends, or ends the program. */
void load_append(struct peri_buffer *out, const void *bytes, size_t size);

/* Writes or reads all size bytes; exits when that fails. */
void load_write(int fd, const char *bytes, size_t size);
void load_read(int fd, char *bytes, size_t size);

/* Those that the program speaks, ended by NULL: its own file of protocols has them. */
extern const struct load_protocol *const load_protocols[];

/* ---- load_rpc.c: Perilune's messages, for all who call it ---- */

/* The handshake, without a secret, for both ends are on one machine; load_cluster: whose servers
 * are asked. */
extern const char load_cluster[];
void load_rpc_greet(int fd);

/* Appends a message in a frame whose checksum is missing. */
void load_rpc_put(struct wire_frames *out, struct peri_slice message);

enum { LOAD_RPC_MESSAGE_MAX = 64 << 10 };

/* Of the burst that the bytes in front of us belong to. */
extern size_t load_rpc_burst_left;

/* Is load_rpc_get where a frame begins. */
size_t load_rpc_get_frame(const char *bytes, size_t size, struct peri_slice *message);

/* The message at the front of bytes; returns its size with all that is in front of it, or 0. */
static inline size_t load_rpc_get(const char *bytes, size_t size, struct peri_slice *message)
{
    if (load_rpc_burst_left == 0)
        return load_rpc_get_frame(bytes, size, message);
    struct peri_slice burst = peri_slice_of(bytes, load_rpc_burst_left);
    int rc = wire_burst_next(&burst, LOAD_RPC_MESSAGE_MAX, message, NULL);
    if (rc != 0)
        load_fail(peri_strerror(rc));
    load_rpc_burst_left = burst.size;
    return (size_t)(message->data + message->size - bytes);
}

/* Decodes a message that is not the one before it again; its slices are lent from the bytes. Exits
 * when it is malformed. */
void load_rpc_decode(struct peri_slice encoded, struct wire_message *message);

/* Decodes a message of the stream of answers, the next one: *message is that before it. Exits when
 * it is malformed. */
void load_rpc_decode_next(struct peri_slice encoded, struct wire_message *message);

/* Encodes a message; lent until the next one. */
struct peri_slice load_rpc_encode(const struct wire_message *message);

/* Says a message, and waits for the answer, which has that kind; lent until the next one. */
struct wire_message load_rpc_ask(int fd, const struct wire_message *message, enum wire_kind kind);

/* Ends the program with what an unexpected message says. */
_Noreturn void load_rpc_fail(const struct wire_message *message);

/* ---- load_iproto.c: Tarantool's ---- */

enum { LOAD_IPROTO_HEADER_SIZE = 22 };
void load_iproto_greet(int fd);
/* Appends size, header with type and id, and the body. */
void load_iproto_put(struct peri_buffer *out, int type, uint64_t id, struct peri_slice body);
/* Looks for an answer: its size or 0; *id is the request's. Exits when it is an error. */
size_t load_iproto_get(const char *bytes, size_t size, uint64_t *id);

#endif
