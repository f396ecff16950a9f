/* A program that allows itself no system call but those of one function, and calls it: the kernel kills it for
 * any other. Exits with what the function returns. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALLOW(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int handled;

static void handler(int signal) {
    (void)signal;
    handled++;
}

static void only(int number) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(number),
        ALLOW(SYS_exit_group),
        ALLOW(SYS_rt_sigreturn),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

int main(int count, char **arguments) {
    static char room[65536];
    const char *what = count > 1 ? arguments[1] : "";
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    if (strcmp(what, "sigaction") == 0) {
        only(SYS_rt_sigaction);
        int failed = sigaction(SIGUSR1, &action, NULL);
        _exit(failed | sigaction(SIGUSR2, NULL, &action));
    }
    if (strcmp(what, "signal") == 0) {
        only(SYS_rt_sigaction);
        _exit(signal(SIGUSR1, handler) == SIG_ERR);
    }
    if (strcmp(what, "sigprocmask") == 0) {
        sigset_t all;
        sigfillset(&all);
        only(SYS_rt_sigprocmask);
        _exit(sigprocmask(SIG_BLOCK, &all, NULL));
    }
    if (strcmp(what, "ppoll") == 0) {
        struct timespec none = {0, 0};
        sigset_t mask;
        sigemptyset(&mask);
        only(SYS_ppoll);
        _exit(ppoll(NULL, 0, &none, &mask));
    }
    if (strcmp(what, "sigaltstack") == 0) {
        stack_t stack = {.ss_sp = room, .ss_size = sizeof room};
        only(SYS_sigaltstack);
        _exit(sigaltstack(&stack, NULL));
    }
    if (strcmp(what, "dlclose") == 0) {
        void *object = dlopen("libm.so.6", RTLD_NOW);
        only(SYS_munmap);
        _exit(dlclose(object));
    }
    if (strcmp(what, "execv") == 0) {
        only(SYS_execve);
        execl("/nonexistent", "nonexistent", (char *)NULL);
        _exit(errno != ENOENT);
    }
    if (strcmp(what, "delivery") == 0) {
        pid_t process = getpid(), thread = gettid();
        sigaction(SIGUSR1, &action, NULL);
        only(SYS_tgkill);
        syscall(SYS_tgkill, process, thread, SIGUSR1);
        _exit(handled != 1);
    }
    if (strcmp(what, "another") == 0) {
        only(SYS_rt_sigaction);
        _exit((int)syscall(SYS_getppid));
    }
    return 78;
}
