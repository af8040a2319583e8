/* query.c - answers from the keys as they are, as they were, and from the events in between. */
#include <inttypes.h>

#include "base/assert.h"
#include "kv/history.h"
#include "kv/parts.h"

static int check_revision(const struct kv_meta *meta, uint64_t revision, uint64_t first,
                          struct peri_error *err)
{
    if (revision > meta->revision)
        return peri_fail_plain(err, PERI_EINVAL,
                               "revision %" PRIu64 " is still to come: the last one is %" PRIu64,
                               revision, meta->revision);
    if (revision < first)
        return peri_fail(err, PERI_ECOMPACTED,
                         "revision %" PRIu64 ", for history begins at %" PRIu64, revision, first);
    return 0;
}

static int ask_key(struct kv_view *view, const struct kv_query *query, const struct kv_meta *meta,
                   struct wire_packer *out, struct peri_error *err)
{
    struct kv_entry entry;
    int rc = query->revision != 0 ? check_revision(meta, query->revision, meta->compacted, err) : 0;
    if (rc != 0)
        return rc;
    rc = query->revision == 0 ? kv_find(view, query->bounds.from, &entry)
                              : kv_find_at(view, query->bounds.from, query->revision, &entry);
    if (rc == 1) {
        wire_pack_array(out, 5);
        kv_pack_entry(out, entry.value, &entry);
    } else if (rc == 0) {
        wire_pack_nil(out);
    }
    return rc < 0 ? rc : 0;
}

static int ask_range(struct kv_view *view, const struct kv_query *query, const struct kv_meta *meta,
                     struct wire_packer *out, struct peri_error *err)
{
    if (query->revision == 0 || query->revision == meta->revision)
        return kv_pack_range(view, &query->bounds, out);
    int rc = check_revision(meta, query->revision, meta->compacted, err);
    return rc == 0 ? kv_pack_range_at(view, &query->bounds, query->revision, out) : rc;
}

static void pack_event(struct wire_packer *out, uint64_t revision, const struct kv_event *event)
{
    struct kv_entry entry = event->entry;
    entry.revision = event->is_delete ? 0 : revision;
    wire_pack_array(out, 8);
    wire_pack_uint(out, revision);
    wire_pack_bool(out, event->is_delete);
    wire_pack_bytes(out, event->key);
    kv_pack_entry(out, event->entry.value, &entry);
}

/* What the answer to a query for events is made of. */
struct events {
    const struct kv_query *query;
    struct peri_buffer bytes;
    struct wire_packer out;
    uint32_t count, looked_at;
    uint64_t next_revision;
    uint32_t next_number;
};

/* Takes an event. False when there is no room for it: the answer goes on there. */
static bool take_event(struct events *events, const struct kv_view *view,
                       const struct kv_told *told)
{
    const struct kv_bounds *bounds = &events->query->bounds;
    events->next_revision = told->revision;
    events->next_number = told->number;
    if (events->looked_at++ == KV_EVENTS_MAX || events->count == bounds->limit ||
        events->bytes.size >= KV_RANGE_BYTES_MAX ||
        (events->looked_at > 1 && view->read_bytes > KV_STEP_BYTES + KV_VALUE_MAX))
        return false;
    if (kv_bounds_have(bounds, told->event.key)) {
        pack_event(&events->out, told->revision, &told->event);
        events->count++;
    }
    return true;
}

/* The events of the source from the first that is asked for up to, and without, those of a
 * revision. 1 when all of them were taken, else 0. */
static int read_records(struct kv_view *view, struct events *events, uint64_t end)
{
    struct kv_name from, to;
    struct peri_slice name, bytes;
    struct kv_walk walk;
    struct kv_told told;
    int rc;
    kv_name_event(&from, events->query->revision, (uint32_t)events->query->number);
    kv_name_event(&to, end, 0);
    kv_walk_begin(&walk, view, &from, &to, KV_EVENTS_MAX + 1);
    while ((rc = kv_walk_next(&walk, &name, &bytes)) == 1) {
        if (kv_name_to_event(name, &told.revision, &told.number) != 0 ||
            kv_event_get(bytes, &told.event) != 0)
            return PERI_ECORRUPT;
        if (!take_event(events, view, &told))
            return 0;
    }
    return rc < 0 ? rc : 1;
}

