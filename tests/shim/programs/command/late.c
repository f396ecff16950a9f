// A library that does not, and takes the first one's signal.
#include <signal.h>
#include <stddef.h>

static void late_handler(int signal) { (void)signal; }

void late_start(void) {
    struct sigaction action = {.sa_handler = late_handler};
    sigaction(SIGSEGV, &action, NULL);
}
