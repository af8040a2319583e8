/* Runs a shell command and writes the peak memory of its largest process, in KiB, to a file.
 * A small process of its own, because a child's peak begins with that of the process it was forked
 * from. Usage: measure FILE COMMAND */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", argv[2], (char *)NULL);
        _exit(127);
    }
    int status = 0;
    struct rusage usage;
    FILE *file = fopen(argv[1], "w");
    if (child < 0 || wait4(child, &status, 0, &usage) < 0 || file == NULL)
        return 2;
    fprintf(file, "%ld\n", usage.ru_maxrss);
    return fclose(file) == 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
