/* log_chores.c - what old generations need, in the background.
 *
 * One round at a time serves all reads that wait (log_read.c), reads what moves from generations,
 * closes sealed ones and removes doomed ones; so nobody else ever touches the store of a sealed
 * generation. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/log.h"
#include "store/log_internal.h"

struct log_chores {
    struct store_log *log;
    struct env *env;
    const char *path;
    struct store_options store_options;
    uint64_t kept_bytes_min; /* files of doomed generations that are so large serve new ones */
    struct store_log_fetch **fetches;
    size_t fetch_count;
    struct tending {
        struct log_generation *generation; /* a sealed one that has something to do */
        bool is_doomed;                    /* as of the beginning of the round */
        struct peri_list copies;           /* struct log_item: what moves from it */
    } * tendings;
    size_t tending_count;
    struct peri_error err;
};

/* ---- in the background ---- */

int log_chores_open(struct log_chores *chores, struct log_generation *generation)
{
    if (generation->store != NULL)
        return 0;
    return log_generation_open(chores->env, chores->path, generation->number,
                               &chores->store_options, &generation->store, &chores->err);
}

/* First under a name that says that nobody needs it: a start in the middle of it must not take what
 * is left for damage. */
static void remove_generation(struct log_chores *chores, const char *path, bool is_clean)
{
    char dropped[LOG_PATH_MAX + 16];
    struct env_stat stat;
    (void)snprintf(dropped, sizeof dropped, "%s" LOG_DROPPED_SUFFIX, path);
    if (env_path_stat(chores->env, path, &stat, NULL) == -ENOENT)
        return; /* there was no room to make it */
    if (env_path_rename(chores->env, path, dropped, &chores->err) != 0)
        return;
    if (is_clean)
        (void)store_keep_file(chores->env, dropped, chores->path, chores->kept_bytes_min,
                              &chores->err);
    (void)store_remove(chores->env, dropped, &chores->err);
}

static void tend(struct log_chores *chores, struct tending *tending)
{
    char path[LOG_PATH_MAX];
    struct log_generation *generation = tending->generation;
    if (!peri_list_is_empty(&tending->copies) && log_chores_open(chores, generation) != 0)
        log_copies_free(&tending->copies);
    else
        log_copies_read(generation->store, &tending->copies, &chores->err);
    log_generation_path(path, chores->path, generation->number);
    bool is_clean = generation->store == NULL || store_is_clean(generation->store);
    store_close(generation->store);
    generation->store = NULL;
    if (tending->is_doomed)
        remove_generation(chores, path, is_clean);
}

static void chores_on_run(void *data)
{
    struct log_chores *chores = data;
    for (size_t i = 0; i < chores->fetch_count; i++)
        log_read_serve(chores->fetches[i], chores, &chores->err);
    for (size_t i = 0; i < chores->tending_count; i++)
        tend(chores, &chores->tendings[i]);
}

/* ---- and back ---- */

static void forget_generation(struct store_log *log, struct log_generation *generation)
{
    size_t kept = 0;
    for (size_t i = 0; i < log->generation_count; i++)
        if (log->generations[i] != generation)
            log->generations[kept++] = log->generations[i];
    log->generation_count = kept;
    free(generation);
}

static void free_chores(struct log_chores *chores)
{
    for (size_t i = 0; i < chores->tending_count; i++)
        log_copies_free(&chores->tendings[i].copies);
    free(chores->fetches);
    free(chores->tendings);
    free(chores);
}

static void chores_on_done(void *data, int status)
{
    struct log_chores *chores = data;
    struct store_log *log = chores->log;
    if (chores->err.code != 0)
        env_log(log->env, ENV_LOG_WARN, "store", "log %s: %s", log->path, chores->err.text);
    for (size_t i = 0; status == 0 && i < chores->tending_count; i++) {
        chores->tendings[i].generation->is_heavy = false;
        if (chores->tendings[i].is_doomed)
            forget_generation(log, chores->tendings[i].generation);
        if (!log->is_closing && log->failed == 0)
            log_move_begin(log, &chores->tendings[i].copies);
    }
    for (size_t i = 0; i < chores->fetch_count; i++)
        log_read_finish(chores->fetches[i], status);
    log->chores = NULL;
    int rc = log->is_closing ? 0 : log_chores_start(log);
    if (rc != 0)
        log_read_refuse_waiting(log, rc);
    free_chores(chores);
    log_release(log);
}

/* ---- a round ---- */

static bool needs_tending(const struct store_log *log, size_t at)
{
    const struct log_generation *generation = log->generations[at];
    return generation->readers == 0 && generation->is_sealed &&
           (generation->is_doomed || generation->is_heavy || log_move_is_due(log, at));
}

static int add_tending(struct store_log *log, struct log_chores *chores, size_t at)
{
    struct tending *tending = &chores->tendings[chores->tending_count++];
    *tending = (struct tending){.generation = log->generations[at],
                                .is_doomed = log->generations[at]->is_doomed};
    peri_list_init(&tending->copies);
    return log_move_is_due(log, at) ? log_move_choose(log, tending->generation, &tending->copies)
                                    : 0;
}

static int gather_chores(struct store_log *log, struct log_chores *chores)
{
    size_t reads = 0;
    for (struct peri_list *at = log->reads.next; at != &log->reads; at = at->next)
        reads++;
    chores->fetches = calloc(reads + 1, sizeof(struct store_log_fetch *));
    chores->tendings = calloc(log->generation_count, sizeof *chores->tendings);
    if (chores->fetches == NULL || chores->tendings == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < log->generation_count; i++)
        if (needs_tending(log, i) && add_tending(log, chores, i) != 0)
            return PERI_ENOMEM;
    for (struct store_log_fetch *fetch; (fetch = log_read_take(log)) != NULL;)
        chores->fetches[chores->fetch_count++] = fetch;
    return 0;
}

static void put_back(struct store_log *log, struct log_chores *chores)
{
    for (size_t i = 0; i < chores->fetch_count; i++)
        log_read_put_back(log, chores->fetches[i]);
    chores->fetch_count = 0;
}

int log_chores_start(struct store_log *log)
{
    if (log->chores != NULL)
        return 0;
    struct log_chores *chores = calloc(1, sizeof *chores);
    if (chores == NULL)
        return PERI_ENOMEM;
    *chores = (struct log_chores){.log = log,
                                  .env = log->env,
                                  .path = log->path,
                                  .store_options = log_generation_options(log),
                                  .kept_bytes_min = log->options.generation_max_bytes / 2};
    chores->store_options.is_salvage = true; /* records have checks of their own */
    if (log->is_full)
        chores->kept_bytes_min = UINT64_MAX;
    int rc = gather_chores(log, chores);
    bool is_idle = chores->fetch_count == 0 && chores->tending_count == 0;
    if (rc == 0 && !is_idle)
        rc = env_work(log->env, chores_on_run, chores_on_done, chores);
    if (rc != 0 || is_idle) {
        put_back(log, chores);
        free_chores(chores);
        return rc;
    }
    log->chores = chores;
    log_hold(log);
    return 0;
}

void log_chores_refuse_reads(struct store_log *log, int status)
{
    for (size_t i = 0; log->chores != NULL && i < log->chores->fetch_count; i++)
        log_read_refuse(log->chores->fetches[i], status);
    log_read_refuse_waiting(log, status);
}
