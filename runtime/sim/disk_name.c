#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk_internal.h"

/* ---- one image of a directory ---- */

/* Where name is, or belongs. */
static size_t place_of(const struct sim_names *names, const char *name)
{
    size_t low = 0;
    size_t high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(names->entries[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct sim_names *names, size_t at, const char *name)
{
    return at < names->count && strcmp(names->entries[at].name, name) == 0;
}

struct sim_inode *sim_names_find(const struct sim_names *names, const char *name)
{
    size_t at = place_of(names, name);
    return is_at(names, at, name) ? names->entries[at].inode : NULL;
}

size_t sim_names_after(const struct sim_names *names, const char *name)
{
    size_t at = place_of(names, name);
    return is_at(names, at, name) ? at + 1 : at;
}

static int reserve_entry(struct sim_names *names)
{
    if (names->count < names->capacity)
        return 0;
    size_t capacity = names->capacity == 0 ? 4 : names->capacity * 2;
    struct sim_entry *grown = realloc(names->entries, capacity * sizeof *grown);
    if (grown == NULL)
        return PERI_ENOMEM;
    names->entries = grown;
    names->capacity = capacity;
    return 0;
}

/* name leads to inode from now on, and no longer to what it led to before. */
static int set_name(struct sim_disk *disk, struct sim_names *names, const char *name,
                    struct sim_inode *inode)
{
    size_t at = place_of(names, name);
    if (is_at(names, at, name)) {
        struct sim_inode *before = names->entries[at].inode;
        names->entries[at].inode = inode;
        inode->names++;
        before->names--;
        sim_inode_release(disk, before);
        return 0;
    }
    char *copy = strdup(name);
    if (copy == NULL || reserve_entry(names) != 0) {
        free(copy);
        return PERI_ENOMEM;
    }
    memmove(&names->entries[at + 1], &names->entries[at],
            (names->count - at) * sizeof names->entries[0]);
    names->entries[at] = (struct sim_entry){copy, inode};
    names->count++;
    inode->names++;
    return 0;
}

static void clear_name(struct sim_disk *disk, struct sim_names *names, const char *name)
{
    size_t at = place_of(names, name);
    if (!is_at(names, at, name))
        return;
    struct sim_inode *before = names->entries[at].inode;
    free(names->entries[at].name);
    names->count--;
    memmove(&names->entries[at], &names->entries[at + 1],
            (names->count - at) * sizeof names->entries[0]);
    before->names--;
    sim_inode_release(disk, before);
}

void sim_names_deinit(struct sim_disk *disk, struct sim_names *names)
{
    (void)disk;
    for (size_t i = 0; i < names->count; i++) {
        names->entries[i].inode->names--;
        free(names->entries[i].name);
    }
    free(names->entries);
    *names = (struct sim_names){NULL, 0, 0};
}

int sim_names_revert(struct sim_disk *disk, struct sim_inode *directory)
{
    int rc = 0;
    sim_names_deinit(disk, &directory->live_names);
    for (size_t i = 0; rc == 0 && i < directory->durable_names.count; i++) {
        const struct sim_entry *entry = &directory->durable_names.entries[i];
        rc = set_name(disk, &directory->live_names, entry->name, entry->inode);
    }
    return rc;
}

/* ---- the journal ---- */

static struct sim_naming *naming_at(struct peri_list *link)
{
    return container_of(link, struct sim_naming, link);
}

/* Entries hold on to what they name, and to the directories. */
static void hold(const struct sim_naming *naming, size_t more)
{
    if (naming->from != NULL)
        naming->from->names += more;
    if (naming->to != NULL)
        naming->to->names += more;
    if (naming->inode != NULL)
        naming->inode->names += more;
}

static void naming_free(struct sim_naming *naming)
{
    peri_list_remove(&naming->link);
    free(naming->from_name);
    free(naming->to_name);
    free(naming);
}

static void naming_end(struct sim_disk *disk, struct sim_naming *naming)
{
    struct sim_inode *let_go[] = {naming->inode, naming->from, naming->to};
    hold(naming, (size_t)-1);
    naming_free(naming);
    for (size_t i = 0; i < sizeof let_go / sizeof let_go[0]; i++) {
        bool is_last = true; /* from and to may be one directory: it is released once */
        for (size_t j = i + 1; j < sizeof let_go / sizeof let_go[0]; j++)
            is_last = is_last && let_go[j] != let_go[i];
        if (let_go[i] != NULL && is_last)
            sim_inode_release(disk, let_go[i]);
    }
}

void sim_journal_deinit(struct sim_disk *disk)
{
    while (!peri_list_is_empty(&disk->journal)) {
        struct sim_naming *naming = naming_at(disk->journal.next);
        hold(naming, (size_t)-1);
        naming_free(naming); /* what nothing leads to is swept by the caller */
    }
}

static int naming_create(struct sim_naming **out, struct sim_inode *from, const char *from_name,
                         struct sim_inode *to, const char *to_name, struct sim_inode *inode)
{
    struct sim_naming *naming = calloc(1, sizeof *naming);
    if (naming == NULL)
        return PERI_ENOMEM;
    *naming = (struct sim_naming){.from = from, .to = to, .inode = inode};
    peri_list_init(&naming->link);
    naming->from_name = from != NULL ? strdup(from_name) : NULL;
    naming->to_name = to != NULL ? strdup(to_name) : NULL;
    if ((from != NULL && naming->from_name == NULL) || (to != NULL && naming->to_name == NULL)) {
        naming_free(naming);
        return PERI_ENOMEM;
    }
    *out = naming;
    return 0;
}

/* What comes can fail, what goes cannot: so it comes first. */
static int apply_live(struct sim_disk *disk, const struct sim_naming *naming)
{
    bool is_same = naming->from == naming->to && naming->from != NULL &&
                   strcmp(naming->from_name, naming->to_name) == 0;
    if (naming->to != NULL &&
        set_name(disk, &naming->to->live_names, naming->to_name, naming->inode) != 0)
        return PERI_ENOMEM;
    if (naming->from != NULL && !is_same)
        clear_name(disk, &naming->from->live_names, naming->from_name);
    return 0;
}

static int apply_durable(struct sim_disk *disk, const struct sim_naming *naming)
{
    if (naming->to != NULL &&
        set_name(disk, &naming->to->durable_names, naming->to_name, naming->inode) != 0)
        return PERI_ENOMEM;
    if (naming->from != NULL)
        clear_name(disk, &naming->from->durable_names, naming->from_name);
    return 0;
}

int sim_naming_do(struct sim_disk *disk, struct sim_inode *from, const char *from_name,
                  struct sim_inode *to, const char *to_name, struct sim_inode *inode,
                  uint64_t durable_us)
{
    struct sim_naming *naming = NULL;
    int rc = naming_create(&naming, from, from_name, to, to_name, inode);
    if (rc != 0)
        return rc;
    naming->durable_us = durable_us;
    naming->begun_us = disk->call_us;
    hold(naming, 1);
    rc = apply_live(disk, naming);
    if (rc != 0) {
        hold(naming, (size_t)-1);
        naming_free(naming);
        return rc;
    }
    peri_list_append(&disk->journal, &naming->link);
    return 0;
}

int sim_disk_change_names(struct sim_node *node, struct sim_inode *from, const char *from_name,
                          struct sim_inode *to, const char *to_name, struct sim_inode *inode)
{
    const struct peri_list *journal = &node->disk->journal;
    uint64_t now_us = node->world->now_us;
    if (!peri_list_is_empty(journal) && naming_at(journal->next)->durable_us <= now_us &&
        sim_naming_settle(node->disk, now_us) != 0)
        return PERI_ENOMEM;
    return sim_naming_do(node->disk, from, from_name, to, to_name, inode,
                         sim_disk_writeback_us(node));
}

static void set_syncing(const struct sim_naming *naming, bool is_syncing)
{
    if (naming->from != NULL)
        naming->from->is_syncing = is_syncing;
    if (naming->to != NULL)
        naming->to->is_syncing = is_syncing;
}

/* An older change of a directory never comes after a newer one, so a rename out of another
 * directory takes that one's changes along. What another thread only does after this call has begun
 * stands in the journal already, but is none of its: a rename would be durable before the sync of
 * the file that goes before it. */
void sim_naming_sync(struct sim_disk *disk, struct sim_inode *directory, uint64_t durable_us)
{
    struct peri_list *at;
    directory->is_syncing = true;
    for (at = disk->journal.prev; at != &disk->journal; at = at->prev) {
        struct sim_naming *naming = naming_at(at);
        bool is_reached = (naming->from != NULL && naming->from->is_syncing) ||
                          (naming->to != NULL && naming->to->is_syncing);
        if (!is_reached || naming->begun_us > disk->call_us)
            continue;
        set_syncing(naming, true);
        if (naming->durable_us > durable_us)
            naming->durable_us = durable_us;
    }
    for (at = disk->journal.next; at != &disk->journal; at = at->next)
        set_syncing(naming_at(at), false);
    directory->is_syncing = false;
}

int sim_naming_settle(struct sim_disk *disk, uint64_t now_us)
{
    for (struct peri_list *at = disk->journal.next; at != &disk->journal;) {
        struct sim_naming *naming = naming_at(at);
        at = at->next;
        if (naming->durable_us > now_us)
            continue;
        if (apply_durable(disk, naming) != 0)
            return PERI_ENOMEM;
        naming_end(disk, naming);
    }
    return 0;
}

static bool is_blocked(const struct sim_naming *naming)
{
    return (naming->from != NULL && naming->from->is_blocked) ||
           (naming->to != NULL && naming->to->is_blocked);
}

static void block(const struct sim_naming *naming)
{
    if (naming->from != NULL)
        naming->from->is_blocked = true;
    if (naming->to != NULL)
        naming->to->is_blocked = true;
}

int sim_naming_crash(struct sim_disk *disk, uint64_t now_us, struct sim_stream *stream,
                     uint32_t keep_ppm)
{
    int rc = sim_naming_settle(disk, now_us);
    for (struct peri_list *at = disk->journal.next; rc == 0 && at != &disk->journal;
         at = at->next) {
        struct sim_naming *naming = naming_at(at);
        bool has_begun = naming->begun_us <= now_us;
        if (!is_blocked(naming) && has_begun && sim_stream_chance(stream, keep_ppm))
            rc = apply_durable(disk, naming);
        else
            block(naming);
    }
    sim_journal_deinit(disk);
    return rc;
}

/* ---- paths ---- */

/* Takes the next part of a path: 1, 0 at the end, or an error. */
static int next_part(const char **path, char *name)
{
    while (**path == '/')
        ++*path;
    size_t length = strcspn(*path, "/");
    if (length == 0)
        return 0;
    if (length > SIM_NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, *path, length);
    name[length] = '\0';
    *path += length;
    return 1;
}

enum { DEPTH_MAX = 256 };

/* The way down to where a path has come: ".." goes back up. */
struct walk {
    struct sim_inode *way[DEPTH_MAX]; /* way[0] is the root */
    size_t depth;
    char name[SIM_NAME_MAX + 1]; /* the last part, not yet gone into; "" for way[depth] itself */
};

static int walk_into(struct walk *walk)
{
    struct sim_inode *next = walk->way[walk->depth];
    if (walk->name[0] == '\0')
        return 0;
    next = sim_names_find(&next->live_names, walk->name);
    if (next == NULL)
        return -ENOENT;
    if (!next->is_directory)
        return -ENOTDIR;
    if (walk->depth + 1 == DEPTH_MAX)
        return -ENAMETOOLONG;
    walk->way[++walk->depth] = next;
    walk->name[0] = '\0';
    return 0;
}

static int walk_part(struct walk *walk, const char *part)
{
    if (strcmp(part, ".") == 0)
        return 0;
    int rc = walk_into(walk);
    if (rc != 0)
        return rc;
    if (strcmp(part, "..") != 0)
        memcpy(walk->name, part, strlen(part) + 1);
    else if (walk->depth > 0)
        walk->depth--;
    return 0;
}

int sim_path_find(const struct sim_disk *disk, const char *path, struct sim_inode **parent,
                  char *name, struct sim_inode **inode)
{
    struct walk walk = {.way = {disk->root}};
    char part[SIM_NAME_MAX + 1];
    int rc;
    if (*path == '\0' || strlen(path) > SIM_PATH_MAX)
        return *path == '\0' ? -ENOENT : -ENAMETOOLONG;
    while ((rc = next_part(&path, part)) == 1 && (rc = walk_part(&walk, part)) == 0)
        continue;
    if (rc != 0)
        return rc;
    *parent = walk.way[walk.depth];
    memcpy(name, walk.name, sizeof walk.name);
    *inode = walk.name[0] == '\0' ? *parent : sim_names_find(&(*parent)->live_names, walk.name);
    return 0;
}
