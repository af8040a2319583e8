/* source_text.h - the text of a file of Lua code. */
#ifndef PERI_VM_SOURCE_TEXT_H
#define PERI_VM_SOURCE_TEXT_H

#include "base/buffer.h"
#include "base/error.h"

enum { VM_SOURCE_TEXT_MAX = 4 << 20 };

/* Appends the file at path to out. Not through env: files of code are inputs of a simulation, as
 * with require and loadfile, and not on its nodes' disks. Errors: errno codes, PERI_ETOOBIG. */
int vm_source_text_read(const char *path, struct peri_buffer *out, struct peri_error *err);

#endif
