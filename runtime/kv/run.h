/* run.h - commands and queries over a view: pure functions of the log and the keys.
 *
 * A run ends with KV_LATER when it has to begin again (view.h), else with its outcome: 0 and a
 * result, or an error, which has no effect and is the same on all replicas. PERI_ENOMEM and
 * PERI_ECORRUPT are this replica's own: it must not go on. */
#ifndef PERI_KV_RUN_H
#define PERI_KV_RUN_H

#include "kv/command.h"
#include "kv/view.h"

/* Reads the record about all; of a state without one: that of a beginning. Errors: KV_LATER;
 * PERI_ENOMEM, PERI_ECORRUPT. */
int kv_meta_find(struct kv_view *view, struct kv_meta *out);

/* Carries out a command; appends its result to out, which is empty. Errors: KV_LATER;
 * PERI_ESESSION, PERI_ELEASE, PERI_EINVAL, PERI_ETOOBIG, PERI_EBUSY above KV_LEASES_MAX or
 * KV_SESSIONS_MAX; PERI_ELUA, PERI_ECPU of scripts; PERI_ENOMEM, PERI_ECORRUPT. */
int kv_apply(struct kv_view *view, const struct kv_command *command, struct peri_buffer *out,
             struct peri_error *err);

/* Answers a query; appends its answer to out, which is empty. Errors: KV_LATER; PERI_ECOMPACTED,
 * PERI_EINVAL, PERI_ETOOBIG; PERI_ENOMEM, PERI_ECORRUPT. */
int kv_ask(struct kv_view *view, const struct kv_query *query, struct peri_buffer *out,
           struct peri_error *err);

#endif
