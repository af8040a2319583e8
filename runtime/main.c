#include <stdio.h>

int main(void)
{
    (void)fputs("perilune: under construction in this commit\n", stderr);
    return 1;
}
