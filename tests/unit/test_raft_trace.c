/* Traces of the Raft core: tests/data/raft/NAME.trace hold scenarios as blocks of commands, "----",
 * and what the replicas then did. A block ends with an empty line; each shows everything done since
 * the last.
 *
 * - group VOTERS [TOTAL] [leases] [max=BYTES] [sleep=MS] [rounds=N]; log ID terms=1,1,2 [term=3]:
 * before up
 * - up [ID...]; crash ID [written=N]
 * - campaign ID; time ID [MS]; advance MS: all clocks, and nobody notices
 * - persist ID [N]; hold ID: its records wait for persist; release ID
 * - deliver [FROM TO [N]]; drop [FROM TO]; run: deliver and apply until nothing is left
 * - propose ID [SIZE] [xN]; read ID; apply ID; fetch ID; snapshot ID [trailing=N]
 * - change ID add|voter|learner|remove ID...; transfer ID [TO]; forget ID; fail ID
 * - priority ID N; due ID: when its election timer is
 * - unreachable ID PEER; sees ID [PEER...]: all others are down
 * - status ID; peers ID: how a replica stands, what it knows of the others
 * - quietly COMMAND: without its answer
 *
 * PERILUNE_TRACE=write rewrites the files with what happens; read the difference before committing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "raft_group.h"

enum { LINE_MAX_SIZE = 300, WORDS_MAX = 16, RUN_MAX = 5000 };

struct trace {
    struct group *group;
    struct peri_buffer said;
    bool held[GROUP_MAX + 1];
    char *words[WORDS_MAX];
    size_t word_count;
};

static void say(struct trace *trace, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct trace *trace, const char *format, ...)
{
    char line[LINE_MAX_SIZE];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    assert_true(size >= 0 && (size_t)size < sizeof line);
    assert_int_equal(peri_buffer_append(&trace->said, line, (size_t)size), 0);
}

/* ---- what replicas do, in words ---- */

static void say_members(struct trace *trace, const struct raft_configuration *members)
{
    for (size_t i = 0; i < members->count; i++) {
        uint8_t member = members->members[i];
        say(trace, " %s%" PRIu64 "%s", (member & RAFT_LEARNER) != 0 ? "learner:" : "",
            members->ids[i],
            member == (RAFT_VOTER | RAFT_VOTER_OLD) ? "(both)"
            : (member & RAFT_VOTER_OLD) != 0        ? "(old)"
            : (member & RAFT_PROMOTE) != 0          ? "(to promote)"
                                                    : "");
    }
    say(trace, "%s\n", raft_configuration_is_joint(members) ? " joint" : "");
}

static const char *name_of(enum raft_message_type type)
{
    static const char *const NAMES[] = {"PreVote",          "PreVoteReply",   "RequestVote",
                                        "RequestVoteReply", "AppendEntries",  "AppendEntriesReply",
                                        "Heartbeat",        "HeartbeatReply", "InstallSnapshot",
                                        "TimeoutNow",       "ReadIndex",      "ReadIndexReply"};
    return NAMES[type];
}

