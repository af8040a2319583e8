#include "mr_feed.h"

void mr_feed_look_ahead(struct mr_feed *feed, const struct vm_recent *recent)
{
    struct peri_slice word;
    while (feed->found - feed->given < MR_FEED_FULL) {
        if (!mr_words_next(&feed->words, &word)) {
            feed->low = 0;
            return;
        }
        feed->waiting[feed->found++ % MR_FEED_FULL] = vm_recent_expect(recent, word, feed->end);
    }
}

void mr_feed_start(struct mr_feed *feed, const struct vm_recent *recent, struct mr_words words)
{
    feed->words = words;
    feed->end = words.end;
    feed->given = feed->found = 0;
    feed->low = MR_FEED_LOW;
    mr_feed_look_ahead(feed, recent);
}

/* Leaves out the words before start. */
static void skip_to(struct mr_feed *feed, const char *start)
{
    while (feed->given != feed->found &&
           feed->waiting[feed->given % MR_FEED_FULL].bytes.data < start)
        feed->given++;
}

bool mr_feed_goes_on(struct mr_feed *feed, const struct vm_recent *recent,
                     const struct mr_input *input, struct peri_slice data)
{
    bool goes_on = mr_input_follows(input, feed->moves, feed->done, data);
    feed->done = data.data + data.size;
    feed->moves = input->moves;
    if (!goes_on) {
        feed->given = feed->found;
        return false;
    }
    skip_to(feed, data.data);
    if (feed->given == feed->found) {
        struct peri_slice lines = peri_slice_of(data.data, (size_t)(input->lines_end - data.data));
        mr_feed_start(feed, recent, mr_words_of(lines, &mr_class_letters));
    }
    return true;
}
