/* resp.h - Redis' protocol as bytes: commands that clients send, and replies in both versions.
 *
 *      *2 CRLF $3 CRLF GET CRLF $1 CRLF a CRLF        an array of bulk strings
 *      GET a CRLF                                      or a line of words
 *
 * (Redis documentation, "Redis serialization protocol specification".) Pure; the decoder is fuzzed,
 * allocates nothing and believes no length that it was told. */
#ifndef PERI_KV_RESP_H
#define PERI_KV_RESP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "kv/limits.h"

enum {
    RESP_ARGS_MAX = 1024,
    RESP_ARG_MAX = KV_VALUE_MAX,
    RESP_COMMAND_MAX = KV_VALUE_MAX + (64 << 10), /* bytes of a whole command */
    RESP_LINE_MAX = 64 << 10,                     /* of a line of words */
    RESP_ERROR_MAX = 512,
};

struct resp_command {
    uint32_t count; /* 0: an empty line, which means nothing */
    struct peri_slice args[RESP_ARGS_MAX];
};

/* Looks for a command at the front of bytes. Returns 1 when it is all there: *size is what it
 * takes, and its arguments are lent from bytes; 0 when more must come. Errors, after which the
 * connection makes no sense any more: PERI_EPROTOCOL, PERI_ETOOBIG. */
int resp_decode(struct peri_slice bytes, struct resp_command *out, size_t *size,
                struct peri_error *err);

/* Writes replies; keeps its first failure in rc, 0 or PERI_ENOMEM. */
struct resp_writer {
    struct peri_buffer *out;
    int version; /* 2 or 3 */
    int rc;
};

/* One word, as "OK". */
void resp_status(struct resp_writer *writer, const char *text);
/* The text begins with a code in capitals, "ERR ..."; line ends in it become spaces. */
void resp_error(struct resp_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void resp_integer(struct resp_writer *writer, int64_t number);
void resp_bulk(struct resp_writer *writer, struct peri_slice bytes);
void resp_text(struct resp_writer *writer, const char *text);
void resp_nil(struct resp_writer *writer);
/* A transaction that did not happen: an array that is none. */
void resp_nil_array(struct resp_writer *writer);
/* Heads; count values come next, or pairs of them. */
void resp_array(struct resp_writer *writer, size_t count);
void resp_map(struct resp_writer *writer, size_t count);
void resp_push(struct resp_writer *writer, size_t count);

/* Reads a whole number: digits, perhaps a minus in front, nothing else. */
bool resp_read_integer(struct peri_slice text, int64_t *out);
/* True when the text is that word, in whatever case; the word is in capitals. */
bool resp_is_word(struct peri_slice text, const char *word);
/* True when the text has the form of a glob: * ? [a-c] [^a] and \ in front of what means itself. */
bool resp_matches(struct peri_slice pattern, struct peri_slice text);

#endif
