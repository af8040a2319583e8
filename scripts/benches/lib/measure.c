/* measure.c - runs a shell command and writes what it took to a file: wall seconds, processor
 * seconds and peak memory of the largest process in KiB.
 *
 * A small process of its own, because a child's peak begins with that of the process it was forked
 * from. Usage: measure FILE COMMAND; ends with the command's exit code. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    FILE *file = fopen(argv[1], "w");
    double start = now();
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", argv[2], (char *)NULL);
        _exit(127);
    }
    int status = 0;
    struct rusage usage;
    if (file == NULL || child < 0 || wait4(child, &status, 0, &usage) < 0)
        return 2;
    fprintf(file, "%.6f %.6f %ld\n", now() - start,
            seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime), usage.ru_maxrss);
    return fclose(file) == 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