static void say_message(struct trace *trace, const struct raft_message *m)
{
    say(trace, "%" PRIu64 " -> %" PRIu64 "  %-18s term=%" PRIu64, m->from, m->to, name_of(m->type),
        m->term);
    switch (m->type) {
    case RAFT_PRE_VOTE:
    case RAFT_REQUEST_VOTE:
        say(trace, " last=%" PRIu64 "@%" PRIu64 "%s", m->index, m->log_term,
            m->is_transfer ? " transfer" : "");
        break;
    case RAFT_PRE_VOTE_REPLY:
    case RAFT_REQUEST_VOTE_REPLY:
        say(trace, " granted=%s", m->success ? "yes" : "no");
        break;
    case RAFT_APPEND_ENTRIES:
        say(trace, " prev=%" PRIu64 "@%" PRIu64, m->index, m->log_term);
        if (m->last > m->index)
            say(trace, " entries=%" PRIu64 "..%" PRIu64, m->index + 1, m->last);
        say(trace, " commit=%" PRIu64, m->commit);
        break;
    case RAFT_APPEND_ENTRIES_REPLY:
        if (m->success)
            say(trace, " match=%" PRIu64, m->index);
        else
            say(trace, " rejected=%" PRIu64 " hint=%" PRIu64 "@%" PRIu64, m->index, m->last,
                m->log_term);
        break;
    case RAFT_HEARTBEAT:
        say(trace, " commit=%" PRIu64 "%s", m->commit, m->is_sleepy ? " sleepy" : "");
        break;
    case RAFT_HEARTBEAT_REPLY:
        say(trace, "%s%s", m->success ? "" : " unsure", m->is_sleepy ? " sleepy" : "");
        break;
    case RAFT_INSTALL_SNAPSHOT:
        say(trace, " last=%" PRIu64 "@%" PRIu64, m->index, m->log_term);
        break;
    case RAFT_READ_INDEX_REPLY:
        say(trace, " index=%" PRIu64, m->index);
        break;
    case RAFT_TIMEOUT_NOW:
    case RAFT_READ_INDEX:
        break;
    }
}

/* Ends the line of what may have to wait for a record. */
static void say_wait(struct trace *trace, const struct group_replica *replica,
                     const struct raft_action *action)
{
    struct raft_status status;
    raft_status(replica->raft, &status);
    if (action->after_seq > status.durable_seq && trace->held[replica->id])
        say(trace, " (after #%" PRIu64 ")", action->after_seq);
    say(trace, "\n");
}

static void say_record(struct trace *trace, uint64_t id, const struct raft_record *record)
{
    say(trace, "%" PRIu64 " writes #%" PRIu64 "  term=%" PRIu64 " vote=%" PRIu64, id, record->seq,
        record->term, record->vote);
    if (record->snapshot_index > 0)
        say(trace, " snapshot=%" PRIu64 "@%" PRIu64, record->snapshot_index, record->snapshot_term);
    if (record->truncate_from > 0)
        say(trace, " truncate=%" PRIu64, record->truncate_from);
    if (record->first > 0)
        say(trace, " entries=%" PRIu64 "..%" PRIu64, record->first, record->last);
    say(trace, "\n");
}

static void on_action(struct group *group, struct group_replica *replica,
                      const struct raft_action *action)
{
    static const char *const ROLES[] = {"follower", "pre-candidate", "candidate", "leader"};
    struct trace *trace = group->data;
    switch (action->type) {
    case RAFT_PERSIST:
        say_record(trace, replica->id, &action->record);
        break;
    case RAFT_SEND:
        say_message(trace, &action->message);
        say_wait(trace, replica, action);
        break;
    case RAFT_FETCH:
        say(trace, "%" PRIu64 " fetches %" PRIu64 ".. for %" PRIu64 "\n", replica->id,
            action->first, action->peer);
        break;
    case RAFT_APPLY:
        say(trace, "%" PRIu64 " applies %" PRIu64 "..%" PRIu64, replica->id, action->first,
            action->last);
        say_wait(trace, replica, action);
        break;
    case RAFT_READ_READY:
        say(trace, "%" PRIu64 " reads at %" PRIu64 "\n", replica->id, action->index);
        break;
    case RAFT_READ_DROPPED:
        say(trace, "%" PRIu64 " drops %" PRIu64 " read(s)\n", replica->id,
            action->last - action->first + 1);
        break;
    case RAFT_ROLE:
        say(trace, "%" PRIu64 " is %s, term=%" PRIu64 " leader=%" PRIu64 "\n", replica->id,
            ROLES[action->role], action->term, action->peer);
        break;
    case RAFT_NEW_MEMBERS:
        say(trace, "%" PRIu64 " members", replica->id);
        say_members(trace, action->configuration);
        break;
    }
}

/* ---- commands ---- */

static uint64_t number(const struct trace *trace, size_t at, uint64_t otherwise)
{
    return at < trace->word_count ? strtoull(trace->words[at], NULL, 10) : otherwise;
}

