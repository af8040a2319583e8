/* A process that writes to the log on a real disk, killed with SIGKILL again and again: everything
 * that it was told to be durable is there, the log is clean, and the next process goes on with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/log.h"
#include "env/uv.h"
#include "store/log.h"

enum {
    GROUPS = 4,
    KILLS = 15,
    PAYLOAD = 100,
    ENTRIES = 3,
    KEPT = 300,
    MILLISECOND = 1000,
    PATIENCE_MS = 30000
};

/* What a group was known to hold durably. */
struct told {
    uint64_t group, index, term;
};

struct writer {
    struct env *env;
    struct store_log *log;
    struct store_log_write writes[GROUPS + 1];
    struct told known[GROUPS + 1], asked[GROUPS + 1];
    bool is_there[GROUPS + 1];
    int out; /* where what is known is told; -1 for a process that only looks */
    uint64_t problems;
};

static const struct raft_configuration members = {
    {1, 2, 3}, {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER}, 3};

/* ---- the process that is killed ---- */

static void append(struct writer *writer, uint64_t group)
{
    char payload[PAYLOAD];
    struct store_log_entry entries[ENTRIES];
    struct told *asked = &writer->asked[group];
    memset(payload, (int)group, sizeof payload);
    for (size_t i = 0; i < ENTRIES; i++)
        entries[i] = (struct store_log_entry){asked->term, RAFT_COMMAND,
                                              peri_slice_of(payload, sizeof payload)};
    struct raft_record record = {.term = asked->term,
                                 .vote = group,
                                 .first = asked->index + 1,
                                 .last = asked->index + ENTRIES};
    if (store_log_write(writer->log, &writer->writes[group], group, &record, entries) != 0)
        _exit(3);
    asked->index += ENTRIES;
}

static void on_written(struct store_log_write *request, int status)
{
    struct writer *writer = request->data;
    uint64_t group = (uint64_t)(request - writer->writes);
    struct told *asked = &writer->asked[group];
    if (status != 0 || write(writer->out, asked, sizeof *asked) != sizeof *asked)
        _exit(4);
    if (asked->index > 2 * KEPT && asked->index % 30 == 0 &&
        store_log_cut(writer->log, group, asked->index - KEPT, asked->term, &members) != 0)
        _exit(5);
    append(writer, group);
}

/* ---- opening, for both ---- */

static void look_at(struct writer *writer, const struct store_log_found *found)
{
    struct told *known = &writer->known[found->group];
    uint64_t last = found->boot.last_index, base = found->boot.base_index;
    uint64_t term = found->boot.run_count > 0 ? found->boot.runs[found->boot.run_count - 1].term
                                              : found->boot.base_term;
    bool is_well = found->health == STORE_LOG_CLEAN && last >= known->index && base <= last &&
                   (known->index == 0 || /* created, but nothing of the term was written yet */
                    (term >= known->term && found->boot.term >= known->term &&
                     found->boot.vote == found->group));
    if (!is_well) {
        (void)fprintf(stderr, "group %lu: (%lu, %lu] term %lu vote %lu, told %lu term %lu; %s\n",
                      found->group, base, last, found->boot.term, found->boot.vote, known->index,
                      known->term, found->why);
        writer->problems++;
    }
    writer->is_there[found->group] = true;
    writer->asked[found->group] = (struct told){found->group, last, found->boot.term + 1};
    known->index = last;
}

static void on_open(void *data, int status, const struct store_log_found *groups, size_t count,
                    const struct peri_error *err)
{
    struct writer *writer = data;
    if (status != 0) {
        (void)fprintf(stderr, "%s\n", err->text);
        _exit(6);
    }
    for (size_t i = 0; i < count; i++)
        look_at(writer, &groups[i]);
    if (writer->out < 0) {
        store_log_close(writer->log);
        return;
    }
    for (uint64_t group = 1; group <= GROUPS; group++) {
        writer->writes[group].on_written = on_written;
        writer->writes[group].data = writer;
        if (writer->is_there[group]) {
            append(writer, group);
            continue;
        }
        writer->asked[group] = (struct told){group, 0, 1};
        if (store_log_create_group(writer->log, &writer->writes[group], group, 1, &members) != 0)
            _exit(7);
    }
}

static void run(struct writer *writer, const char *path)
{
    struct store_log_options options;
    store_log_options_init(&options, 1, 1);
    options.generation_max_bytes = 200000;
    options.cache_max_bytes = 10000;
    if (env_uv_create(&writer->env, NULL) != 0 ||
        store_log_open(&writer->log, writer->env, path, &options, on_open, writer, NULL) != 0)
        _exit(8);
    env_run(writer->env);
    env_close(writer->env);
}

/* ---- the one who kills ---- */

/* Lets a child write for a while, which begins with its first word or with its own beginning, and
 * kills it; what it told goes into known. */
static void write_and_kill(const char *path, useconds_t after_us, bool is_heard, struct told *known)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static struct writer writer;
        (void)close(ends[0]);
        memcpy(writer.known, known, sizeof writer.known);
        writer.out = ends[1];
        run(&writer, path);
        _exit(9);
    }
    (void)close(ends[1]);
    struct pollfd word = {.fd = ends[0], .events = POLLIN};
    if (is_heard)
        assert_int_equal(poll(&word, 1, PATIENCE_MS), 1);
    (void)usleep(after_us);
    assert_int_equal(kill(child, SIGKILL), 0);
    struct told told;
    while (read(ends[0], &told, sizeof told) == sizeof told)
        known[told.group] = told;
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status))
        (void)fprintf(stderr, "the child ended with %d\n", WEXITSTATUS(status));
    assert_true(WIFSIGNALED(status));
}

/* Looks at the log in a process of its own, which opens it as the next start would. */
static void look(const char *path, const struct told *known)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static struct writer writer;
        memcpy(writer.known, known, sizeof writer.known);
        writer.out = -1;
        run(&writer, path);
        _exit(writer.problems == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_killed_writers_lose_nothing(void **state)
{
    (void)state;
    char directory[] = "/tmp/peri-kill-XXXXXX", path[64], command[96];
    struct told known[GROUPS + 1] = {{0}};
    const char *text = getenv("STORE_KILLS");
    int kills = text != NULL ? (int)strtol(text, NULL, 10) : KILLS;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/log", directory);
    unsigned seed = 1;
    for (int i = 0; i < kills; i++) {
        seed = seed * 1103515245 + 12345;
        write_and_kill(path, 50 * MILLISECOND + (useconds_t)(seed >> 16) % (250 * MILLISECOND),
                       i % 2 == 1, known);
        if (i % 3 == 0)
            look(path, known);
    }
    uint64_t total = 0;
    for (uint64_t group = 1; group <= GROUPS; group++)
        total += known[group].index;
    print_message("  %d kills, %lu entries\n", kills, total);
    assert_true(total > 100);
    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a name of our own */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_writers_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
