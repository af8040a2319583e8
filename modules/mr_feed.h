/* mr_feed.h - the words of a text, found some way ahead of where they are given to Lua.
 *
 * A word that is known in advance has the memory it needs on its way when its turn comes
 * (vm/recent.h). A line shows only a few, but those behind it lie in the same window of the input:
 * a feed goes on from line to line. It gives the words of a line that the one before it was
 * followed by, and starts anew where lines were left out, or the window has moved. */
#ifndef PERI_MODULES_MR_FEED_H
#define PERI_MODULES_MR_FEED_H

#include <lua.h>
#include <stdbool.h>

#include "mapreduce/record.h"
#include "mapreduce/token.h"
#include "vm/recent.h"

/* Words are found until FULL are waiting, whenever no more than LOW are left. */
enum { MR_FEED_FULL = 32, MR_FEED_LOW = 16 };

struct mr_feed {
    struct mr_words words; /* where the search goes on */
    const char *end;       /* of what is searched */
    unsigned given, found; /* words, both counted from a start: those in between are waiting */
    unsigned low;          /* look for more when so many are waiting; 0 at the end of the search */
    const char *done;      /* lines: the end of the latest one */
    uint64_t moves;        /* lines: of the window that done points into */
    struct vm_recent_word waiting[MR_FEED_FULL];
};

/* Looks the next words up, so that the memory they need is on its way when they are given. */
void mr_feed_look_ahead(struct mr_feed *feed, const struct vm_recent *recent);

/* Starts in front of the first word of the text from words on. */
void mr_feed_start(struct mr_feed *feed, const struct vm_recent *recent, struct mr_words words);

/* Goes on to the line data, a record's of input, and its words of letters: false when they are not
 * to be had from here, because it does not follow the line that was asked for last. */
bool mr_feed_goes_on(struct mr_feed *feed, const struct vm_recent *recent,
                     const struct mr_input *input, struct peri_slice data);

/* The next word that begins before end, or NULL. Lent until the next call. */
static inline const struct vm_recent_word *
mr_feed_next(struct mr_feed *feed, const struct vm_recent *recent, const char *end)
{
    if (feed->found - feed->given <= feed->low)
        mr_feed_look_ahead(feed, recent);
    const struct vm_recent_word *word = &feed->waiting[feed->given % MR_FEED_FULL];
    if (feed->given == feed->found || word->bytes.data >= end)
        return NULL;
    feed->given++;
    return word;
}

#endif