/* The text behind "name=", or NULL. */
static const char *option(const struct trace *trace, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 1; i < trace->word_count; i++)
        if (strncmp(trace->words[i], name, size) == 0 && trace->words[i][size] == '=')
            return trace->words[i] + size + 1;
    return NULL;
}

/* Disks that are not held write at once, and what becomes possible happens. */
static void persist_all(struct trace *trace)
{
    bool again = true;
    while (again) {
        again = false;
        for (uint64_t id = 1; id <= trace->group->count; id++)
            if (!trace->held[id] && group_replica(trace->group, id)->write_count > 0) {
                group_persist(trace->group, id, SIZE_MAX);
                again = true;
            }
    }
}

static bool deliver_one(struct trace *trace, uint64_t from, uint64_t to, bool loses)
{
    for (size_t i = 0; i < trace->group->packet_count; i++) {
        const struct raft_message *message = &trace->group->packets[i].message;
        if ((from != 0 && message->from != from) || (to != 0 && message->to != to))
            continue;
        if (loses)
            group_drop(trace->group, i);
        else
            group_deliver(trace->group, i, false);
        persist_all(trace);
        return true;
    }
    return false;
}

/* All that is on its way now, but not what it brings about. */
static void deliver(struct trace *trace, bool loses)
{
    uint64_t from = number(trace, 1, 0), to = number(trace, 2, 0), count = number(trace, 3, 0);
    if (count == 0)
        for (size_t i = 0; i < trace->group->packet_count; i++) {
            const struct raft_message *message = &trace->group->packets[i].message;
            count += (from == 0 || message->from == from) && (to == 0 || message->to == to);
        }
    for (; count > 0; count--)
        deliver_one(trace, from, to, loses);
}

static void run(struct trace *trace)
{
    for (int round = 0; round < RUN_MAX; round++) {
        if (deliver_one(trace, 0, 0, false))
            continue;
        bool is_idle = true;
        for (uint64_t id = 1; id <= trace->group->count; id++) {
            struct group_replica *replica = group_replica(trace->group, id);
            is_idle = is_idle && replica->apply_last == 0 && !group_has_fetch(replica);
            group_apply(trace->group, id);
            group_fetch(trace->group, id);
        }
        if (is_idle)
            return;
    }
    fail_msg("it does not come to rest");
}

static void make_group(struct trace *trace)
{
    struct raft_options options;
    raft_options_init(&options, 1, 1);
    for (size_t i = 1; i < trace->word_count; i++)
        options.has_leases |= strcmp(trace->words[i], "leases") == 0;
    if (option(trace, "max") != NULL)
        options.message_max_bytes = strtoull(option(trace, "max"), NULL, 10);
    if (option(trace, "rounds") != NULL)
        options.catchup_rounds_max = (uint32_t)strtoul(option(trace, "rounds"), NULL, 10);
    if (option(trace, "sleep") != NULL)
        options.sleep_after_us = 1000 * strtoull(option(trace, "sleep"), NULL, 10);
    size_t voters = number(trace, 1, 0), total = number(trace, 2, voters);
    group_close(trace->group);
    trace->group = group_create(voters, total == 0 ? voters : total, 1, &options);
    trace->group->on_action = on_action;
    trace->group->data = trace;
    trace->group->checks_dumps = true;
    memset(trace->held, 0, sizeof trace->held);
}

static void make_log(struct trace *trace)
{
    struct group_disk *disk = &group_replica(trace->group, number(trace, 1, 0))->disk;
    const char *terms = option(trace, "terms"), *term = option(trace, "term");
    for (char *rest = (char *)(uintptr_t)terms; terms != NULL && *rest != '\0';) {
        struct group_entry entry = {.term = strtoull(rest, &rest, 10), .type = RAFT_COMMAND};
        entry.payload = entry.term;
        group_log_add(&disk->log, &entry);
        disk->term = entry.term;
        rest += *rest == ',';
    }
    if (term != NULL)
        disk->term = strtoull(term, NULL, 10);
}

