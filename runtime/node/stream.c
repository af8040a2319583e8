/* stream.c - sending the snapshots of machines that keep keys, in chunks that wait for their
 * answers.
 *
 *   leader                                         follower (intake.c)
 *     raft.chunk [envelope, message] ------------->  nothing yet: where does it stand?
 *       <------------------------- [position]
 *     raft.chunk [envelope, message, chunk] ------>  into its store, under a new epoch
 *       <------------------------- [next position]   (the same one: the chunk was damaged)
 *     ... until the position is UINT64_MAX: all is durable, and the core there has heard of it
 *
 * The snapshot is a view of the store; appends and applies go on. It is that of the last round, so
 * it is newer than what the core asked for. It is kept for a while after the last transfer, and a
 * transfer that broke off goes on where it was, as long as the log still has what follows. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"
#include "node/compare.h"
#include "node/rounds.h"
#include "node/snapshot.h"
#include "store/snapshot.h"

enum {
    TIMEOUTS = 4,       /* election timeouts that an answer may take */
    AGAIN_MAX = 10,     /* times that the other side asks for the same chunk again */
    AGAIN_ANEW = 5,     /* then all is sent from the beginning */
    KEEP_US = 30000000, /* a snapshot that nobody reads */
};

/* A snapshot, shared by all to whom it goes. */
struct node_source {
    struct node_group *group;
    struct peri_list link;       /* in keys->sources */
    struct store_source *source; /* NULL: being opened */
    uint64_t index, term;
    struct peri_list streams;
    struct env_timer *timer;    /* when it is let go of */
    struct node_rounds_job job; /* opens or closes it */
    bool is_opening, is_leaving;
};

struct stream {
    struct node_source *source;
    struct peri_list link; /* in source->streams */
    struct node_piece piece;
    struct node_rounds_job job; /* reads a chunk */
    uint64_t position;
    unsigned again;
    bool is_reading;
};

/* ---- ends ---- */

static void free_stream(struct stream *stream)
{
    peri_list_remove(&stream->link);
    node_piece_deinit(&stream->piece);
    free(stream);
}

static void free_source(struct node_source *source)
{
    struct node_group *group = source->group;
    if (group->keys->source == source)
        group->keys->source = NULL;
    peri_list_remove(&source->link);
    env_timer_close(source->timer);
    free(source);
    node_group_release(group);
}

static void run_close(struct node_rounds_job *job, struct store_state *state)
{
    (void)state;
    store_source_close(container_of(job, struct node_source, job)->source);
}

static void on_source_closed(struct node_rounds_job *job, int status)
{
    (void)status; /* the store that is closed ends those that are left */
    free_source(container_of(job, struct node_source, job));
}

/* Nobody reads it any more. */
static void let_go(struct node_source *source)
{
    struct node_group *group = source->group;
    PERI_ASSERT(peri_list_is_empty(&source->streams));
    if (group->keys->source == source)
        group->keys->source = NULL;
    env_timer_close(source->timer);
    source->timer = NULL;
    source->is_leaving = true;
    source->job = (struct node_rounds_job){.run = run_close, .done = on_source_closed};
    node_rounds_add(group->node->rounds, &source->job);
}

static void on_timer(void *data)
{
    struct node_source *source = data;
    if (peri_list_is_empty(&source->streams))
        let_go(source);
}

/* The last stream that read it has ended. */
static void rest(struct node_source *source)
{
    if (!peri_list_is_empty(&source->streams) || source->source == NULL || source->is_leaving)
        return;
    if (source->group->is_closing || source->group->keys->source != source)
        let_go(source);
    else
        env_timer_start(source->timer, KEEP_US);
}

/* why: NULL when it is there. */
static void end_stream(struct stream *stream, const char *why)
{
    struct node_source *source = stream->source;
    struct node_group *group = source->group;
    uint64_t peer = stream->piece.message.to;
    if (why != NULL)
        node_piece_blame(&stream->piece, why);
    free_stream(stream);
    node_group_hold(group);
    rest(source);
    node_piece_ended(group, peer, why == NULL);
    node_group_release(group);
}

/* ---- chunks ---- */

/* Where the other side has begun with another view of this state, which was swept since, what it
 * asks for is not there, or does not continue what it has: it gets all from the beginning. */
