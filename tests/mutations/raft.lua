-- Plants one bug at a time into a copy of runtime/raft, and runs the traces and then random schedules
-- (tests/unit/support/raft_random.c) until one of them notices. A bug that nobody notices is a hole in the
-- net. Not planted: what two guards hold off, such as a heartbeat's commit index, which the leader bounds by
-- what the follower acknowledged and the follower by what it verified.
-- Usage: lua5.4 tests/mutations/raft.lua [--seeds N] [NAME...]     (prints TAP; default 1500 seeds)
--
-- Each bug is a text of a file, which occurs there once, and what stands in its place.

local BUGS = {
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
  { "answer before term and vote are durable", "raft.c",
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
    [[
    return message->log_term != last_term ? message->log_term > last_term
                                          : message->index >= raft->log.last_index;]],
    [[
    (void)last_term;
    return message->index > 0;]] },
  { "longer log wins, whatever its term", "election.c",
    [[
    return message->log_term != last_term ? message->log_term > last_term
                                          : message->index >= raft->log.last_index;]],
    [[
    (void)last_term;
    return message->index >= raft->log.last_index;]] },
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
}

local OUT = "build/mutations"
local FLAGS = "-std=c11 -D_GNU_SOURCE -O1 -g -w -Iruntime -Itests/unit/support"
local seeds, wanted = 1500, {}

local function run(command)
  local ok = os.execute(command)
  return ok == true
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function lines_of(command)
  local lines = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  pipe:close()
  return lines
end

-- Compiles what stays as it is; returns the objects by file.
local function compile_all()
  run("mkdir -p " .. OUT)
  local objects = {}
  for _, path in ipairs(lines_of "ls runtime/raft/*.c tests/unit/support/raft_*.c") do
    local object = ("%s/%s.o"):format(OUT, path:match "([^/]+)%.c$")
    assert(run(("cc %s -c %s -o %s"):format(FLAGS, path, object)), "cannot compile " .. path)
    objects[path:match "([^/]+)$"] = object
  end
  objects.rest = "runtime/base/error.c runtime/base/assert.c runtime/base/buffer.c"
  return objects
end

-- The text of a file with the bug in it, or nil and why not.
local function plant(bug)
  local text = read("runtime/raft/" .. bug[2])
  local from, to = text:find(bug[3], 1, true)
  if not from then
    return nil, "the text to change is not there"
  elseif text:find(bug[3], to + 1, true) then
    return nil, "the text to change is there twice"
  end
  return text:sub(1, from - 1) .. bug[4] .. text:sub(to + 1)
end

local function build(bug, objects)
  local text, why = plant(bug)
  if not text then
    return nil, why
  end
  local path = OUT .. "/planted.c"
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local parts = {}
  for name, object in pairs(objects) do
    parts[#parts + 1] = name == bug[2] and path or object
  end
  table.sort(parts)
  for _, program in ipairs { "trace", "random" } do
    if not run(("cc %s %s tests/unit/test_raft_%s.c -lcmocka -o %s/planted_%s")
        :format(FLAGS, table.concat(parts, " "), program, OUT, program)) then
      return nil, "does not compile"
    end
  end
  return true
end

-- How the net noticed a planted bug, or nil.
local function hunt()
  for _, line in ipairs(lines_of(("timeout 60 %s/planted_trace 2>&1"):format(OUT))) do
    local how = line:match "^tests/data/raft/[%w_]+%.trace" or line:match "replica %d+ breaks.*"
    if how then
      return how
    end
  end
  local said = lines_of(("timeout 300 %s/planted_random 1 %d stop 2>&1"):format(OUT, seeds))
  for _, line in ipairs(said) do
    local how = line:match "^# (seed .*)" or line:match "assertion failed.*"
    if how then
      return how
    end
  end
end

local at = 1
while arg[at] do
  if arg[at] == "--seeds" then
    seeds = math.tointeger(tonumber(arg[at + 1])) or error "--seeds needs a number"
    at = at + 1
  else
    wanted[arg[at]] = true
  end
  at = at + 1
end

local objects, count, failures = compile_all(), 0, 0
for _, bug in ipairs(BUGS) do
  if next(wanted) == nil or wanted[bug[1]] then
    count = count + 1
    local built, why = build(bug, objects)
    local how = built and hunt()
    print(("%s %d - %s"):format(how and "ok" or "not ok", count, bug[1]))
    print("#   " .. (how or why or "nobody noticed"))
    io.stdout:flush()
    failures = failures + (how and 0 or 1)
  end
end
print("1.." .. count)
os.exit(failures == 0)
