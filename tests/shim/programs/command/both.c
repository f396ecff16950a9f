// Both libraries in one process. With an argument it raises that signal after the default is back;
// "wait" waits for one that ends it.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void early_start(void);
void late_start(void);

static void on_term(int signal) { (void)signal; }

int main(int count, char **arguments) {
    signal(SIGTERM, on_term);
    early_start();
    late_start();
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    if (count > 1 && strcmp(arguments[1], "wait") == 0) {
        sigset_t blocked;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGUSR1);
        sigprocmask(SIG_BLOCK, &blocked, NULL);
        raise(SIGUSR1);
        puts("waiting");
        fflush(stdout);
        for (;;)
            pause();
    }
    if (count > 1) {
        signal(atoi(arguments[1]), SIG_DFL);
        raise(atoi(arguments[1]));
    }
    return 3;
}
