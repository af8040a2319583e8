/* uv.h - the door onto the real world: libuv and the operating system. */
#ifndef PERI_ENV_UV_H
#define PERI_ENV_UV_H

#include "env/env.h"

/* Creates an environment whose loop belongs to the calling thread. On success the caller owns *out
 * and ends it with env_close. From then on the process ignores SIGPIPE: a write to a closed pipe
 * returns -EPIPE instead. Errors: PERI_ENOMEM, errno codes. */
int env_uv_create(struct env **out, struct peri_error *err);

#endif
