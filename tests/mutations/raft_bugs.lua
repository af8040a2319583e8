-- Bugs for tests/mutations/raft.lua: a name, a file of runtime/raft, a text that occurs there once, and what
-- stands in its place. By the classes of mistakes that others made.
return {
  -- durability
  { "ack before fsync", "replication.c",
    [[    raft_send_after_all(raft); /* also]],
    [[    /* also]] },
  { "leader counts itself unwritten", "replication.c",
    [[        values[i] = raft->peers[i].match_index;]],
    [[
        values[i] = members->ids[i] == raft->options.id ? raft->log.last_index
: raft->peers[i].match_index;]] },
  { "vote not written", "election.c",
    [[
        raft_record_open(raft);
        raft->hard_seq = raft->seq;
    }
    if (granted && is_real)]],
    [[
    }
    if (granted && is_real)]] },
  { "answer before term and vote are durable", "emit.c",
    [[action->after_seq = raft->hard_seq;]],
    [[action->after_seq = 0;]] },
  { "truncation not written", "replication.c",
    [[    raft_record_open(raft)->truncate_from = first;]],
    [[    raft_record_open(raft);]] },
  { "apply before durable", "replication.c",
    [[    action->after_seq = raft->seq;]],
    [[    action->after_seq = 0;]] },
  { "snapshot acknowledged before it is durable", "snapshot.c",
    [[    raft_send_after_all(raft);]],
    [[]] },
  -- elections
  { "two votes in a term", "election.c",
    [[(raft->vote == 0 && raft->leader == 0)]],
    [[raft->leader == 0]] },
  { "any log may win", "election.c",
    [[    return reaches(message->index, message->log_term, last, raft_log_term(&raft->log, last)) &&]],
    [[    return last + 1 > 0 &&]] },
  { "longer log wins, whatever its term", "election.c",
    [[    return reaches(message->index, message->log_term, last, raft_log_term(&raft->log, last)) &&]],
    [[    return message->index >= last &&]] },
  { "pre-votes count as votes", "election.c",
    [[raft->role == (is_real ? RAFT_CANDIDATE : RAFT_PRE_CANDIDATE) && message->term == expected]],
    [[
raft->role != RAFT_LEADER && raft->role != RAFT_FOLLOWER
&& (message->term == expected || !is_real)]] },
  -- logs
  { "no consistency check", "replication.c",
    [[
    if (message->index > raft->commit_index &&
        !raft_log_matches(&raft->log, message->index, message->log_term)) {]],
    [[    if (message->index > raft->log.last_index) {]] },
  { "every append truncates", "replication.c",
    [[
raft_log_matches(&raft->log, index, entry->term))
            continue;]],
    [[
index + 3 <= raft->commit_index)
            continue;]] },
  { "conflict not noticed", "replication.c",
    [[
raft_log_matches(&raft->log, index, entry->term))
            continue;]],
    [[
index <= raft->log.last_index)
            continue;]] },
  { "commits an unverified suffix", "replication.c",
    [[message->commit < message->last ? message->commit : message->last]],
    [[message->commit < raft->log.last_index ? message->commit : raft->log.last_index]] },
  { "acknowledges an unverified suffix", "replication.c",
    [[
    reply->index = message->last;
    raft_send]],
    [[
    reply->index = raft->log.last_index;
    raft_send]] },
  { "commits an old term by counting", "replication.c",
    [[ && index >= raft->term_start)]],
    [[)]] },
  { "sent counts as acknowledged", "progress.c",
    [[    progress->next_index = last + 1;]],
    [[
    progress->next_index = last + 1;
    progress->match_index = last;]] },
  { "lost window never noticed", "replication.c",
    [[(is_silent && peer->next_index <= raft->log.base_index)]],
    [[false]] },
  -- members
  { "C_old has no say", "quorum.c",
    [[return next < old ? next : old;]],
    [[return old < next && old == 0 ? old : next;]] },
  { "C_old does not vote", "quorum.c",
    [[return next == RAFT_WON && old == RAFT_WON ? RAFT_WON : RAFT_PENDING;]],
    [[return next == RAFT_WON ? RAFT_WON : RAFT_PENDING;]] },
  { "learners count", "quorum.c",
    [[majority_value(configuration, RAFT_VOTER, values)]],
    [[majority_value(configuration, RAFT_VOTER | RAFT_LEARNER, values)]] },
  { "configuration survives its entry", "replication.c",
    [[
    raft_history_truncate(raft, first);
]],
    [[]] },
  { "a second change before the first is committed", "membership.c",
    [[
raft->commit_index >= raft->term_start &&
           raft->history[raft->history_count - 1].index <= raft->commit_index;]],
    [[raft->commit_index >= raft->term_start;]] },
  { "removed replica gives up too early", "election.c",
    [[
        if (raft->history[i].index <= raft->commit_index)
            break;]],
    [[        break;]] },
  -- reads
  { "read without a round", "read.c",
    [[    if (has_lease(raft)) {]],
    [[    if (true || has_lease(raft)) {]] },
  { "read before a commit of its own term", "read.c",
    [[
    if (raft->commit_index < raft->term_start)
        return;]],
    [[
    if (raft->commit_index > UINT64_MAX / 2)
        return;]] },
  { "an older round confirms", "read.c",
    [[slot->round = raft->round + 1;]],
    [[slot->round = raft->round > 1 ? raft->round - 1 : 0;]] },
  { "follower reads at its own commit index", "read.c",
    [[confirm(reads, reads->forwarded, message->index);]],
    [[confirm(reads, reads->forwarded, raft->commit_index);]] },
  { "lease counted from the answer", "raft.c",
    [[peer->acked_us = message->sent_us;]],
    [[peer->acked_us = raft->now_us;]] },
  { "lease as long as the longest timeout", "read.c",
    [[raft_quorum_contact_us(raft) + raft->options.election_min_us]],
    [[raft_quorum_contact_us(raft) + 2 * raft->options.election_max_us]] },
  { "lease survives a transfer", "membership.c",
    [[
    raft->is_lease_over = true;
]],
    [[]] },
  { "votes within a lease", "raft.c",
    [[if (asks_votes && !message->is_transfer && raft_is_in_lease(raft))]],
    [[if (asks_votes && raft->role == RAFT_LEADER)]] },
  { "restart forgets the lease that it granted", "create.c",
    [[raft->has_contact = true;]],
    [[raft->has_contact = false;]] },
  -- what fencing, completions, sleep, limits and hostile peers are about
  { "failed disk goes on", "raft.c",
    [[    raft->is_fenced = true;]],
    [[]] },
  { "completion of an old term counts", "raft.c",
    [[raft->role == RAFT_LEADER && event->term == raft->term && at >= 0 &&]],
    [[raft->role == RAFT_LEADER && at >= 0 &&]] },
  { "what came twice is acknowledged at once", "replication.c",
    [[    raft_send_after_all(raft); /* also]],
    [[
    if (raft->record != NULL)
        raft_send_after_all(raft); /* also]] },
  { "restart forgets its vote", "create.c",
    [[    raft->vote = boot->vote;]],
    [[]] },
  { "snapshot leaves the old window open", "snapshot.c",
    [[    raft->last_applied = raft->applying_index = index;]],
    [[    raft->last_applied = index;]] },
  { "all election timeouts are the same", "election.c",
    [[raft_random(raft) % spread]],
    [[spread * 0]] },
  { "messages without a limit", "replication.c",
    [[
    uint64_t last =
        raft_log_fit(&raft->log, first, raft->log.last_index, raft->options.message_max_bytes);]],
    [[    uint64_t last = raft->log.last_index;]] },
  { "sleeps under a leader that is down", "sleep.c",
    [[        !raft_is_up(raft, heartbeat->from) || ]],
    [[        ]] },
  { "the end of its leader wakes nobody", "sleep.c",
    [[(raft->role == RAFT_LEADER || raft->leader == event->peer);]],
    [[raft->role == RAFT_LEADER;]] },
  { "sleeps before everything is committed", "sleep.c",
    [[heartbeat->commit != last ||
        raft->commit_index != last || ]],
    [[]] },
  { "leader sleeps before the others do", "sleep.c",
    [[        if (raft_is_up(raft, members->ids[i]) && !raft->peers[i].is_sleepy)
            return;]],
    [[]] },
  { "a removed replica wakes the group", "sleep.c",
    [[raft_configuration_find(raft_active(raft), message->from) >= 0]],
    [[true]] },
  { "heartbeat commits what is not there", "replication.c",
    [[raft_commit_to(raft, message->commit < verified ? message->commit : verified);]],
    [[raft_commit_to(raft, message->commit);]] },
  { "leader without a quorum goes on", "raft.c",
    [[    else if (raft->now_us - raft_quorum_seen_us(raft) >= raft->options.election_max_us)]],
    [[    else if (raft->now_us - raft_quorum_seen_us(raft) >= UINT64_MAX / 2)]] },
  { "removed leader goes on", "membership.c",
    [[        raft_abdicate(raft);  /* Thesis 4.2.2 */]],
    [[]] },
  { "priority 0 campaigns", "election.c",
    [[    return raft->options.priority > 0 && raft->role != RAFT_LEADER &&]],
    [[    return raft->role != RAFT_LEADER &&]] },
  { "priorities do not count", "election.c",
    [[    uint64_t steps = RAFT_PRIORITY_MAX - raft->options.priority;]],
    [[    uint64_t steps = 0;]] },
  { "candidate of priority 0 goes on", "election.c",
    [[    else if (priority == 0 && raft->role != RAFT_FOLLOWER)]],
    [[    else if (priority == 0 && raft->role == RAFT_CANDIDATE + 9)]] },
  { "a disk's losses are not told", "replication.c",
    [[    if (peer->match_index <= event->last)]],
    [[    if (true)]] },
  { "a disk that lost votes votes on", "create.c",
    [[boot->is_impaired ? UINT64_MAX : 0;]],
    [[0;]] },
  { "votes for logs below the floor", "election.c",
    [[ &&
           reaches(message->index, message->log_term, raft->floor_index, raft->floor_term);]],
    [[;]] },
  { "campaigns below the floor", "election.c",
    [[    if (!reaches(last, raft_log_term(&raft->log, last), raft->floor_index, raft->floor_term))
        return false;]],
    [[]] },
  { "speaks of term 0", "election.c",
    [[    if (!granted && raft->term == 0)
        return;]],
    [[]] },
  -- of the catalogue in tests/data/RAFT.md, drawn at random
  { "campaigns while a snapshot is installed", "election.c",
    [[!raft_is_stalled(raft) && raft->durable_seq >= raft->install_seq &&]],
    [[!raft_is_stalled(raft) &&]] },
  { "reads while a snapshot is installed", "read.c",
    [[raft->last_applied < reads->ready_index ||
        raft->durable_seq < raft->install_seq)]],
    [[raft->last_applied < reads->ready_index)]] },
  { "a pre-vote raises terms", "raft.c",
    [[message->type == RAFT_PRE_VOTE ||
                           (message->type]],
    [[(message->type]] },
  { "forgets the leader, not that it was heard", "raft.c",
    [[    raft_become_follower(raft, raft->term, 0);
    raft->has_contact = false;]],
    [[    raft_become_follower(raft, raft->term, 0);]] },
  { "a silent peer stays paused", "replication.c",
    [[    peer->is_paused = false;
    peer->is_sleepy]],
    [[    peer->is_sleepy]] },
  { "promotes however long a round was", "membership.c",
    [[raft->now_us - peer->catchup_us <= raft->options.election_min_us]],
    [[raft->now_us >= peer->catchup_us]] },
  { "never gives up on a learner", "membership.c",
    [[    return peer->catchup_rounds >= rounds ||
           (raft->now_us - heard_us) / rounds >= raft->options.election_max_us;]],
    [[    return peer->catchup_rounds + 1 == 0 && heard_us + rounds == 0;]] },
  { "offers snapshots to nobody there", "snapshot.c",
    [[peer->acked_us + raft->options.election_max_us <= raft->now_us]],
    [[peer->acked_us == UINT64_MAX]] },
  { "sends a snapshot that has arrived again", "snapshot.c",
    [[success && peer->next_index <= peer->snapshot_index]],
    [[success && peer->snapshot_index == 0]] },
  { "names a successor that lacks entries", "membership.c",
    [[raft->is_transfer_told || raft->peers[at].match_index < raft->log.last_index]],
    [[raft->is_transfer_told]] },
  { "a transfer never ends", "raft.c",
    [[raft->transfer_to != 0 && raft->now_us >= raft->transfer_deadline_us)
        raft->transfer_to = 0;]],
    [[raft->transfer_to == UINT64_MAX)
        raft->transfer_to = 0;]] },
  { "a forwarded read is asked for once", "read.c",
    [[    if (raft->reads.forwarded != 0 &&
        raft->now_us >=]],
    [[    if (raft->reads.forwarded == UINT64_MAX &&
        raft->now_us >=]] },
  { "campaigns although it hears the leader", "raft.c",
    [[    raft->contact_us = raft->now_us;
    raft_election_arm(raft);]],
    [[    raft->contact_us = raft->now_us;]] },
  { "a stalled leader goes on", "raft.c",
    [[    if (raft_is_stalled(raft))
        raft_abdicate(raft);
    else if]],
    [[    if]] },
  { "a stranger campaigns", "election.c",
    [[(is_needed || raft_is_electable(raft))]],
    [[(is_needed || raft->options.id > 0)]] },
  { "a deposed leader is not told", "raft.c",
    [[    if (raft_is_from_leader(message->type))
        raft_send(raft, RAFT_HEARTBEAT_REPLY, message->from);
    else if]],
    [[    if]] },
  { "no quota", "refuse.c",
    [[bytes > raft->options.uncommitted_max_bytes ? PERI_EBUSY : 0]],
    [[0 * bytes]] },
}
