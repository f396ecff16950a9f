// A library that blocks everything for a while, as libraries do, and sets an alternate stack more than once.
#include <signal.h>
#include <stddef.h>

static char stack[65536];

void take_care(void) {
    sigset_t all, before;
    sigfillset(&all);
    for (int n = 0; n < 3; n++) {
        sigprocmask(SIG_SETMASK, &all, &before);
        sigprocmask(SIG_SETMASK, &before, NULL);
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
        sigaltstack(&alternate, NULL);
    }
}