static void run_chunk(struct node_rounds_job *job, struct store_state *state)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct store_source *source = stream->source->source;
    uint64_t next, position = stream->again == AGAIN_ANEW ? 0 : stream->position;
    (void)state;
    job->rc = store_source_read(source, position, &stream->piece.args, &next, &job->err);
    if (job->rc != PERI_EINVAL)
        return;
    peri_error_clear(&job->err);
    job->rc = store_source_read(source, 0, &stream->piece.args, &next, &job->err);
}

static void on_chunk(struct node_rounds_job *job, int status)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct node_source *source = stream->source;
    struct node_group *group = source->group;
    stream->is_reading = false;
    node_group_hold(group);
    if (status != 0 || group->is_closing || group->raft == NULL) {
        free_stream(stream);
        rest(source);
    } else if (job->rc != 0) {
        end_stream(stream, job->err.text);
    } else {
        node_piece_send(&stream->piece);
    }
    node_group_release(group);
}

static void read_chunk(struct stream *stream)
{
    struct node_group *group = stream->source->group;
    if (node_piece_begin(&stream->piece) != 0) {
        end_stream(stream, peri_strerror(PERI_ENOMEM));
        return;
    }
    stream->is_reading = true;
    stream->job = (struct node_rounds_job){.run = run_chunk, .done = on_chunk};
    node_rounds_add(group->node->rounds, &stream->job);
}

static void on_position(struct node_piece *piece, uint64_t position)
{
    struct stream *stream = container_of(piece, struct stream, piece);
    if (position == UINT64_MAX) {
        end_stream(stream, NULL);
        return;
    }
    stream->again = position == stream->position ? stream->again + 1 : 0;
    if (stream->again > AGAIN_MAX) {
        end_stream(stream, "it does not take it");
        return;
    }
    stream->position = position;
    read_chunk(stream);
}

static void on_failed(struct node_piece *piece, const char *why)
{
    end_stream(container_of(piece, struct stream, piece), why);
}

/* ---- beginnings ---- */

/* Its hash is not known to be right: whoever asked for the snapshot does so again. */
static void put_off(struct stream *stream)
{
    struct node_source *source = stream->source;
    struct node_group *group = source->group;
    uint64_t peer = stream->piece.message.to;
    free_stream(stream);
    node_group_hold(group);
    rest(source);
    node_piece_ended(group, peer, false);
    node_group_release(group);
}

/* Asks where the other side stands. */
static void begin(struct stream *stream)
{
    struct node_source *source = stream->source;
    if (!node_compare_may_send(source->group, source->index)) {
        put_off(stream);
        return;
    }
    stream->piece.message.index = source->index;
    stream->piece.message.log_term = source->term;
    stream->position = UINT64_MAX; /* no answer yet */
    if (node_piece_begin(&stream->piece) != 0) {
        end_stream(stream, peri_strerror(PERI_ENOMEM));
        return;
    }
    node_piece_send(&stream->piece);
}

static void run_open(struct node_rounds_job *job, struct store_state *state)
{
    struct node_source *source = container_of(job, struct node_source, job);
    job->rc = store_source_open(&source->source, state, source->group->id, &job->err);
    if (job->rc != 0)
        return;
    const struct store_applied *applied = store_source_applied(source->source);
    source->index = applied->index;
    source->term = applied->term;
}

static void on_opened(struct node_rounds_job *job, int status)
{
    struct node_source *source = container_of(job, struct node_source, job);
    struct node_group *group = source->group;
    bool is_alive = status == 0 && !group->is_closing && group->raft != NULL;
    struct peri_list streams;
    node_group_hold(group);
    peri_list_init(&streams);
    while (!peri_list_is_empty(&source->streams)) { /* beginning may end one */
        struct peri_list *link = source->streams.next;
        peri_list_remove(link);
        peri_list_append(&streams, link);
    }
    while (!peri_list_is_empty(&streams)) {
        struct stream *stream = container_of(streams.next, struct stream, link);
        peri_list_remove(&stream->link);
        peri_list_append(&source->streams, &stream->link);
        if (!is_alive)
            free_stream(stream);
        else if (job->rc != 0)
            end_stream(stream, job->err.text);
        else
            begin(stream);
    }
    if (source->source == NULL) /* nothing to close */
        free_source(source);
    else
        rest(source);
    node_group_release(group);
}

static struct node_source *open_source(struct node_group *group)
{
    struct node_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return NULL;
    source->group = group;
    peri_list_init(&source->streams);
    if (env_timer_create(group->node->env, on_timer, source, &source->timer) != 0) {
        free(source);
        return NULL;
    }
    peri_list_init(&source->link);
    peri_list_append(&group->keys->sources, &source->link);
    node_group_hold(group);
    source->job = (struct node_rounds_job){.run = run_open, .done = on_opened};
    return source;
}

