// Sends more than is queued. With an argument it fills its queue, and changes an action, for each line it reads.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void limit(rlim_t most) {
    struct rlimit limit = {.rlim_cur = most, .rlim_max = most};
    setrlimit(RLIMIT_SIGPENDING, &limit);
}

__attribute__((noinline)) static int flood(void) {
    union sigval value = {.sival_int = 7};
    int queued = 0, sent = 0;
    for (int n = 0; n < 3; n++)
        queued += sigqueue(getpid(), SIGRTMIN, value) < 0 && errno == EAGAIN;
    for (int n = 0; n < 2; n++)
        sent += pthread_sigqueue(pthread_self(), SIGRTMIN, value) == EAGAIN;
    int invalid = sigqueue(getpid(), 99, value) < 0 && errno == EINVAL;
    printf("%d refused, %d refused, %s, ", queued, sent, invalid ? "EINVAL" : "-");
    // Signal 0 is a question and needs no place.
    printf("%d\n", sigqueue(getpid(), 0, value));
    return 0;
}

int main(int count, char **arguments) {
    (void)arguments;
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    limit(count > 1 ? 1 : 0);
    if (count == 1)
        return flood();
    char line[16];
    union sigval value = {.sival_int = 7};
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        // Queued here, or refused because others of this user have filled it.
        sigqueue(getpid(), SIGRTMIN, value);
        signal(SIGUSR2, SIG_IGN);
        puts("filled");
        fflush(stdout);
    }
    return 0;
}