static void change(struct trace *trace, struct raft_event *event, struct raft_change *changes)
{
    enum raft_change_type type = RAFT_REMOVE;
    for (size_t i = 2; i < trace->word_count; i++) {
        const char *word = trace->words[i];
        if (isdigit((unsigned char)*word))
            changes[event->count++] = (struct raft_change){type, number(trace, i, 0)};
        else
            type = strcmp(word, "add") == 0       ? RAFT_ADD_MEMBER
                   : strcmp(word, "voter") == 0   ? RAFT_ADD_VOTER
                   : strcmp(word, "learner") == 0 ? RAFT_ADD_LEARNER
                                                  : RAFT_REMOVE;
    }
    event->type = RAFT_CHANGE;
    event->changes = changes;
}

static void propose(struct trace *trace)
{
    uint64_t times = 1, size = 0;
    for (size_t i = 2; i < trace->word_count; i++)
        if (*trace->words[i] == 'x')
            times = strtoull(trace->words[i] + 1, NULL, 10);
        else
            size = number(trace, i, 0);
    int rc = 0;
    for (; times > 0 && rc == 0; times--)
        rc = group_propose(trace->group, number(trace, 1, 0), times, (uint32_t)size);
    if (rc != 0)
        say(trace, "refused: %s\n", peri_error_name(rc));
}

static void status(struct trace *trace)
{
    struct raft_status s;
    raft_status(group_replica(trace->group, number(trace, 1, 0))->raft, &s);
    say(trace,
        "%" PRIu64 ": term=%" PRIu64 " leader=%" PRIu64 " base=%" PRIu64 " last=%" PRIu64
        " commit=%" PRIu64 " applied=%" PRIu64 "%s%s\n",
        s.id, s.term, s.leader, s.base_index, s.last_index, s.commit_index, s.last_applied,
        s.is_fenced ? " fenced" : "", s.is_asleep ? " asleep" : "");
}

/* In which of the spans between election_min and election_max, from 0, the timer is due. */
static void due(struct trace *trace)
{
    const struct group_replica *replica = group_replica(trace->group, number(trace, 1, 0));
    const struct raft_options *options = &trace->group->options;
    uint64_t at_us = raft_deadline_us(replica->raft);
    if (at_us == UINT64_MAX) {
        say(trace, "%" PRIu64 ": never\n", replica->id);
        return;
    }
    uint64_t wait_us = at_us - group_clock_us(trace->group, replica) - options->election_min_us;
    say(trace, "%" PRIu64 ": after election_min and %" PRIu64 " spans\n", replica->id,
        wait_us / (options->election_max_us - options->election_min_us));
}

static void say_progress(struct trace *trace, const struct raft_peer *peer, uint64_t now_us)
{
    static const char *const STATES[] = {"probe", "replicate", "snapshot"};
    say(trace, " %s match=%" PRIu64 " next=%" PRIu64, STATES[peer->state], peer->match_index,
        peer->next_index);
    if (peer->inflight_count > 0)
        say(trace, " in-flight=%" PRIu64 " (%" PRIu64 " bytes)", peer->inflight_count,
            peer->inflight_bytes);
    if (peer->snapshot_index > 0)
        say(trace, " snapshot=%" PRIu64, peer->snapshot_index);
    if (peer->answered_us > 0)
        say(trace, " answered=%" PRIu64 "ms ago", (now_us - peer->answered_us) / 1000);
}

static void peers(struct trace *trace)
{
    const struct group_replica *replica = group_replica(trace->group, number(trace, 1, 0));
    uint64_t now_us = group_clock_us(trace->group, replica);
    struct raft_status s;
    struct raft_peer peer;
    raft_status(replica->raft, &s);
    say(trace, "%" PRIu64 ": quorum seen %" PRIu64 "ms ago\n", s.id, (now_us - s.quorum_us) / 1000);
    for (size_t i = 0; i < raft_members(replica->raft)->count; i++) {
        if (!raft_peer(replica->raft, i, &peer))
            continue;
        say(trace, "%" PRIu64 ":   %" PRIu64 "%s%s", s.id, peer.id,
            peer.is_learner ? " learner" : "", peer.has_answered ? " answers" : "");
        if (s.role == RAFT_LEADER)
            say_progress(trace, &peer, now_us);
        say(trace, "\n");
    }
}

