/* history_edn.h - one event as Clojure's world writes it. */
#ifndef PERI_CHECK_HISTORY_EDN_H
#define PERI_CHECK_HISTORY_EDN_H

#include "check/history.h"

/* Reads {:process 0, :type :invoke, :f :append, :key "4", :value "x 0 1 y"}; :time is in
 * nanoseconds, as jepsen has it. The event's `line` stays as it is. Errors: PERI_ENOMEM,
 * PERI_ETOOBIG; PERI_EFORMAT, err saying what is wrong. */
int check_edn_event(struct check_values *values, struct peri_slice line, struct check_event *event,
                    struct peri_error *err);

/* Reads "INFO  jepsen.util - 3 TAB :invoke TAB :cas TAB [1 2]"; *is_event is false for the other
 * lines of such a log. Errors as above. */
int check_jepsen_event(struct check_values *values, struct peri_slice line,
                       struct check_event *event, bool *is_event, struct peri_error *err);

#endif
