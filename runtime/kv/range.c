/* range.c - keys in order, as they are and as they were. */
#include "kv/history.h"
#include "kv/parts.h"

void kv_pack_entry(struct wire_packer *out, struct peri_slice value, const struct kv_entry *entry)
{
    wire_pack_bytes(out, value);
    wire_pack_uint(out, entry->revision);
    wire_pack_uint(out, entry->created);
    wire_pack_uint(out, entry->version);
    wire_pack_uint(out, entry->lease);
}

/* ---- ranges ---- */

void kv_bounds_names(const struct kv_bounds *bounds, struct kv_name *from, struct kv_name *to)
{
    kv_name_key(from, bounds->from);
    if (bounds->to.size == 0)
        kv_name_key_end(to);
    else
        kv_name_key(to, bounds->to);
}

bool kv_bounds_have(const struct kv_bounds *bounds, struct peri_slice key)
{
    return peri_slice_compare(key, bounds->from) >= 0 &&
           (bounds->to.size == 0 || peri_slice_compare(key, bounds->to) < 0);
}

/* The pairs of a range that is being answered; their count comes in front, at the end. */
struct range {
    const struct kv_bounds *bounds;
    struct peri_buffer pairs;
    struct wire_packer out;
    uint32_t count;
    size_t bytes_before; /* read by the view */
    bool is_more;        /* it goes on at next */
    struct peri_slice next;
};

/* Takes a key. False when there is no room for it: the range goes on there. */
static bool take(struct range *range, const struct kv_view *view, struct peri_slice key,
                 const struct kv_entry *entry)
{
    const struct kv_bounds *bounds = range->bounds;
    range->is_more = range->count == bounds->limit || range->pairs.size >= KV_RANGE_BYTES_MAX ||
                     (range->count > 0 && view->read_bytes - range->bytes_before > KV_STEP_BYTES);
    if (range->is_more) {
        range->next = key;
        return false;
    }
    range->count++;
    if ((bounds->flags & KV_COUNT_ONLY) != 0)
        return true;
    wire_pack_array(&range->out, 6);
    wire_pack_bytes(&range->out, key);
    kv_pack_entry(&range->out,
                  (bounds->flags & KV_KEYS_ONLY) != 0 ? peri_slice_of(NULL, 0) : entry->value,
                  entry);
    return true;
}

static void pack_range(struct range *range, struct wire_packer *out)
{
    wire_pack_array(out, (range->bounds->flags & KV_COUNT_ONLY) != 0 ? 0 : range->count);
    if (out->rc == 0)
        out->rc = range->out.rc != 0
                      ? range->out.rc
                      : peri_buffer_append(out->out, range->pairs.data, range->pairs.size);
    if (range->is_more)
        wire_pack_bytes(out, range->next);
    else
        wire_pack_nil(out);
    wire_pack_uint(out, range->count);
}

static int read_range(struct kv_view *view, struct range *range)
{
    struct kv_name from, to;
    struct peri_slice name, bytes, key;
    struct kv_walk walk;
    struct kv_entry entry;
    int rc;
    kv_bounds_names(range->bounds, &from, &to);
    kv_walk_begin(&walk, view, &from, &to, range->bounds->limit + 1);
    while ((rc = kv_walk_next(&walk, &name, &bytes)) == 1) {
        if (kv_name_to_key(name, &key) != 0 || kv_entry_get(bytes, &entry) != 0)
            return PERI_ECORRUPT;
        if (!take(range, view, key, &entry))
            break;
    }
    return rc < 0 ? rc : 0;
}

int kv_pack_range(struct kv_view *view, const struct kv_bounds *bounds, struct wire_packer *out)
{
    struct range range = {.bounds = bounds, .bytes_before = view->read_bytes};
    range.out.out = &range.pairs;
    int rc = read_range(view, &range);
    if (rc == 0)
        pack_range(&range, out);
    peri_buffer_deinit(&range.pairs);
    return rc;
}

/* ---- the past ---- */

/* The entry that an event left behind: 1, or 0 when it was a deletion. */
static int give_told(const struct kv_told *told, struct kv_entry *out)
{
    *out = told->event.entry;
    out->revision = told->revision;
    return !told->event.is_delete;
}

