#include "kv/view.h"

#include <stdlib.h>

#include "base/assert.h"
#include "store/chunk.h"

/* ---- what is known ---- */

void kv_view_begin(struct kv_view *view)
{
    node_keymap_clear(&view->written);
    node_keymap_clear(&view->part);
    view->is_parted = view->has_searched = false;
    view->read_bytes = view->written_bytes = 0;
    view->compacted = 0;
    if (view->told.chunks.next == NULL)
        node_keytail_init(&view->told);
    node_keytail_cut(&view->told, 0);
}

void kv_view_clear(struct kv_view *view)
{
    kv_view_begin(view);
    node_keytail_clear(&view->told);
    peri_buffer_deinit(&view->scratch);
    node_keymap_clear(&view->learned);
    while (view->pages != NULL) {
        struct kv_page *page = view->pages;
        view->pages = page->next_page;
        kv_page_close(page);
    }
}

int kv_view_learn(struct kv_view *view, struct peri_slice name, struct peri_slice value,
                  bool is_there)
{
    if (node_keymap_find(&view->learned, name) != NULL)
        return 0; /* slices of it are lent */
    struct node_keymap_entry *entry = node_keymap_entry_create(name, value, !is_there);
    if (entry == NULL)
        return PERI_ENOMEM;
    (void)node_keymap_put(&view->learned, entry);
    return 0;
}

void kv_view_learn_page(struct kv_view *view, struct kv_page *page)
{
    page->next_page = view->pages;
    view->pages = page;
}

struct kv_page *kv_page_create(const struct kv_page *like)
{
    struct kv_page *page = calloc(1, sizeof *page);
    if (page == NULL)
        return NULL;
    page->count_max = like->count_max;
    if (peri_buffer_append(&page->from, like->from.data, like->from.size) == 0 &&
        peri_buffer_append(&page->to, like->to.data, like->to.size) == 0)
        return page;
    kv_page_close(page);
    return NULL;
}

void kv_page_close(struct kv_page *page)
{
    if (page == NULL)
        return;
    peri_buffer_deinit(&page->from);
    peri_buffer_deinit(&page->to);
    peri_buffer_deinit(&page->pairs);
    peri_buffer_deinit(&page->next);
    free(page);
}

/* ---- keys ---- */

/* Every read counts, wherever the answer comes from and in whatever pages: all replicas stop at the
 * same one. */
int kv_view_count(struct kv_view *view, size_t bytes)
{
    view->read_bytes += bytes;
    return view->read_bytes > KV_READ_MAX ? PERI_ETOOBIG : 0;
}

/* What was written or learned; the source is asked for what was neither. 1, 0 or as the source. */
static int find(struct kv_view *view, struct peri_slice name, struct peri_slice *value)
{
    const struct node_keymap_entry *entry =
        view->is_parted ? node_keymap_find(&view->part, name) : NULL;
    if (entry == NULL)
        entry = node_keymap_find(&view->written, name);
    if (entry == NULL)
        entry = node_keymap_find(&view->learned, name);
    if (entry == NULL)
        return view->source.get(view->source.data, name, value);
    *value = node_keymap_value(entry);
    return !entry->is_deleted;
}

int kv_view_get(struct kv_view *view, const struct kv_name *name, struct peri_slice *value)
{
    *value = peri_slice_of(NULL, 0);
    int is_there = find(view, kv_name_slice(name), value);
    int rc = is_there >= 0 ? kv_view_count(view, name->size + value->size) : is_there;
    return rc == 0 ? is_there : rc;
}

void kv_view_want(struct kv_view *view, const struct kv_name *name)
{
    struct peri_slice value;
    (void)find(view, kv_name_slice(name), &value); /* a failure comes again when it is read */
}

static int write_entry(struct kv_view *view, const struct kv_name *name, struct peri_slice value,
                       bool is_deleted)
{
    if (view->written_bytes + name->size + value.size > KV_EFFECT_MAX)
        return PERI_ETOOBIG;
    struct node_keymap_entry *entry =
        node_keymap_entry_create(kv_name_slice(name), value, is_deleted);
    if (entry == NULL)
        return PERI_ENOMEM;
    entry->is_brief = kv_name_is_due(name);
    view->written_bytes += name->size + value.size;
    free(node_keymap_put(view->is_parted ? &view->part : &view->written, entry));
    return 0;
}

void kv_view_begin_part(struct kv_view *view)
{
    PERI_ASSERT(!view->is_parted);
    view->is_parted = true;
    view->read_bytes = view->written_bytes = 0;
    view->told_before = view->told.bytes;
}

void kv_view_end_part(struct kv_view *view, bool stays)
{
    struct node_keymap_entry *entry = stays ? view->part.heads[0] : NULL;
    view->is_parted = false;
    if (!stays)
        node_keytail_cut(&view->told, view->told_before);
    if (entry == NULL) {
        node_keymap_clear(&view->part);
        return;
    }
    view->part = (struct node_keymap){.heads = {NULL}};
    while (entry != NULL) {
        struct node_keymap_entry *next = entry->next[0];
        free(node_keymap_put(&view->written, entry));
        entry = next;
    }
}

