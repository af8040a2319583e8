/* configuration.h - a raft_configuration as bytes: the payload of a RAFT_CONFIGURATION entry, on
 * disk and between peers alike.
 *
 *      version u8 = 1 | count u8 | count x (id varint, members u8)                            Pure.
 */
#ifndef PERI_STORE_CONFIGURATION_H
#define PERI_STORE_CONFIGURATION_H

#include "base/buffer.h"
#include "raft/configuration.h"

/* Appends the configuration's bytes to out. Errors: PERI_ENOMEM, out unchanged. */
int store_configuration_encode(const struct raft_configuration *configuration,
                               struct peri_buffer *out);

/* Reads and checks the configuration that bytes begin with. rest, which may be NULL, gets what
 * stands behind it: the host's own, such as addresses of the members. Errors: PERI_EFORMAT. */
int store_configuration_decode(struct peri_slice bytes, struct raft_configuration *out,
                               struct peri_slice *rest);

#endif
