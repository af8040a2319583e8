/* libraft.c - what node.c is for Perilune, for the C library libraft (Debian: libraft-dev), with
 * its own network and disk (raft_uv).
 *
 *      libraft [--together] ID DIRECTORY 1 ADDRESS...     the addresses of nodes 1, 2, ...
 *
 * Each proposal is a raft_apply of its own; with --together all of one round of the loop are one,
 * which libraft sends as one message.
 * Reads "load PROPOSERS BYTES MS" and "status", and answers as node.c does. */
#include <inttypes.h>
#include <raft.h>
#include <raft/uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "load.h"

enum { NODES_MAX = 7, SNAPSHOT_ENTRIES = 10000, TRAILING_ENTRIES = 1000 }; /* as node.c */

struct bench {
    uv_loop_t loop;
    uv_pipe_t in;
    struct raft_uv_transport transport;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft raft;
    uint64_t applied, digest;
    struct load load;
    struct raft_apply requests[LOAD_PROPOSERS_MAX];
    bool is_together;
    uv_check_t check;
    struct round *round; /* that gathers proposals; or NULL */
    char line[LOAD_LINE_MAX];
    size_t line_size;
};

/* Proposals of one round of the loop. */
struct round {
    struct raft_apply request;
    unsigned count;
    size_t proposers[LOAD_PROPOSERS_MAX];
    struct raft_buffer buffers[LOAD_PROPOSERS_MAX];
};

static struct bench bench;

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "libraft: %s: %s %s\n", what, raft_strerror(rc),
                  bench.raft.data == NULL ? "" : raft_errmsg(&bench.raft));
    exit(1);
}

/* ---- the machine ---- */

static int apply(struct raft_fsm *fsm, const struct raft_buffer *command, void **result)
{
    (void)fsm;
    bench.applied++;
    bench.digest = load_digest(bench.digest, command->base, command->len);
    *result = NULL;
    return 0;
}

static int snapshot(struct raft_fsm *fsm, struct raft_buffer *out[], unsigned *count)
{
    uint64_t state[2] = {bench.applied, bench.digest};
    (void)fsm;
    *out = raft_malloc(sizeof **out);
    (*out)[0].base = raft_malloc(sizeof state);
    (*out)[0].len = sizeof state;
    memcpy((*out)[0].base, state, sizeof state);
    *count = 1;
    return 0;
}

static int restore(struct raft_fsm *fsm, struct raft_buffer *from)
{
    uint64_t state[2];
    (void)fsm;
    memcpy(state, from->base, sizeof state);
    bench.applied = state[0];
    bench.digest = state[1];
    raft_free(from->base);
    return 0;
}

/* ---- proposals ---- */

static void on_applied(struct raft_apply *request, int status, void *result)
{
    (void)result;
    load_done(&bench.load, (size_t)(request - bench.requests),
              status == 0 ? NULL : raft_strerror(status));
}

static void on_round_applied(struct raft_apply *request, int status, void *result)
{
    struct round *round = request->data;
    (void)result;
    for (unsigned i = 0; i < round->count; i++)
        load_done(&bench.load, round->proposers[i], status == 0 ? NULL : raft_strerror(status));
    free(round);
}

static void on_check(uv_check_t *check)
{
    struct round *round = bench.round;
    (void)check;
    if (round == NULL)
        return;
    bench.round = NULL;
    round->request.data = round;
    must(raft_apply(&bench.raft, &round->request, round->buffers, round->count, on_round_applied),
         "raft_apply");
}

static void propose_together(size_t proposer, struct raft_buffer buffer)
{
    if (bench.round == NULL)
        bench.round = calloc(1, sizeof *bench.round);
    struct round *round = bench.round;
    round->proposers[round->count] = proposer;
    round->buffers[round->count++] = buffer;
}