int kv_view_put(struct kv_view *view, const struct kv_name *name, struct peri_slice value)
{
    return write_entry(view, name, value, false);
}

int kv_view_delete(struct kv_view *view, const struct kv_name *name)
{
    return write_entry(view, name, peri_slice_of(NULL, 0), true);
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 32);
}

uint64_t kv_view_hash(const struct kv_view *view, uint64_t before)
{
    struct node_keytail_place place = {.chunk = NULL};
    struct node_keytail_item item;
    uint64_t hash = before;
    for (const struct node_keymap_entry *entry = view->written.heads[0]; entry != NULL;
         entry = entry->next[0]) {
        hash = mix(hash, entry->hash);
        hash = mix(hash, node_keymap_hash(node_keymap_value(entry)) + entry->is_deleted);
    }
    while (node_keytail_next(&view->told, &place, &item))
        hash = mix(hash, node_keymap_hash(item.bytes));
    return hash;
}

int kv_view_tell(struct kv_view *view, uint64_t tag, uint64_t hash, size_t written)
{
    if (view->written_bytes + written > KV_EFFECT_MAX)
        return PERI_ETOOBIG;
    view->written_bytes += written;
    return node_keytail_append(&view->told, tag, hash, peri_buffer_slice(&view->scratch));
}

/* ---- walks ---- */

/* Bounds as a page has them, without a copy. */
static struct peri_buffer lend(const struct kv_name *name)
{
    return (struct peri_buffer){(char *)(uintptr_t)name->data, name->size, name->size};
}

static bool is_same(const struct peri_buffer *a, const struct peri_buffer *b)
{
    return peri_slice_compare(peri_buffer_slice(a), peri_buffer_slice(b)) == 0;
}

static int find_page(struct kv_walk *walk)
{
    struct kv_view *view = walk->view;
    const struct kv_page wanted = {
        .from = lend(&walk->from), .to = lend(&walk->to), .count_max = walk->count_max};
    for (const struct kv_page *page = view->pages; page != NULL; page = page->next_page)
        if (page->count_max == wanted.count_max && is_same(&page->from, &wanted.from) &&
            is_same(&page->to, &wanted.to)) {
            walk->page = page;
            walk->at = 0;
            walk->left = page->count;
            return 0;
        }
    return view->source.range(view->source.data, &wanted);
}

/* The next pair of the source; the page behind the last one of a page. */
static int next_pair(struct kv_walk *walk)
{
    walk->name = peri_slice_of(NULL, 0);
    while (walk->left == 0) {
        if (walk->page != NULL && !walk->page->is_more)
            return 0;
        if (walk->page != NULL) {
            struct peri_slice next = peri_buffer_slice(&walk->page->next);
            PERI_ASSERT(next.size <= KV_NAME_MAX); /* it may be a name and a 00 behind it */
            memcpy(walk->from.data, next.data, next.size);
            walk->from.size = next.size;
        }
        int rc = find_page(walk);
        if (rc != 0)
            return rc;
    }
    walk->left--;
    int rc = store_chunk_next(peri_buffer_slice(&walk->page->pairs), &walk->at, &walk->name,
                              &walk->value);
    return rc == 0 ? 0 : PERI_ECORRUPT;
}

/* The entry, if it is inside: what is behind may go while the walk goes on. */
static struct node_keymap_entry *inside(const struct kv_walk *walk, struct node_keymap_entry *entry)
{
    bool is_inside =
        entry != NULL && peri_slice_compare(node_keymap_key(entry), kv_name_slice(&walk->to)) < 0;
    return is_inside ? entry : NULL;
}

void kv_walk_begin(struct kv_walk *walk, struct kv_view *view, const struct kv_name *from,
                   const struct kv_name *to, uint32_t count)
{
    *walk = (struct kv_walk){.view = view, .from = *from, .to = *to, .count_max = count};
    walk->own = inside(walk, node_keymap_seek(&view->written, kv_name_slice(from)));
}

int kv_walk_next(struct kv_walk *walk, struct peri_slice *name, struct peri_slice *value)
{
    for (;;) {
        int rc = walk->name.data == NULL ? next_pair(walk) : 0;
        if (rc != 0)
            return rc;
        const struct node_keymap_entry *own = walk->own;
        if (own == NULL && walk->name.data == NULL)
            return 0;
        int order = own == NULL ? 1
                    : walk->name.data == NULL
                        ? -1
                        : peri_slice_compare(node_keymap_key(own), walk->name);
        *name = order <= 0 ? node_keymap_key(own) : walk->name;
        *value = order <= 0 ? node_keymap_value(own) : walk->value;
        if (order <= 0)
            walk->own = inside(walk, own->next[0]);
        if (order >= 0)
            walk->name = peri_slice_of(NULL, 0);
        if (order <= 0 && own->is_deleted)
            continue;
        rc = kv_view_count(walk->view, name->size + value->size);
        return rc == 0 ? 1 : rc;
    }
}