/* The entry of a key at a revision that has passed, which was no deletion: 1. */
static int read_event(struct kv_view *view, uint64_t revision, uint64_t number,
                      struct kv_entry *out)
{
    struct kv_name name;
    struct peri_slice bytes;
    struct kv_event event;
    struct kv_told told;
    int is_told = kv_history_event(view, revision, number, &told);
    if (is_told != 0)
        return is_told < 0 ? is_told : give_told(&told, out);
    kv_name_event(&name, revision, (uint32_t)number);
    int rc = kv_view_get(view, &name, &bytes);
    if (rc != 1 || kv_event_get(bytes, &event) != 0)
        return rc < 0 ? rc : PERI_ECORRUPT; /* a version says where its event is */
    *out = event.entry;
    out->revision = revision;
    return 1;
}

int kv_find_at(struct kv_view *view, struct peri_slice key, uint64_t revision, struct kv_entry *out)
{
    struct kv_name from, to;
    struct peri_slice name, bytes;
    struct kv_walk walk;
    struct kv_version version;
    struct kv_told told;
    char room[KV_KEY_MAX];
    uint64_t found = 0;
    int rc = kv_find(view, key, out);
    if (rc < 0 || (rc == 1 && out->revision <= revision))
        return rc;
    rc = kv_history_find(view, key, 0, revision, &told);
    if (rc != 0)
        return rc < 0 ? rc : give_told(&told, out);
    kv_name_version(&from, key, revision);
    kv_name_version(&to, key, 0);
    kv_walk_begin(&walk, view, &from, &to, 1);
    rc = kv_walk_next(&walk, &name, &bytes);
    if (rc != 1)
        return rc;
    if (kv_name_to_version(name, room, &key, &found) != 0 || kv_version_get(bytes, &version) != 0)
        return PERI_ECORRUPT;
    return version.is_delete ? 0 : read_event(view, found, version.number, out);
}

int kv_find_change(struct kv_run *run, struct peri_slice key, const struct kv_entry *now,
                   uint64_t *revision)
{
    struct kv_name from, to;
    struct peri_slice name, bytes;
    struct kv_walk walk;
    struct kv_told told;
    char room[KV_KEY_MAX];
    *revision = now->revision;
    if (now->revision != 0)
        return 0;
    /* What is compacted has been swept here and not there: no replica looks at it. */
    *revision = run->meta.compacted;
    int is_told = kv_history_find(run->view, key, run->meta.compacted + 1, UINT64_MAX, &told);
    if (is_told == 1) {
        *revision = told.revision;
        return kv_history_count(run->view, &told);
    }
    if (is_told < 0)
        return is_told;
    kv_name_version(&from, key, UINT64_MAX);
    kv_name_version(&to, key, run->meta.compacted);
    kv_walk_begin(&walk, run->view, &from, &to, 1);
    int rc = kv_walk_next(&walk, &name, &bytes);
    if (rc == 1 && kv_name_to_version(name, room, &key, revision) != 0)
        return PERI_ECORRUPT;
    return rc < 0 ? rc : 0;
}

/* Keys as they are and their versions, side by side in the order of keys. */
struct past {
    struct kv_view *view;
    uint64_t revision;
    struct kv_walk now, before;
    int has_now, has_before; /* 1; 0 at the end; or a failure */
    struct peri_slice now_key, before_key;
    struct kv_entry entry; /* of now_key */
    struct kv_version version;
    uint64_t version_revision;
    char room[KV_KEY_MAX];
};

static void next_now(struct past *past)
{
    struct peri_slice name, bytes;
    past->has_now = kv_walk_next(&past->now, &name, &bytes);
    if (past->has_now == 1 &&
        (kv_name_to_key(name, &past->now_key) != 0 || kv_entry_get(bytes, &past->entry) != 0))
        past->has_now = PERI_ECORRUPT;
}

static void next_before(struct past *past)
{
    struct peri_slice name, bytes;
    past->has_before = kv_walk_next(&past->before, &name, &bytes);
    if (past->has_before == 1 &&
        (kv_name_to_version(name, past->room, &past->before_key, &past->version_revision) != 0 ||
         kv_version_get(bytes, &past->version) != 0))
        past->has_before = PERI_ECORRUPT;
}

