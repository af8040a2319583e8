#include "vm/source_text.h"

#include <errno.h>
#include <stdio.h>

enum { PIECE = 1 << 14 };

int vm_source_text_read(const char *path, struct peri_buffer *out, struct peri_error *err)
{
    char piece[PIECE];
    size_t size = 0;
    int rc = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return peri_fail(err, -errno, "%s", path);
    do {
        size = fread(piece, 1, sizeof piece, file);
        rc = peri_buffer_append(out, piece, size);
        if (rc == 0 && out->size > VM_SOURCE_TEXT_MAX)
            rc = PERI_ETOOBIG;
    } while (rc == 0 && size == sizeof piece);
    if (rc == 0 && ferror(file))
        rc = errno != 0 ? -errno : -EIO;
    (void)fclose(file);
    return rc == 0 ? 0 : peri_fail(err, rc, "%s", path);
}
