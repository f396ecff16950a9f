/* A program whose library sets handlers before anybody else's constructor, and that sets one itself before even
 * that. */
#include <signal.h>
#include <stdio.h>

extern int early_is_linked;
static volatile int handled;

static void handler(int signal) { handled += signal == SIGUSR2; }

static void very_early(int count, char **arguments, char **environment) {
    (void)count, (void)arguments, (void)environment;
    signal(SIGUSR2, handler);
    raise(SIGUSR2);
}
__attribute__((section(".preinit_array"), used)) static void (*preinit)(int, char **, char **) = very_early;

int main(void) {
    early_is_linked = 1;
    raise(SIGUSR1);
    raise(SIGUSR2);
    raise(SIGRTMAX);
    printf("handled %d of two\n", handled);
    return 0;
}
