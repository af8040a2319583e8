#include "check/sequential.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "check/memo.h"

/* The items of a client, [from, to) of the list. */
struct client {
    uint32_t from, to;
};

struct frame {
    uint32_t client, item;
    uint32_t state; /* of the item's object, before */
    bool is_pure;
};

/* now has a word a client (its next place in the list), then a word an object (its state), and
 * perhaps a zero: it is the memo's key. */
struct check_sequential {
    struct check_part *part;
    struct client *clients;
    uint32_t client_count, object_count;
    uint32_t *list;    /* items, client by client, each in the order of calls */
    uint32_t *objects; /* of each item */
    uint64_t *now;
    uint32_t *words; /* now, as words of 32 bits */
    size_t width;    /* of now */
    struct frame *frames;
    size_t depth;
    struct check_memo memo;
    uint32_t at; /* the client to try next */
    bool is_settled, is_over;
    int result;
    uint64_t steps;
    size_t memory_max;
};

void check_sequential_close(struct check_sequential *search)
{
    if (search == NULL)
        return;
    check_memo_deinit(&search->memo);
    free(search->clients);
    free(search->list);
    free(search->objects);
    free(search->now);
    free(search->frames);
    free(search);
}

/* Numbers what items have in common, from 0, in the order of first appearance. */
struct numbering {
    uint32_t *numbers; /* by value: number + 1 */
    size_t size;
    uint32_t count;
};

static int number_of(struct numbering *numbering, check_value value, uint32_t *number)
{
    if (value >= numbering->size) {
        size_t size = ((size_t)value + 1) * 2;
        uint32_t *numbers = realloc(numbering->numbers, size * sizeof *numbers);
        if (numbers == NULL)
            return PERI_ENOMEM;
        memset(numbers + numbering->size, 0, (size - numbering->size) * sizeof *numbers);
        numbering->numbers = numbers;
        numbering->size = size;
    }
    if (numbering->numbers[value] == 0)
        numbering->numbers[value] = ++numbering->count;
    *number = numbering->numbers[value] - 1;
    return 0;
}

/* Finds out the clients and objects of the items. clients has one word an item. */
static int find_owners(struct check_sequential *search, const struct check_history *history,
                       uint32_t *clients)
{
    struct numbering processes = {0}, keys = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < search->part->count; i++) {
        const struct check_operation *operation =
            &history->operations[search->part->items[i].operation];
        rc = number_of(&processes, operation->process, &clients[i]);
        if (rc == 0)
            rc = number_of(&keys, operation->key, &search->objects[i]);
    }
    search->client_count = processes.count;
    search->object_count = keys.count;
    free(processes.numbers);
    free(keys.numbers);
    return rc;
}

/* Lists the items client by client. */
static void list_items(struct check_sequential *search, const uint32_t *clients)
{
    uint32_t at = 0;
    for (size_t i = 0; i < search->part->count; i++)
        search->clients[clients[i]].to++;
    for (uint32_t i = 0; i < search->client_count; i++) {
        search->clients[i].from = at;
        at += search->clients[i].to;
        search->clients[i].to = search->clients[i].from;
    }
    for (uint32_t i = 0; i < search->part->count; i++)
        search->list[search->clients[clients[i]].to++] = i;
}

static int start(struct check_sequential *search, const uint32_t *clients)
{
    search->width = ((size_t)search->client_count + search->object_count + 1) / 2 + 1;
    search->clients = calloc((size_t)search->client_count + 1, sizeof *search->clients);
    search->now = calloc(search->width, sizeof *search->now);
    if (search->clients == NULL || search->now == NULL)
        return PERI_ENOMEM;
    search->words = (uint32_t *)search->now;
    list_items(search, clients);
    for (uint32_t i = 0; i < search->client_count; i++)
        search->words[i] = search->clients[i].from;
    int rc = check_memo_init(&search->memo, search->width);
    for (uint32_t i = 0; rc == 0 && i < search->object_count; i++)
        rc = search->part->model->init(search->part->instance,
                                       &search->words[search->client_count + i]);
    return rc;
}

int check_sequential_create(struct check_sequential **out, const struct check_history *history,
                            struct check_part *part, size_t memory_max)
{
    struct check_sequential *search = calloc(1, sizeof *search);
    size_t count = part->count + 1;
    if (search == NULL)
        return PERI_ENOMEM;
    PERI_ASSERT(part->model != &check_model_external);
    *search = (struct check_sequential){.part = part, .memory_max = memory_max};
    uint32_t *clients = malloc(count * sizeof *clients);
    search->list = malloc(count * sizeof *search->list);
    search->objects = malloc(count * sizeof *search->objects);
    search->frames = malloc(count * sizeof *search->frames);
    bool is_made = clients != NULL && search->list != NULL && search->objects != NULL &&
                   search->frames != NULL;
    int rc = is_made ? find_owners(search, history, clients) : PERI_ENOMEM;
    if (rc == 0)
        rc = start(search, clients);
    free(clients);
    if (rc != 0) {
        check_sequential_close(search);
        return rc;
    }
    *out = search;
    return 0;
}

