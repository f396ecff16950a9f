/* A library whose constructor sets handlers: of a library that a program needs, it runs before those of a
 * preloaded one. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void handler(int signal) {
    (void)signal;
    (void)!write(1, "handled\n", 8);
}

int early_is_linked;

__attribute__((constructor)) static void set(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGRTMAX, &action, NULL);
    raise(SIGUSR1);
}
