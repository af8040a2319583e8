#include "mr_seek.h"

#include <string.h>

#include "mapreduce/token.h"

static bool is_same(const struct mr_seek *seek, struct peri_slice needle)
{
    return needle.size == seek->needle_size && memcmp(needle.data, seek->needle, needle.size) == 0;
}

/* Searches one line by itself, and begins to look out for lines behind it. */
static size_t find_here(struct mr_seek *seek, struct peri_slice data, struct peri_slice needle)
{
    seek->needle_size = needle.size <= MR_SEEK_NEEDLE_MAX ? needle.size : 0;
    memcpy(seek->needle, needle.data, seek->needle_size);
    seek->clear = seek->done;
    seek->is_found = false;
    return mr_find(data, needle, 0);
}

/* Looks for the first place at or after clear that is before end. */
static void look_ahead(struct mr_seek *seek, const char *end, const char *lines_end)
{
    struct peri_slice needle = peri_slice_of(seek->needle, seek->needle_size);
    while (!seek->is_found && seek->clear < end) {
        size_t left = (size_t)(lines_end - seek->clear);
        struct peri_slice text =
            peri_slice_of(seek->clear, left < MR_SEEK_AHEAD ? left : MR_SEEK_AHEAD);
        size_t at = mr_find(text, needle, 0);
        seek->is_found = at != SIZE_MAX;
        if (seek->is_found)
            seek->clear += at;
        else /* it may still begin in the last bytes, which are not enough for all of it */
            seek->clear += text.size == left ? left : text.size - needle.size + 1;
    }
}

size_t mr_seek_find(struct mr_seek *seek, const struct mr_record *record, struct peri_slice needle)
{
    const struct mr_input *input = record->input;
    const char *start = record->data.data;
    const char *end = start + record->data.size;
    bool goes_on = mr_input_follows(input, seek->moves, seek->done, record->data) &&
                   seek->needle_size > 0 && is_same(seek, needle);
    seek->moves = input->moves;
    seek->done = end;
    if (!goes_on)
        return find_here(seek, record->data, needle);
    if (seek->clear < start) {
        seek->clear = start;
        seek->is_found = false;
    }
    look_ahead(seek, end, input->lines_end);
    bool is_here = seek->is_found && seek->clear < end &&
                   needle.size <= (size_t)(end - seek->clear); /* else it goes on behind the line */
    return is_here ? (size_t)(seek->clear - start) : SIZE_MAX;
}
