/* log_source.c - the generations that are on the disk, and opening them.
 *
 * A generation that its store refuses to open is copied aside as it is, for people, and then opened
 * for salvage, which reads around the damage. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/log.h"
#include "store/log_found.h"

/* ---- opening ---- */

static int copy_file(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    struct env_file *in = NULL, *out = NULL;
    char *bytes = malloc(1 << 16);
    int rc = bytes == NULL ? PERI_ENOMEM : env_file_open(env, from, ENV_FILE_READ, &in, err);
    if (rc == 0)
        rc =
            env_file_open(env, to, ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE, &out, err);
    while (rc == 0) {
        int64_t got = env_file_read(in, bytes, 1 << 16, err);
        if (got == 0)
            break;
        rc = got < 0 ? (int)got : env_file_write(out, bytes, (size_t)got, err);
    }
    free(bytes);
    if (in != NULL)
        (void)env_file_close(in, NULL);
    if (out != NULL)
        (void)env_file_close(out, NULL);
    return rc;
}

static int copy_directory(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    char source[LOG_PATH_MAX + 256], target[LOG_PATH_MAX + 256];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    int rc = env_path_mkdir(env, to, err);
    if (rc == -EEXIST)
        return 0; /* the first copy is the one to keep */
    if (rc == 0)
        rc = env_dir_open(env, from, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        (void)snprintf(source, sizeof source, "%s/%s", from, name);
        (void)snprintf(target, sizeof target, "%s/%s", to, name);
        rc = copy_file(env, source, target, err);
        if (rc != 0)
            break;
    }
    env_dir_close(dir);
    return rc;
}

int log_source_open(struct store_log *log, struct log_source *source, struct peri_error *err)
{
    char path[LOG_PATH_MAX], aside[LOG_PATH_MAX + 16];
    struct store_options options = log_generation_options(log);
    log_generation_path(path, log->path, source->number);
    int rc =
        log_generation_open(log->env, log->path, source->number, &options, &source->store, err);
    if (rc != PERI_ECORRUPT)
        return rc;
    source->is_damaged = true;
    (void)snprintf(aside, sizeof aside, "%s.damaged", path);
    env_log(log->env, ENV_LOG_ERROR, "store", "%s; kept as it was in %s", err->text, aside);
    rc = copy_directory(log->env, path, aside, err);
    if (rc != 0)
        return rc;
    options.is_salvage = true;
    rc = log_generation_open(log->env, log->path, source->number, &options, &source->store, err);
    return rc == PERI_ECORRUPT ? 0 : rc; /* then there is no store */
}

int log_source_check(const struct store_log *log, const struct log_source *source,
                     struct peri_error *err)
{
    const struct log_identity *identity = &source->identity;
    if (!source->has_identity || log->options.node == 0)
        return 0;
    if (identity->cluster != log->options.cluster)
        return peri_fail_plain(err, PERI_ECLUSTER,
                               "log %s belongs to cluster %016" PRIx64 ", not to %016" PRIx64,
                               log->path, identity->cluster, log->options.cluster);
    if (identity->node != log->options.node)
        return peri_fail_plain(err, PERI_ECLUSTER,
                               "log %s belongs to node %" PRIu64 ", not to %" PRIu64
                               ": give the node the directory that is its own",
                               log->path, identity->node, log->options.node);
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const struct log_source *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

/* The number that name stands for; 0 when it is not that of a generation. */
static uint64_t number_of(const char *name)
{
    uint64_t number = 0;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at < '0' || *at > '9')
            return 0;
        number = 10 * number + (uint64_t)(*at - '0');
    }
    return number;
}

static bool is_dropped(const char *name)
{
    size_t size = strlen(name), suffix = strlen(LOG_DROPPED_SUFFIX);
    return size > suffix && strcmp(name + size - suffix, LOG_DROPPED_SUFFIX) == 0;
}

/* Goes on removing what was being removed. */
static int remove_dropped(const struct store_log *log, const char *name, struct peri_error *err)
{
    char path[2 * LOG_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", log->path, name);
    return store_remove(log->env, path, err);
}

int log_sources_list(struct store_log *log, struct log_found *found, struct peri_error *err)
{
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    int rc = env_dir_open(log->env, log->path, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        uint64_t number = number_of(name);
        if (is_dropped(name) && (rc = remove_dropped(log, name, err)) != 0)
            break;
        if (number == 0)
            continue;
        struct log_source *sources =
            realloc(found->sources, (found->source_count + 1) * sizeof *sources);
        if (sources == NULL) {
            rc = peri_fail(err, PERI_ENOMEM, "read %s", log->path);
            break;
        }
        found->sources = sources;
        sources[found->source_count++] = (struct log_source){.number = number};
    }
    env_dir_close(dir);
    if (found->source_count > 0)
        qsort(found->sources, found->source_count, sizeof *found->sources, compare_numbers);
    return rc;
}
