// Linked statically, so that nothing can be preloaded.
#include <stdio.h>

int main(void) {
    puts("still here");
    return 4;
}