void node_streams_renew(struct node_group *group)
{
    struct node_source *source = group->keys->source;
    group->keys->source = NULL;
    if (source != NULL && source->source != NULL && peri_list_is_empty(&source->streams))
        let_go(source); /* else when its streams have ended, which fail */
}

/* True when whoever gets the snapshot can go on with the log from there, and it is that new. */
static bool is_of_use(const struct node_group *group, const struct node_source *source,
                      uint64_t index)
{
    struct raft_status status;
    raft_status(group->raft, &status);
    return source != NULL && (source->source == NULL ||
                              (source->index >= status.base_index && source->index >= index));
}

static void run_nothing(struct node_rounds_job *job, struct store_state *state)
{
    (void)job;
    (void)state;
}

static void on_begin(struct node_rounds_job *job, int status)
{
    struct stream *stream = container_of(job, struct stream, job);
    struct node_source *source = stream->source;
    struct node_group *group = source->group;
    stream->is_reading = false;
    node_group_hold(group);
    if (status == 0 && !group->is_closing && group->raft != NULL) {
        begin(stream);
    } else {
        free_stream(stream);
        rest(source);
    }
    node_group_release(group);
}

/* The source for a stream that begins: the newest one, or a new one. */
static struct node_source *find_source(struct node_group *group, uint64_t index)
{
    struct node_source *source = group->keys->source;
    if (is_of_use(group, source, index))
        return source;
    struct node_source *fresh = open_source(group);
    if (fresh == NULL)
        return NULL;
    if (source != NULL && peri_list_is_empty(&source->streams))
        let_go(source);
    group->keys->source = fresh;
    return fresh;
}

/* Runs inside of a step, which nothing here may be: all else comes later. */
void node_stream_start(struct node_group *group, const struct raft_message *message,
                       const char *method)
{
    struct stream *stream = calloc(1, sizeof *stream);
    struct node_source *source = stream != NULL ? find_source(group, message->index) : NULL;
    if (source == NULL) {
        free(stream);
        node_lose(group, true);
        return;
    }
    stream->source = source;
    stream->piece = (struct node_piece){.group = group,
                                        .method = method,
                                        .timeouts = TIMEOUTS,
                                        .message = *message,
                                        .on_position = on_position,
                                        .on_failed = on_failed};
    peri_list_init(&stream->link);
    peri_list_append(&source->streams, &stream->link);
    if (source->source != NULL) {
        env_timer_stop(source->timer);
        stream->is_reading = true;
        stream->job = (struct node_rounds_job){.run = run_nothing, .done = on_begin};
        node_rounds_add(group->node->rounds, &stream->job);
    } else if (!source->is_opening) {
        source->is_opening = true;
        node_rounds_add(group->node->rounds, &source->job);
    }
}

bool node_streams_to(const struct node_group *group, uint64_t peer)
{
    const struct peri_list *sources = &group->keys->sources;
    for (const struct peri_list *at = sources->next; at != sources; at = at->next) {
        const struct peri_list *streams = &container_of(at, struct node_source, link)->streams;
        for (const struct peri_list *of = streams->next; of != streams; of = of->next)
            if (container_of(of, struct stream, link)->piece.message.to == peer)
                return true;
    }
    return false;
}

uint64_t node_streams_floor(const struct node_group *group)
{
    const struct node_source *source = group->keys != NULL ? group->keys->source : NULL;
    bool is_read =
        source != NULL && source->source != NULL && !peri_list_is_empty(&source->streams);
    return is_read ? source->index : UINT64_MAX;
}

static void close_streams(struct node_source *source)
{
    struct peri_list *at = source->streams.next;
    while (at != &source->streams) {
        struct stream *stream = container_of(at, struct stream, link);
        at = at->next;
        if (stream->is_reading)
            continue; /* its job ends it */
        free_stream(stream);
    }
    rest(source);
}

void node_streams_close(struct node_group *group)
{
    struct peri_list *at = group->keys->sources.next;
    while (at != &group->keys->sources) {
        struct node_source *source = container_of(at, struct node_source, link);
        at = at->next;
        env_timer_close(source->timer); /* the environment may end before a job comes back */
        source->timer = NULL;
        if (source->source != NULL && !source->is_leaving)
            close_streams(source); /* of one that is being opened, on_opened does */
    }
}
