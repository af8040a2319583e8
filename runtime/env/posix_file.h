/* posix_file.h - what posix_file.c and posix_path.c share. */
#ifndef PERI_ENV_POSIX_FILE_H
#define PERI_ENV_POSIX_FILE_H

#include "env/uv_internal.h"

struct stat;

/* Translate what stat(2) says. */
enum env_file_type env_posix_type(unsigned int mode);
void env_posix_stat_fill(struct env_stat *out, const struct stat *from);

#endif
