/* machine_store_walk.c - the next key of a walk over ctx.store: of what is on disk, read ahead in
 * pages, and of what the command has staged, also in front of the walk while it goes on. */
#include "store/chunk.h"
#include "vm/machine_parts.h"

static struct vm_store_page *page_of(struct vm_store *store, uint64_t walk)
{
    for (size_t i = 0; i < VM_STORE_PAGES; i++)
        if (store->pages[i].walk == walk)
            return &store->pages[i];
    return NULL;
}

void vm_walk_keep_page(struct vm_store *store)
{
    struct vm_store_page *page = page_of(store, store->read_walk);
    if (page == NULL)
        page = &store->pages[store->next_page++ % VM_STORE_PAGES];
    struct peri_buffer pairs = page->pairs, next = page->next;
    *page = (struct vm_store_page){.walk = store->read_walk,
                                   .pairs = store->read.found,
                                   .next = store->read.next,
                                   .is_more = store->read.is_more};
    store->read.found = pairs;
    store->read.next = next;
}

static bool is_before(struct peri_slice a, struct peri_slice b, bool is_reverse)
{
    int order = peri_slice_compare(a, b);
    return is_reverse ? order > 0 : order < 0;
}

/* Whether a key is one that the walk has not passed. */
static bool is_ahead(struct peri_slice key, struct peri_slice from, struct peri_slice to,
                     bool is_reverse)
{
    return is_reverse ? peri_slice_compare(key, to) < 0 : peri_slice_compare(key, from) >= 0;
}

/* The next pair from from to to that is not staged, when the page has it. Returns 1, or 0 when it
 * has to be read: from page->next on, or (no page) from the walk's own place. */
static int page_next(struct vm_store_page *page, const struct vm_walk *walk, struct peri_slice from,
                     struct peri_slice to, struct vm_pair *out)
{
    *out = (struct vm_pair){.key = {NULL, 0}};
    if (page == NULL)
        return 0;
    while (page->at < page->pairs.size) {
        size_t at = page->at;
        (void)store_chunk_next(peri_buffer_slice(&page->pairs), &at, &out->key, &out->value);
        if (is_ahead(out->key, from, to, walk->is_reverse))
            return 1; /* it stays, until the walk has passed it */
        page->at = at;
    }
    *out = (struct vm_pair){.key = {NULL, 0}};
    return !page->is_more;
}

/* The next pair that is staged, also a deletion. */
static const struct node_keymap_entry *staged_next(const struct vm_store *store,
                                                   struct peri_slice from, struct peri_slice to,
                                                   bool is_reverse)
{
    const struct node_keymap_entry *entry = is_reverse ? node_keymap_seek_below(&store->staged, to)
                                                       : node_keymap_seek(&store->staged, from);
    if (entry == NULL)
        return NULL;
    struct peri_slice key = node_keymap_key(entry);
    bool is_inside =
        is_reverse ? peri_slice_compare(key, from) >= 0 : peri_slice_compare(key, to) < 0;
    return is_inside ? entry : NULL;
}

/* Reads on for a walk. Returns as vm_store_range. */
static int read_page(struct vm_machine *machine, const struct vm_walk *walk, struct peri_slice from,
                     struct peri_slice to)
{
    enum { PAIRS_MAX = 256 };
    struct vm_store *store = &machine->store;
    const struct vm_store_page *page = page_of(store, walk->number);
    uint64_t count = walk->is_bound && walk->left < PAIRS_MAX ? walk->left : PAIRS_MAX;
    if (page != NULL && walk->is_reverse)
        to = peri_buffer_slice(&page->next);
    else if (page != NULL)
        from = peri_buffer_slice(&page->next);
    store->read_walk = walk->number;
    return vm_store_range(machine, from, to, (uint32_t)count, walk->is_reverse);
}

/* Moves a bound behind a key that was passed over. */
static int pass(struct vm_store *store, struct peri_slice key, bool is_reverse,
                struct peri_slice *from, struct peri_slice *to)
{
    store->bound.size = 0;
    int rc = peri_buffer_append(&store->bound, key.data, key.size);
    if (rc == 0 && !is_reverse)
        rc = peri_buffer_append(&store->bound, "", 1);
    *(is_reverse ? to : from) = peri_buffer_slice(&store->bound);
    return rc;
}

int vm_walk_next(struct vm_machine *machine, const struct vm_walk *walk, struct peri_slice from,
                 struct peri_slice to, struct vm_pair *out, uint64_t *passed)
{
    struct vm_store *store = &machine->store;
    *passed = 0;
    for (;;) {
        struct vm_pair stored;
        int rc = 1;
        while (rc == 1 && page_next(page_of(store, walk->number), walk, from, to, &stored) == 0) {
            rc = read_page(machine, walk, from, to);
            if (rc == 1)
                vm_walk_keep_page(store);
        }
        if (rc != 1)
            return rc;
        const struct node_keymap_entry *entry = staged_next(store, from, to, walk->is_reverse);
        struct peri_slice key = entry != NULL ? node_keymap_key(entry) : stored.key;
        bool is_stored = entry == NULL ||
                         (stored.key.data != NULL && is_before(stored.key, key, walk->is_reverse));
        if (is_stored || !entry->is_deleted) {
            *out = is_stored ? stored : (struct vm_pair){key, node_keymap_value(entry)};
            return 1;
        }
        ++*passed;
        rc = pass(store, key, walk->is_reverse, &from, &to);
        if (rc != 0)
            return rc;
    }
}
