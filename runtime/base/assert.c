#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void peri_assert_failed(const char *file, int line, const char *function, const char *text)
{
    (void)fprintf(stderr, "perilune: %s:%d: %s: assertion failed: %s\n", file, line, function,
                  text);
    abort();
}
