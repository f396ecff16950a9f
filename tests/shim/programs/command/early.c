// A library that takes care: an alternate stack, and SA_ONSTACK.
#include <signal.h>
#include <stddef.h>

static char stack[65536];

static void early_handler(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    (void)context;
}

void early_start(void) {
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, NULL);
    struct sigaction action = {.sa_sigaction = early_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
}