/* Versions that were told stand beside those of the source: a query writes nothing else. */
static int write_told(struct kv_view *view, const struct kv_bounds *bounds, uint64_t revision)
{
    struct node_keytail_place place = {.chunk = NULL};
    struct node_keytail_item item;
    struct peri_buffer bytes = {NULL, 0, 0};
    struct kv_name name;
    struct kv_told told;
    int rc = 0;
    view->has_searched = true;
    while (rc == 0 && node_keytail_next(view->tail, &place, &item) && item.tag <= revision) {
        rc = kv_told_get(&item, &told);
        if (rc != 0 || !kv_bounds_have(bounds, told.event.key))
            continue;
        const struct kv_version version = {told.event.is_delete, told.number};
        kv_name_version(&name, told.event.key, told.revision);
        bytes.size = 0;
        rc = kv_version_put(&bytes, &version);
        if (rc == 0)
            rc = kv_view_put(view, &name, peri_buffer_slice(&bytes));
    }
    peri_buffer_deinit(&bytes);
    return rc;
}

static void begin_past(struct past *past, const struct kv_bounds *bounds)
{
    struct kv_name from, to;
    kv_bounds_names(bounds, &from, &to);
    kv_walk_begin(&past->now, past->view, &from, &to, bounds->limit + 1);
    kv_name_versions(&from, bounds->from);
    if (bounds->to.size == 0)
        kv_name_versions_end(&to);
    else
        kv_name_versions(&to, bounds->to);
    kv_walk_begin(&past->before, past->view, &from, &to, KV_RANGE_MAX);
    next_now(past);
    next_before(past);
}

/* The next key of either: as it was then, when it was. Its name is copied to room, for the range
 * may have to go on there. 1 when it was there, 0 when not. */
static int next_past(struct past *past, char *room, struct peri_slice *key, struct kv_entry *entry)
{
    int order = past->has_now != 1      ? 1
                : past->has_before != 1 ? -1
                                        : peri_slice_compare(past->now_key, past->before_key);
    struct peri_slice first = order <= 0 ? past->now_key : past->before_key;
    memcpy(room, first.data, first.size);
    *key = peri_slice_of(room, first.size);
    int is_there = 0;
    if (order <= 0) {
        is_there = past->entry.revision <= past->revision;
        *entry = past->entry;
        next_now(past);
    }
    bool is_known = is_there != 0;
    while (past->has_before == 1 && peri_slice_compare(past->before_key, *key) == 0) {
        if (!is_known && past->version_revision <= past->revision) {
            is_known = true;
            if (!past->version.is_delete)
                is_there =
                    read_event(past->view, past->version_revision, past->version.number, entry);
            if (is_there < 0)
                return is_there;
        }
        next_before(past);
    }
    return is_there;
}

static int read_past(struct kv_view *view, uint64_t revision, struct range *range, char *room)
{
    struct past past = {.view = view, .revision = revision};
    struct peri_slice key;
    struct kv_entry entry;
    uint32_t late = 0;
    int written = write_told(view, range->bounds, revision);
    if (written != 0)
        return written;
    begin_past(&past, range->bounds);
    while (past.has_now == 1 || past.has_before == 1) {
        if (past.has_now < 0 || past.has_before < 0)
            break;
        int rc = next_past(&past, room, &key, &entry);
        if (rc < 0 && rc != KV_LATER)
            return rc;
        late += rc == KV_LATER; /* others are asked for before the run begins again */
        if (late + range->count > range->bounds->limit)
            return KV_LATER;
        if (rc == 1 && !take(range, view, key, &entry))
            break;
    }
    if (late > 0)
        return KV_LATER;
    return past.has_now < 0 ? past.has_now : past.has_before < 0 ? past.has_before : 0;
}

int kv_pack_range_at(struct kv_view *view, const struct kv_bounds *bounds, uint64_t revision,
                     struct wire_packer *out)
{
    struct range range = {.bounds = bounds, .bytes_before = view->read_bytes};
    char room[KV_KEY_MAX];
    range.out.out = &range.pairs;
    int rc = read_past(view, revision, &range, room);
    if (rc == 0)
        pack_range(&range, out);
    peri_buffer_deinit(&range.pairs);
    return rc;
}