/* The item that a client would do next, or CHECK_NEVER. */
static uint32_t next_item(const struct check_sequential *search, uint32_t client)
{
    uint32_t at = search->words[client];
    return at < search->clients[client].to ? search->list[at] : CHECK_NEVER;
}

static uint32_t *state_of(const struct check_sequential *search, uint32_t item)
{
    return &search->words[search->client_count + search->objects[item]];
}

static int step(struct check_sequential *search, uint32_t item, uint32_t *next)
{
    const struct check_part *part = search->part;
    search->steps++;
    return part->model->step(part->instance, *state_of(search, item),
                             &part->effects[part->items[item].effect], next);
}

static void advance(struct check_sequential *search, uint32_t client, uint32_t item, uint32_t next,
                    bool is_pure)
{
    uint32_t *state = state_of(search, item);
    search->frames[search->depth++] = (struct frame){client, item, *state, is_pure};
    *state = next;
    search->words[client]++;
}

static void retreat(struct check_sequential *search)
{
    struct frame frame = search->frames[--search->depth];
    *state_of(search, frame.item) = frame.state;
    search->words[frame.client]--;
}

/* Undoes the last choice; the client behind it is tried next. */
static void go_back(struct check_sequential *search)
{
    while (search->depth > 0 && search->frames[search->depth - 1].is_pure)
        retreat(search);
    if (search->depth == 0) {
        search->is_over = true;
        search->result = CHECK_ILLEGAL;
        return;
    }
    retreat(search);
    search->at = search->frames[search->depth].client + 1;
}

/* Does all that changes nothing. When only operations of unknown outcome are left, it is over. */
static int settle(struct check_sequential *search)
{
    bool is_over = true;
    for (uint32_t client = 0; client < search->client_count; client++) {
        uint32_t item = next_item(search, client), next;
        while (item != CHECK_NEVER &&
               search->part->effects[search->part->items[item].effect].is_pure) {
            int rc = step(search, item, &next);
            if (rc < 0)
                return rc;
            if (rc == CHECK_REJECT)
                break;
            advance(search, client, item, next, true);
            item = next_item(search, client);
        }
        is_over = is_over && (item == CHECK_NEVER || search->part->items[item].end == CHECK_NEVER);
    }
    search->is_settled = true;
    search->at = 0;
    search->is_over = is_over;
    search->result = CHECK_LEGAL;
    return 0;
}

/* Does the next thing of a client, when that changes something and leads where nobody was. */
static int try_client(struct check_sequential *search, uint32_t client)
{
    uint32_t item = next_item(search, client), next;
    if (item == CHECK_NEVER || search->part->effects[search->part->items[item].effect].is_pure)
        return 0;
    int rc = step(search, item, &next);
    if (rc != CHECK_ACCEPT)
        return rc;
    if (search->part->items[item].end == CHECK_NEVER && next == *state_of(search, item))
        return 0;
    advance(search, client, item, next, false);
    if (check_memo_is_full(&search->memo) &&
        check_sequential_memory(search) + check_memo_memory(&search->memo) > search->memory_max) {
        search->is_over = true;
        search->result = CHECK_FULL;
        return 0;
    }
    rc = check_memo_add(&search->memo, search->now);
    if (rc == 1)
        search->is_settled = false;
    else
        retreat(search);
    return rc < 0 ? rc : 0;
}

int check_sequential_run(struct check_sequential *search, uint64_t steps)
{
    uint64_t until = search->steps + steps;
    int rc = 0;
    while (!search->is_over && rc >= 0) {
        if (search->steps >= until)
            return CHECK_MORE;
        if (!search->is_settled)
            rc = settle(search);
        else if (search->at == search->client_count)
            go_back(search);
        else
            rc = try_client(search, search->at++);
    }
    return rc < 0 ? rc : search->result;
}

uint64_t check_sequential_steps(const struct check_sequential *search)
{
    return search->steps;
}

size_t check_sequential_memory(const struct check_sequential *search)
{
    const struct check_model *model = search->part->model;
    return check_memo_memory(&search->memo) +
           search->part->count * (2 * sizeof *search->list + sizeof *search->frames) +
           (model->memory == NULL ? 0 : model->memory(search->part->instance));
}

size_t check_sequential_order_size(const struct check_sequential *search)
{
    return search->depth;
}

uint32_t check_sequential_order(const struct check_sequential *search, size_t i)
{
    return search->frames[i].item;
}
