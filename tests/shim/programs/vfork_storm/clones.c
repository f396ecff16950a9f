/* Children by libc's clone() that share their parent's memory and not its actions: what they set is theirs. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int read_back;

static void handler(int signal) { (void)signal; }

static int child(void *program) {
    struct sigaction action;
    signal(SIGUSR1, SIG_IGN);
    sigaction(SIGUSR1, NULL, &action);
    read_back = action.sa_handler == SIG_IGN;
    if (program != NULL)
        execl("/bin/sh", "sh", "-c", "kill -USR1 $$; exit 3", (char *)NULL);
    _exit(4);
}

int main(void) {
    static const int flags[] = {CLONE_VM | CLONE_VFORK | SIGCHLD, CLONE_VM | SIGCHLD};
    enum { STACK = 1 << 20 };
    char *stack = malloc(STACK);
    for (int round = 0; round < 4; round++) {
        struct sigaction action;
        int status = 0;
        pid_t process;
        signal(SIGUSR1, handler);
        process = clone(child, stack + STACK, flags[round % 2], round < 2 ? (void *)"" : NULL);
        waitpid(process, &status, 0);
        sigaction(SIGUSR1, NULL, &action);
        printf("child: %d, status %#x; parent: %s\n", read_back, (unsigned)status,
               action.sa_handler == handler ? "unchanged" : "changed");
        signal(SIGUSR1, SIG_DFL); /* The parent's own sets count again. */
        sigaction(SIGUSR1, NULL, &action);
        printf("then: %s\n", action.sa_handler == SIG_DFL ? "default" : "not set");
    }
    return 0;
}
