/* address.h - where a connection leads: env.h says how an address is written. Pure. */
#ifndef PERI_ENV_ADDRESS_H
#define PERI_ENV_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
    ENV_HOST_MAX = 253, /* RFC 1035 */
    ENV_PATH_MAX = 107, /* what the kernel takes as the name of a Unix socket */
};

struct env_address {
    bool is_unix;
    uint16_t port;               /* ENV_PORT_DEFAULT when the text has none */
    char host[ENV_HOST_MAX + 1]; /* without brackets; "127.0.0.1" for none and for "localhost" */
    char path[ENV_PATH_MAX + 1]; /* of a Unix socket; "" otherwise */
};

/* Reads an address. Errors: PERI_EINVAL, with a text that says how one is written. */
int env_address_parse(const char *text, struct env_address *out, struct peri_error *err);

#endif
