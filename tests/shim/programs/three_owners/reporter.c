/* A crash reporter as they are: takes the signals of crashes, chains to nobody, reports, and ends the process. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void report(int signo, siginfo_t *info, void *context) {
    (void)context;
    char line[80];
    int length = snprintf(line, sizeof line, "reporter: signal %d at %p\n", signo,
                          signo == SIGABRT ? NULL : info->si_addr);
    (void)!write(1, line, (size_t)length);
    _exit(99);
}

int reporter_install(void) {
    struct sigaction action = {.sa_sigaction = report, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int failed = 0;
    int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    for (unsigned n = 0; n < sizeof crashes / sizeof *crashes; n++)
        failed |= sigaction(crashes[n], &action, NULL);
    return failed;
}
