/* json_path.h - the value at a dotted path of a JSON document. Pure. */
#ifndef PERI_MAPREDUCE_JSON_PATH_H
#define PERI_MAPREDUCE_JSON_PATH_H

#include <jansson.h>

#include "base/error.h"
#include "base/slice.h"

/* Finds the value at a path such as "user.tags[0].name"; indices count from 0, as in JSON's own
 * world. The empty path is the root. *out is lent by root, and NULL when there is no such value.
 * Errors: PERI_EINVAL for a malformed path. */
int mr_json_find(json_t *root, struct peri_slice path, json_t **out, struct peri_error *err);

#endif