/* Those that were told, from the same first one on. */
static int read_told(struct kv_view *view, struct events *events)
{
    const struct kv_query *query = events->query;
    struct node_keytail_place place = node_keytail_seek(view->tail, query->revision);
    struct node_keytail_item item;
    struct kv_told told;
    while (node_keytail_next(view->tail, &place, &item)) {
        if (kv_told_get(&item, &told) != 0)
            return PERI_ECORRUPT;
        if (told.revision == query->revision && told.number < query->number)
            continue;
        int rc = kv_view_count(view, item.bytes.size);
        if (rc != 0 || !take_event(events, view, &told))
            return rc;
    }
    return 1;
}

static int read_events(struct kv_view *view, const struct kv_meta *meta, struct events *events)
{
    struct node_keytail_place place = {.chunk = NULL};
    struct node_keytail_item item = {.tag = meta->revision + 1};
    bool has_tail = node_keytail_next(view->tail, &place, &item);
    int rc = item.tag > events->query->revision ? read_records(view, events, item.tag) : 1;
    if (rc == 1 && has_tail)
        rc = read_told(view, events);
    if (rc == 1) {
        events->next_revision = meta->revision + 1;
        events->next_number = 0;
    }
    return rc < 0 ? rc : events->out.rc;
}

/* [events], and the revision and number where the next question begins: nothing in between is left
 * out. */
static int ask_events(struct kv_view *view, const struct kv_query *query,
                      const struct kv_meta *meta, struct wire_packer *out, struct peri_error *err)
{
    struct events events = {.query = query, .out = {&events.bytes, 0}};
    int rc = query->revision <= meta->revision
                 ? check_revision(meta, query->revision, meta->compacted + 1, err)
                 : 0;
    if (rc == 0)
        rc = query->revision <= meta->revision ? read_events(view, meta, &events) : 0;
    if (query->revision > meta->revision)
        events.next_revision = query->revision;
    if (rc == 0) {
        wire_pack_array(out, events.count);
        rc = out->rc != 0 ? out->rc
                          : peri_buffer_append(out->out, events.bytes.data, events.bytes.size);
        wire_pack_uint(out, events.next_revision);
        wire_pack_uint(out, events.next_number);
    }
    peri_buffer_deinit(&events.bytes);
    return rc;
}

/* nil, or [ttl_ms, left_ms, keys] */
static int ask_lease(struct kv_view *view, const struct kv_query *query, const struct kv_meta *meta,
                     struct wire_packer *out)
{
    struct kv_name name;
    struct peri_slice bytes;
    struct kv_lease lease = {.keys = 0};
    kv_name_lease(&name, query->revision);
    int rc = kv_view_get(view, &name, &bytes);
    if (rc < 0 || (rc == 1 && kv_lease_get(bytes, &lease) != 0))
        return rc < 0 ? rc : PERI_ECORRUPT;
    if (rc == 0 || lease.expires_ms <= meta->clock_ms) {
        wire_pack_nil(out);
        return 0;
    }
    wire_pack_array(out, 3);
    wire_pack_uint(out, lease.ttl_ms);
    wire_pack_uint(out, lease.expires_ms - meta->clock_ms);
    wire_pack_uint(out, lease.keys);
    return 0;
}

/* "ok" and the result, "never", "unknown", or "ended": nothing is known of that session. */
static int ask_outcome(struct kv_view *view, const struct kv_query *query,
                       const struct kv_meta *meta, struct wire_packer *out)
{
    static const char *const words[] = {"ok", "never", "unknown", "ended"};
    enum { OK, NEVER, UNKNOWN, ENDED } outcome = ENDED;
    struct kv_name name;
    struct peri_slice bytes;
    struct kv_session slot = {.sequence = 0};
    kv_name_session(&name, query->revision);
    int rc = kv_view_get(view, &name, &bytes);
    if (rc < 0 || (rc == 1 && kv_session_get(bytes, &slot) != 0))
        return rc < 0 ? rc : PERI_ECORRUPT;
    if (rc == 1 && slot.expires_ms > meta->clock_ms)
        outcome = slot.sequence < query->number   ? UNKNOWN
                  : slot.sequence > query->number ? ENDED
                  : slot.is_skipped               ? NEVER
                                                  : OK;
    wire_pack_bytes(out, peri_slice_of(words[outcome], strlen(words[outcome])));
    wire_pack_bytes(out, outcome == OK ? slot.result : peri_slice_of(NULL, 0));
    return 0;
}

