/* history_json.h - one event of our own format: {"process":3,"type":"ok","f":"read","value":4}. */
#ifndef PERI_CHECK_HISTORY_JSON_H
#define PERI_CHECK_HISTORY_JSON_H

#include "check/history.h"

/* Reads the event of one line; its `line` stays as it is. Errors: PERI_ENOMEM, PERI_ETOOBIG;
 * PERI_EFORMAT, err saying what is wrong. */
int check_json_event(struct check_values *values, struct peri_slice line, struct check_event *event,
                     struct peri_error *err);

#endif