static void propose(struct load *load, size_t proposer, uint64_t number)
{
    struct raft_buffer buffer = {.len = load->bytes, .base = raft_malloc(load->bytes)};
    memset(buffer.base, 0, load->bytes);
    memcpy(buffer.base, &number, sizeof number);
    if (bench.is_together) {
        propose_together(proposer, buffer);
        return;
    }
    int rc = raft_apply(&bench.raft, &bench.requests[proposer], &buffer, 1, on_applied);
    if (rc == 0)
        return;
    raft_free(buffer.base);
    load_done(load, proposer, raft_strerror(rc));
}

/* ---- what it is asked ---- */

static void print_status(void)
{
    raft_id leader = 0;
    const char *address;
    raft_leader(&bench.raft, &leader, &address);
    (void)printf("role=%d leader=%llu applied=%" PRIu64 " digest=%" PRIu64 "\n",
                 raft_state(&bench.raft) == RAFT_LEADER ? 3 : 0, (unsigned long long)leader,
                 bench.applied, bench.digest >> 12);
    (void)fflush(stdout);
}

static void obey(const char *line)
{
    if (strcmp(line, "status") == 0)
        print_status();
    else if (!load_start(&bench.load, line))
        must(RAFT_INVALID, line);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
    static char bytes[LOAD_LINE_MAX];
    (void)handle;
    (void)size;
    *out = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)stream;
    if (size < 0)
        exit(0); /* the benchmark is over */
    for (ssize_t i = 0; i < size; i++) {
        bool is_end = buffer->base[i] == '\n';
        if (is_end || bench.line_size + 1 == sizeof bench.line)
            bench.line[bench.line_size] = '\0';
        else
            bench.line[bench.line_size++] = buffer->base[i];
        if (!is_end)
            continue;
        bench.line_size = 0;
        obey(bench.line);
    }
}

int main(int argc, char **argv)
{
    struct raft_configuration members;
    bench.is_together = argc > 1 && strcmp(argv[1], "--together") == 0;
    argc -= bench.is_together;
    argv += bench.is_together;
    unsigned long id = argc > 4 ? strtoul(argv[1], NULL, 10) : 0;
    if (id == 0 || argc - 4 > NODES_MAX || id > (unsigned long)argc - 4) {
        (void)fprintf(stderr, "usage: libraft [--together] ID DIRECTORY 1 ADDRESS...\n");
        return 2;
    }
    (void)mkdir(argv[2], 0755);
    must(uv_loop_init(&bench.loop), "uv_loop_init");
    must(raft_uv_tcp_init(&bench.transport, &bench.loop), "raft_uv_tcp_init");
    must(raft_uv_init(&bench.io, &bench.loop, argv[2], &bench.transport), "raft_uv_init");
    bench.fsm =
        (struct raft_fsm){.version = 1, .apply = apply, .snapshot = snapshot, .restore = restore};
    bench.load = (struct load){.propose = propose};
    must(raft_init(&bench.raft, &bench.io, &bench.fsm, id, argv[3 + id]), "raft_init");
    raft_configuration_init(&members);
    for (int i = 4; i < argc; i++)
        must(raft_configuration_add(&members, (raft_id)i - 3, argv[i], RAFT_VOTER), "add");
    must(raft_bootstrap(&bench.raft, &members), "raft_bootstrap");
    raft_configuration_close(&members);
    raft_set_snapshot_threshold(&bench.raft, SNAPSHOT_ENTRIES);
    raft_set_snapshot_trailing(&bench.raft, TRAILING_ENTRIES);
    raft_set_pre_vote(&bench.raft, true);
    must(raft_start(&bench.raft), "raft_start");
    must(uv_check_init(&bench.loop, &bench.check), "uv_check_init");
    must(uv_check_start(&bench.check, on_check), "uv_check_start");
    must(uv_pipe_init(&bench.loop, &bench.in, 0), "uv_pipe_init");
    must(uv_pipe_open(&bench.in, 0), "uv_pipe_open");
    must(uv_read_start((uv_stream_t *)&bench.in, on_alloc, on_read), "uv_read_start");
    (void)printf("ready\n");
    (void)fflush(stdout);
    return uv_run(&bench.loop, UV_RUN_DEFAULT);
}