/* compacted, keys, leases, sessions, and when the next of these is due or nil */
static int ask_status(struct kv_view *view, const struct kv_meta *meta, struct wire_packer *out)
{
    struct kv_name from, to;
    struct peri_slice name, bytes;
    struct kv_walk walk;
    uint64_t due_ms = 0, id;
    enum kv_due what;
    kv_name_due(&from, 0, KV_DUE_LEASE, 0);
    kv_name_due(&to, UINT64_MAX, KV_DUE_LEASE, 0);
    kv_walk_begin(&walk, view, &from, &to, 1);
    int rc = kv_walk_next(&walk, &name, &bytes);
    if (rc < 0 || (rc == 1 && kv_name_to_due(name, &due_ms, &what, &id) != 0))
        return rc < 0 ? rc : PERI_ECORRUPT;
    wire_pack_uint(out, meta->compacted);
    wire_pack_uint(out, meta->keys);
    wire_pack_uint(out, meta->leases);
    wire_pack_uint(out, meta->sessions);
    if (rc == 1)
        wire_pack_uint(out, due_ms);
    else
        wire_pack_nil(out);
    return 0;
}

static int ask_read(struct kv_view *view, const struct kv_query *query, const struct kv_meta *meta,
                    struct wire_packer *out, struct peri_error *err)
{
    struct kv_run run = {.view = view, .meta = *meta, .result = *out, .err = err};
    int rc = kv_operate_all(&run, query->operations, query->count);
    *out = run.result;
    return rc;
}

static int answer(struct kv_view *view, const struct kv_query *query, const struct kv_meta *meta,
                  struct wire_packer *out, struct peri_error *err)
{
    switch (query->kind) {
    case KV_ASK_KEY:
        return ask_key(view, query, meta, out, err);
    case KV_ASK_RANGE:
        return ask_range(view, query, meta, out, err);
    case KV_ASK_EVENTS:
        return ask_events(view, query, meta, out, err);
    case KV_ASK_LEASE:
        return ask_lease(view, query, meta, out);
    case KV_ASK_OUTCOME:
        return ask_outcome(view, query, meta, out);
    case KV_ASK_STATUS:
        return ask_status(view, meta, out);
    case KV_ASK_READ:
        return ask_read(view, query, meta, out, err);
    case KV_ASKS:
        break;
    }
    return PERI_EINVAL;
}

int kv_ask(struct kv_view *view, const struct kv_query *query, struct peri_buffer *out,
           struct peri_error *err)
{
    static const uint32_t parts[KV_ASKS] = {
        [KV_ASK_KEY] = 1,     [KV_ASK_RANGE] = 3,  [KV_ASK_EVENTS] = 3, [KV_ASK_LEASE] = 1,
        [KV_ASK_OUTCOME] = 2, [KV_ASK_STATUS] = 5, [KV_ASK_READ] = 1};
    struct kv_meta meta;
    struct wire_packer packer = {out, 0};
    PERI_ASSERT(out->size == 0);
    int rc = kv_meta_find(view, &meta);
    if (rc == 0) {
        wire_pack_array(&packer, 2 + parts[query->kind]);
        wire_pack_uint(&packer, meta.revision);
        wire_pack_uint(&packer, meta.clock_ms);
        rc = answer(view, query, &meta, &packer, err);
    }
    if (rc == PERI_ETOOBIG && err != NULL && err->code == 0)
        (void)peri_fail_plain(err, rc, "a query reads at most %d bytes", KV_READ_MAX);
    return rc == 0 ? packer.rc : rc;
}