/* The commands that are one event. */
static bool step(struct trace *trace)
{
    static const struct {
        const char *word;
        enum raft_event_type type;
    } EVENTS[] = {{"campaign", RAFT_CAMPAIGN},   {"time", RAFT_TIME},
                  {"transfer", RAFT_TRANSFER},   {"forget", RAFT_FORGET_LEADER},
                  {"fail", RAFT_PERSIST_FAILED}, {"unreachable", RAFT_UNREACHABLE},
                  {"change", RAFT_CHANGE},       {"priority", RAFT_PRIORITY}};
    struct raft_change changes[WORDS_MAX];
    for (size_t i = 0; i < sizeof EVENTS / sizeof *EVENTS; i++) {
        if (strcmp(trace->words[0], EVENTS[i].word) != 0)
            continue;
        struct raft_event event = {.type = EVENTS[i].type, .peer = number(trace, 2, 0)};
        if (event.type == RAFT_TIME)
            trace->group->now_us += 1000 * number(trace, 2, 0);
        if (event.type == RAFT_PRIORITY)
            event.index = number(trace, 2, 0);
        if (event.type == RAFT_CHANGE)
            change(trace, &event, changes);
        int rc = group_step(trace->group, number(trace, 1, 0), &event);
        if (rc != 0)
            say(trace, "refused: %s\n", peri_error_name(rc));
        return true;
    }
    return false;
}

static void up(struct trace *trace)
{
    for (uint64_t id = 1; id <= trace->group->count; id++)
        if (trace->word_count == 1)
            group_start(trace->group, id);
    for (size_t i = 1; i < trace->word_count; i++)
        group_start(trace->group, number(trace, i, 0));
}

static void see(struct trace *trace)
{
    for (uint64_t peer = 1; peer <= trace->group->count; peer++) {
        struct raft_event event = {.type = RAFT_PEER_DOWN, .peer = peer};
        for (size_t i = 2; i < trace->word_count; i++)
            if (number(trace, i, 0) == peer)
                event.type = RAFT_PEER_UP;
        group_step(trace->group, number(trace, 1, 0), &event);
    }
}

static bool host(struct trace *trace)
{
    const char *word = trace->words[0];
    const char *written = option(trace, "written"), *trailing = option(trace, "trailing");
    uint64_t id = number(trace, 1, 0);
    if (strcmp(word, "up") == 0)
        up(trace);
    else if (strcmp(word, "sees") == 0)
        see(trace);
    else if (strcmp(word, "crash") == 0)
        group_crash(trace->group, id, written == NULL ? 0 : strtoull(written, NULL, 10));
    else if (strcmp(word, "advance") == 0)
        trace->group->now_us += 1000 * id;
    else if (strcmp(word, "persist") == 0)
        group_persist(trace->group, id, number(trace, 2, SIZE_MAX));
    else if (strcmp(word, "hold") == 0 || strcmp(word, "release") == 0)
        trace->held[id] = *word == 'h';
    else if (strcmp(word, "deliver") == 0 || strcmp(word, "drop") == 0)
        deliver(trace, word[1] == 'r');
    else if (strcmp(word, "apply") == 0)
        group_apply(trace->group, id);
    else if (strcmp(word, "fetch") == 0)
        group_fetch(trace->group, id);
    else if (strcmp(word, "snapshot") == 0)
        group_snapshot(trace->group, id, trailing == NULL ? 0 : strtoull(trailing, NULL, 10));
    else
        return false;
    return true;
}

