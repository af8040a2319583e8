#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { US_PER_MS = 1000, WARM_UP = 5 /* one part in */ };

uint64_t load_now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t load_cpu_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t load_digest(uint64_t digest, const void *command, size_t size)
{
    uint64_t first = size;
    memcpy(&first, command, size < sizeof first ? size : sizeof first);
    return (digest ^ first ^ size) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void propose(struct load *load, size_t proposer, uint64_t now_us)
{
    load->started_us[proposer] = now_us;
    load->propose(load, proposer, ++load->number);
}

bool load_start(struct load *load, const char *line)
{
    uint64_t ms = 0;
    if (sscanf(line, "load %zu %zu %" SCNu64, &load->proposers, &load->bytes, &ms) != 3 ||
        load->proposers == 0 || load->proposers > LOAD_PROPOSERS_MAX ||
        load->bytes < LOAD_BYTES_MIN || load->bytes > LOAD_BYTES_MAX || load->active > 0)
        return false;
    load->entries = load->failed = load->cpu_us = load->sample_count = 0;
    load->failure[0] = '\0';
    load->begin_us = load_now_us() + ms * US_PER_MS / WARM_UP;
    load->end_us = load->begin_us + ms * US_PER_MS;
    if (load->propose == NULL)
        return true;
    load->active = load->proposers;
    for (size_t i = 0; i < load->proposers; i++)
        propose(load, i, load_now_us());
    return true;
}

bool load_is_over(const struct load *load, uint64_t now_us)
{
    return now_us >= load->end_us && load->sample_count > 0;
}

void load_count(struct load *load, uint64_t now_us, uint64_t took_us, uint64_t entries)
{
    if (now_us < load->begin_us || load_is_over(load, now_us))
        return;
    if (now_us >= load->end_us)
        load->end_us = now_us + 1;
    if (load->sample_count == load->sample_capacity) {
        size_t capacity = 2 * load->sample_capacity + 4096;
        uint32_t *samples = realloc(load->samples, capacity * sizeof *samples);
        if (samples == NULL)
            abort();
        load->samples = samples;
        load->sample_capacity = capacity;
    }
    if (load->sample_count == 0)
        load->cpu_us = load_cpu_us();
    load->samples[load->sample_count++] = (uint32_t)took_us;
    load->entries += entries;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

void load_print(struct load *load)
{
    size_t count = load->sample_count;
    double seconds = (double)(load->end_us - load->begin_us) / 1e6;
    double cpu_us = (double)(load_cpu_us() - load->cpu_us);
    if (load->failed > 0) {
        printf("error %s\n", load->failure);
    } else {
        qsort(load->samples, count, sizeof load->samples[0], compare);
        printf("entries=%" PRIu64 " per_second=%.0f p50_us=%u p99_us=%u max_us=%u cpu_us=%.3f\n",
               load->entries, (double)load->entries / seconds, load->samples[count / 2],
               load->samples[(count - 1) * 99 / 100], load->samples[count - 1],
               cpu_us / (double)load->entries);
    }
    (void)fflush(stdout);
}

void load_done(struct load *load, size_t proposer, const char *failure)
{
    uint64_t now_us = load_now_us();
    if (failure != NULL) {
        load->failed++;
        (void)snprintf(load->failure, sizeof load->failure, "%s", failure);
    } else {
        load_count(load, now_us, now_us - load->started_us[proposer], 1);
    }
    if (!load_is_over(load, now_us) && load->failed == 0)
        propose(load, proposer, now_us);
    else if (--load->active == 0)
        load_print(load);
}
