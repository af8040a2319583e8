/* view.h - what one command or query sees of the keys on disk, and what it writes.
 *
 * A read that memory cannot answer at once ends the run with KV_LATER. Its host learns the answer,
 * and the run begins again from nothing: it comes further each time, for what was learned stays.
 * So commands are straight functions, although keys are read in the background.
 *
 *      run --get--> written by the run? learned before? --> the source: at once, absent or KV_LATER
 *
 * What a run writes stays here until the host takes it. All slices that reads give are lent until
 * the view is cleared, or until the run writes the same key. Pure. */
#ifndef PERI_KV_VIEW_H
#define PERI_KV_VIEW_H

#include "base/buffer.h"
#include "base/error.h"
#include "kv/layout.h"
#include "node/keymap.h"
#include "node/keytail.h"

/* The answer comes later (the system's EAGAIN): the run has to be begun again. */
#define KV_LATER (-11)

/* Keys in order: from the first that is not below from, up to and without to. */
struct kv_page {
    struct kv_page *next_page;
    struct peri_buffer from, to;
    uint32_t count_max, count;
    struct peri_buffer pairs; /* as store/chunk.h has them */
    bool is_more;             /* they go on at next */
    struct peri_buffer next;
};

/* Where keys come from. */
struct kv_source {
    /* Reads a key. 1: *value is what it holds, lent until the end of the run; 0: it is not there;
     * KV_LATER, after which the host says kv_view_learn; PERI_ENOMEM. */
    int (*get)(void *data, struct peri_slice name, struct peri_slice *value);
    /* Asks for the pairs of a page, whose bounds and count_max are set; lent for the call.
     * KV_LATER, after which the host says kv_view_learn_page; PERI_ENOMEM. */
    int (*range)(void *data, const struct kv_page *page);
    void *data;
};

/* Starts zeroed but for its source; ended by kv_view_clear. */
struct kv_view {
    struct kv_source source;
    struct kv_engine *engine; /* of scripts (script.h), lent; NULL: there is none */
    struct node_keymap learned, written;
    struct node_keymap part; /* written since kv_view_begin_part */
    bool is_parted;
    struct kv_page *pages;
    size_t read_bytes, written_bytes; /* of this run */
    uint64_t hash;                    /* kv_meta.hash behind the last run that knew it */
    /* Events (history.h): the host's, lent for the run, of all revisions behind some one, or NULL;
     * the run's own, and how much of them stood there before a part. */
    const struct node_keytail *tail;
    struct node_keytail told;
    size_t told_before;
    uint64_t compacted; /* by this run, up to there; 0: it does not compact */
    bool has_searched;  /* all of the tail: the host had better have it laid */
    struct peri_buffer scratch;
};

/* Begins a run: what was learned stays, what was written goes. */
void kv_view_begin(struct kv_view *view);
/* Forgets all; the view is usable again. */
void kv_view_clear(struct kv_view *view);

/* Says what a key holds, or that it is not there. Errors: PERI_ENOMEM. */
int kv_view_learn(struct kv_view *view, struct peri_slice name, struct peri_slice value,
                  bool is_there);
/* Gives a page that was asked for with its answer. The view takes it. */
void kv_view_learn_page(struct kv_view *view, struct kv_page *page);
/* A page with copies of the bounds of another one; NULL without memory. */
struct kv_page *kv_page_create(const struct kv_page *like);
void kv_page_close(struct kv_page *page);

/* Reads a key: 1 when it is there, else 0. Errors: KV_LATER; PERI_ETOOBIG above KV_READ_MAX;
 * PERI_ENOMEM. */
int kv_view_get(struct kv_view *view, const struct kv_name *name, struct peri_slice *value);
/* Has a key read that the run will want for sure: so that many are read at once. */
void kv_view_want(struct kv_view *view, const struct kv_name *name);

/* Write. Errors: PERI_ETOOBIG above KV_EFFECT_MAX; PERI_ENOMEM. */
int kv_view_put(struct kv_view *view, const struct kv_name *name, struct peri_slice value);
int kv_view_delete(struct kv_view *view, const struct kv_name *name);
/* Tells the item in scratch, which counts as so many bytes written. Errors: as above. */
int kv_view_tell(struct kv_view *view, uint64_t tag, uint64_t hash, size_t written);
/* Counts bytes as read. Errors: PERI_ETOOBIG above KV_READ_MAX. */
int kv_view_count(struct kv_view *view, size_t bytes);

/* A hash of all that the run has written, and of what was before. */
uint64_t kv_view_hash(const struct kv_view *view, uint64_t before);

/* What is written from here on can be undone; what a part reads and writes is bounded by itself. No
 * walks until its end. */
void kv_view_begin_part(struct kv_view *view);
/* Ends a part, whose effect stays when it is to. */
void kv_view_end_part(struct kv_view *view, bool stays);

/* A walk over keys in order, with what the run has written itself. */
struct kv_walk {
    struct kv_view *view;
    struct kv_name from, to;
    uint32_t count_max;
    const struct kv_page *page; /* NULL: not asked for yet */
    size_t at;
    uint32_t left;                 /* pairs of the page */
    struct peri_slice name, value; /* its next one; name.data NULL: none is left */
    struct node_keymap_entry *own; /* the run's next one */
};

/* Begins a walk; the run does not write what lies in front of it while it goes on. count is how
 * many keys will be wanted at most, as far as that is known: pages are that long. */
void kv_walk_begin(struct kv_walk *walk, struct kv_view *view, const struct kv_name *from,
                   const struct kv_name *to, uint32_t count);
/* The next key: 1, or 0 at the end. Errors: as of kv_view_get. */
int kv_walk_next(struct kv_walk *walk, struct peri_slice *name, struct peri_slice *value);

#endif