static void execute(struct trace *trace)
{
    size_t said = trace->said.size;
    bool is_quiet = strcmp(trace->words[0], "quietly") == 0 && trace->word_count > 1;
    if (is_quiet)
        memmove(trace->words, trace->words + 1, --trace->word_count * sizeof *trace->words);
    const char *word = trace->words[0];
    if (strcmp(word, "group") == 0)
        make_group(trace);
    else if (strcmp(word, "log") == 0)
        make_log(trace);
    else if (strcmp(word, "run") == 0)
        run(trace);
    else if (strcmp(word, "propose") == 0)
        propose(trace);
    else if (strcmp(word, "status") == 0)
        status(trace);
    else if (strcmp(word, "due") == 0)
        due(trace);
    else if (strcmp(word, "peers") == 0)
        peers(trace);
    else if (strcmp(word, "read") == 0) {
        int rc = group_read(trace->group, number(trace, 1, 0));
        if (rc != 0)
            say(trace, "refused: %s\n", peri_error_name(rc));
    } else if (!step(trace) && !host(trace))
        fail_msg("unknown command '%s'", word);
    persist_all(trace);
    if (is_quiet)
        trace->said.size = said;
    if (trace->group->err.code != 0)
        fail_msg("%s", trace->group->err.text);
}

/* ---- files ---- */

static void execute_line(struct trace *trace, const char *line)
{
    char copy[LINE_MAX_SIZE];
    if (*line == '#')
        return;
    snprintf(copy, sizeof copy, "%s", line);
    trace->word_count = 0;
    for (char *rest = copy, *word; (word = strtok_r(rest, " \n", &rest)) != NULL;) {
        assert_true(trace->word_count < WORDS_MAX);
        trace->words[trace->word_count++] = word;
    }
    if (trace->word_count > 0)
        execute(trace);
}

/* Runs a file's commands; *made becomes the file as it should be. */
static void replay(FILE *file, struct peri_buffer *made, struct peri_buffer *found)
{
    struct trace trace = {0};
    char line[LINE_MAX_SIZE];
    bool is_answer = false;
    while (fgets(line, sizeof line, file) != NULL) {
        assert_int_equal(peri_buffer_append(found, line, strlen(line)), 0);
        if (strcmp(line, "----\n") == 0) {
            is_answer = true;
            assert_int_equal(peri_buffer_append(made, line, strlen(line)), 0);
            assert_int_equal(peri_buffer_append(made, trace.said.data, trace.said.size), 0);
            trace.said.size = 0;
        } else if (*line == '\n' || !is_answer) {
            is_answer = false;
            assert_int_equal(peri_buffer_append(made, line, strlen(line)), 0);
            execute_line(&trace, line);
        }
    }
    group_close(trace.group);
    peri_buffer_deinit(&trace.said);
}

static void check_file(const char *path, bool writes)
{
    struct peri_buffer made = {0}, found = {0};
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    replay(file, &made, &found);
    fclose(file);
    bool is_same = made.data != NULL && found.data != NULL && made.size == found.size &&
                   memcmp(made.data, found.data, made.size) == 0;
    if (!is_same && writes) {
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(made.data, 1, made.size, file), made.size);
        fclose(file);
    } else if (!is_same) {
        print_message("%s: this happens now:\n%.*s\n", path, (int)made.size, made.data);
    }
    peri_buffer_deinit(&made);
    peri_buffer_deinit(&found);
    if (!is_same && !writes)
        fail_msg("%s differs", path);
}

static void test_traces(void **state)
{
    (void)state;
    const char *mode = getenv("PERILUNE_TRACE");
    DIR *folder = opendir("tests/data/raft");
    assert_non_null(folder);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[LINE_MAX_SIZE];
        if (strstr(entry->d_name, ".trace") == NULL)
            continue;
        snprintf(path, sizeof path, "tests/data/raft/%s", entry->d_name);
        print_message("# %s\n", path);
        check_file(path, mode != NULL && strcmp(mode, "write") == 0);
        count++;
    }
    closedir(folder);
    assert_true(count > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_traces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
