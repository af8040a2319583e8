/* load.h - what a protocol tells the load generator: how a request looks, and where an answer ends.
 */
#ifndef PERI_BENCH_LOAD_H
#define PERI_BENCH_LOAD_H

#include "wire/frame.h"

#include <stdint.h>

enum { LOAD_PAYLOAD_SIZE = 64 };

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

extern const struct load_protocol load_raw;    /* 64 bytes, echoed */
extern const struct load_protocol load_long;   /* as many bytes as a CALL of them, echoed */
extern const struct load_protocol load_frame;  /* a frame of 64 bytes, echoed (wire/frame.h) */
extern const struct load_protocol load_rpc;    /* Perilune: CALL echo, REPLY */
extern const struct load_protocol load_iproto; /* Tarantool: CALL echo */

#endif
