/* Children that share their parent's memory (vfork, posix_spawn) change their own dispositions and masks and
 * handle signals, while signals storm at the parent. What is the parent's stays so; nothing is lost.
 *
 * storm CHILDREN VALUES: the parent. storm child: says what it was started with.
 * Prints only what is the same in every run. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUMBERS 2 /* of real-time signals that carry values */

extern char **environ;

struct kernel_action {
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
};

/* Shared with the children that share memory. */
static volatile sig_atomic_t parent_pid, wrong, in_child, pings;
static volatile uint64_t next_value[NUMBERS];

static void must(int result, const char *what) {
    if (result != 0) {
        dprintf(1, "%s: %d %s\n", what, result, strerror(errno));
        _exit(1);
    }
}

/* Values 0, 1, 2, ... in order, each once, in the parent only. */
static void counts(int signo, siginfo_t *info, void *context) {
    (void)context;
    int which = signo - SIGRTMIN;
    int me = (int)syscall(SYS_getpid);
    if (me != parent_pid || info->si_code != SI_QUEUE)
        wrong++;
    else if ((uint64_t)info->si_value.sival_int != next_value[which]++)
        wrong++;
}

static void pinged(int signo) {
    (void)signo;
    pings++;
}

/* Installed by children for themselves. */
static void childs(int signo, siginfo_t *info, void *context) {
    (void)signo, (void)context;
    int me = (int)syscall(SYS_getpid);
    if (me == parent_pid || info->si_pid != me)
        wrong++;
    in_child++;
}

/* Signals whose dispositions the children change. */
static const int touched[] = {SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE, SIGCHLD, SIGTSTP, SIGWINCH};
#define TOUCHED (sizeof touched / sizeof *touched)

static void set(int signo, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_flags = flags};
    action.sa_sigaction = handler;
    sigaddset(&action.sa_mask, SIGTERM);
    must(sigaction(signo, &action, NULL), "sigaction");
}

/* All dispositions and the mask: past libc, and as the program reads them back. */
struct picture {
    struct kernel_action kernel[65];
    struct sigaction read[65];
    uint64_t kernel_mask;
    sigset_t mask;
};

static void look(struct picture *picture) {
    memset(picture, 0, sizeof *picture);
    for (int signo = 1; signo <= 64; signo++) {
        /* Not by syscall(3), which a library may answer. */
        register long size asm("r10") = 8;
        long result = SYS_rt_sigaction;
        asm volatile("syscall"
                     : "+a"(result)
                     : "D"((long)signo), "S"(0L), "d"(&picture->kernel[signo]), "r"(size)
                     : "rcx", "r11", "memory");
        must((int)result, "rt_sigaction");
        (void)!sigaction(signo, NULL, &picture->read[signo]);
    }
    must((int)syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &picture->kernel_mask, 8), "rt_sigprocmask");
    must(sigprocmask(SIG_BLOCK, NULL, &picture->mask), "sigprocmask");
}

/* libc writes the first 64 bits of a mask, and leaves the others as they are. */
static int same(const struct sigaction *one, const struct sigaction *other) {
    return one->sa_handler == other->sa_handler && one->sa_flags == other->sa_flags &&
           memcmp(&one->sa_mask, &other->sa_mask, 8) == 0;
}

static int compare(const struct picture *before) {
    static struct picture now;
    int changed = 0;
    look(&now);
    for (int signo = 1; signo <= 64; signo++) {
        if (memcmp(&now.kernel[signo], &before->kernel[signo], sizeof now.kernel[signo]) != 0) {
            changed++;
            dprintf(1, "signal %d: the kernel's action has changed: %#lx %#lx\n", signo,
                    now.kernel[signo].handler, now.kernel[signo].flags);
        }
        if (!same(&now.read[signo], &before->read[signo])) {
            changed++;
            dprintf(1, "signal %d: the action read has changed\n", signo);
        }
    }
    if (now.kernel_mask != before->kernel_mask || memcmp(&now.mask, &before->mask, 8) != 0) {
        changed++;
        dprintf(1, "the mask has changed\n");
    }
    return changed;
}

/* What a child does to itself before it starts a program, or ends. */
static void touch(int round) {
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    must(sigaction(SIGALRM, &ignore, NULL), "sigaction");
    set(SIGUSR2, childs, SA_SIGINFO | (round % 2 ? SA_RESETHAND : SA_RESTART));
    set(SIGWINCH, childs, SA_SIGINFO);
    struct sigaction back;
    if (sigaction(SIGUSR2, NULL, &back) != 0 || back.sa_sigaction != childs)
        wrong++;
    for (int which = 0; which < NUMBERS; which++)
        signal(SIGRTMIN + which, SIG_IGN);
    sigemptyset(&all);
    sigaddset(&all, SIGTERM);
    sigprocmask(SIG_SETMASK, &all, NULL);
    kill((int)syscall(SYS_getpid), SIGUSR2); /* handled by the child's handler, at once */
    signal(SIGUSR2, SIG_DFL);
    signal(SIGTSTP, SIG_IGN);
}

/* What a program finds that was started so: Ign and Blk of the signals below 32, and who they are. */
static int child(void) {
    uint32_t ignored = 0, handled = 0;
    for (int signo = 1; signo < 32; signo++) {
        struct sigaction action;
        if (sigaction(signo, NULL, &action) != 0 || action.sa_handler == SIG_DFL)
            continue;
        *(action.sa_handler == SIG_IGN ? &ignored : &handled) |= 1u << (signo - 1);
    }
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    uint32_t blocked = 0;
    for (int signo = 1; signo < 32; signo++)
        blocked |= (uint32_t)sigismember(&mask, signo) << (signo - 1);
    uint32_t seen[3] = {ignored, blocked, handled};
    return write(3, seen, sizeof seen) == sizeof seen ? 0 : 1;
}

static char *self[] = {"/proc/self/exe", "child", NULL};

/* One child; what it found is added to the tally, which must be the same for all. */
static void one(int round, uint32_t found[3]) {
    int ends[2];
    must(pipe(ends), "pipe");
    pid_t pid = 0;
    if (round % 3 == 2) {
        posix_spawnattr_t attributes;
        posix_spawn_file_actions_t files;
        sigset_t defaults, mask;
        sigemptyset(&defaults);
        sigaddset(&defaults, SIGINT), sigaddset(&defaults, SIGPIPE), sigaddset(&defaults, SIGUSR1);
        sigemptyset(&mask);
        sigaddset(&mask, SIGHUP);
        must(posix_spawnattr_init(&attributes), "posix_spawnattr_init");
        must(posix_spawnattr_setsigdefault(&attributes, &defaults), "setsigdefault");
        must(posix_spawnattr_setsigmask(&attributes, &mask), "setsigmask");
        must(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK), "setflags");
        must(posix_spawn_file_actions_init(&files), "posix_spawn_file_actions_init");
        must(posix_spawn_file_actions_adddup2(&files, ends[1], 3), "adddup2");
        must(posix_spawn(&pid, "/proc/self/exe", &files, &attributes, self, environ), "posix_spawn");
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&files);
    } else {
        pid = vfork();
        if (pid == 0) {
            touch(round);
            if (round % 3 == 1)
                _exit(17);
            dup2(ends[1], 3);
            execve(self[0], self, environ);
            _exit(127);
        }
    }
    if (pid <= 0)
        wrong++;
    close(ends[1]);
    uint32_t seen[3] = {0, 0, 0};
    ssize_t got;
    while ((got = read(ends[0], seen, sizeof seen)) < 0 && errno == EINTR)
        ;
    close(ends[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != (round % 3 == 1 ? 17 << 8 : 0) || got != (round % 3 == 1 ? 0 : (ssize_t)sizeof seen)) {
        dprintf(1, "child %d: status %#x, %zd bytes\n", round, status, got);
        wrong++;
    }
    if (round < 3)
        memcpy(found, seen, sizeof seen);
    else if (memcmp(found, seen, sizeof seen) != 0) {
        dprintf(1, "child %d: another one found %#x %#x %#x\n", round, seen[0], seen[1], seen[2]);
        wrong++;
    }
}

/* Sends the values, waiting where the queue is full, and plain signals between them. */
static void sender(int target, int values) {
    for (int value = 0; value < values; value++) {
        for (int which = 0; which < NUMBERS; which++)
            while (sigqueue(target, SIGRTMIN + which, (union sigval){.sival_int = value}) != 0) {
                if (errno != EAGAIN)
                    _exit(1);
                sched_yield();
            }
        if (value % 16 == 0)
            kill(target, SIGUSR1);
    }
    _exit(0);
}

int main(int count, char **arguments) {
    if (count == 2)
        return child();
    int children = atoi(arguments[1]), values = atoi(arguments[2]);
    static struct picture before;
    /* Descriptor 3 is the children's. */
    while (dup(0) < 3)
        ;
    parent_pid = getpid();
    for (int which = 0; which < NUMBERS; which++)
        set(SIGRTMIN + which, counts, SA_SIGINFO | SA_RESTART);
    signal(SIGUSR1, pinged);
    set(SIGUSR2, counts, SA_SIGINFO);
    signal(SIGQUIT, pinged);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGALRM);
    must(sigprocmask(SIG_BLOCK, &block, NULL), "sigprocmask");
    look(&before);
    pid_t storm = fork();
    if (storm == 0)
        sender(getppid(), values);
    uint32_t found[3][3];
    memset(found, 0, sizeof found);
    int changed = 0;
    for (int round = 0; round < children; round++) {
        one(round, found[round % 3]);
        if (round % 16 == 0)
            changed += compare(&before);
    }
    int status = 0;
    while (waitpid(storm, &status, 0) < 0 && errno == EINTR)
        ;
    /* The sender has sent everything: what is pending is delivered at the latest when this call returns. */
    changed += compare(&before);
    int last = pings;
    kill(getpid(), SIGUSR1);
    printf("sender %d, changed %d, wrong %d, handled in children %s, pinged %s\n", status, changed, (int)wrong,
           in_child == (children + 2) / 3 + (children + 1) / 3 ? "each" : "not each",
           pings > last ? "still" : "no more");
    for (int which = 0; which < NUMBERS; which++)
        printf("values of %d: %s\n", which, next_value[which] == (uint64_t)values ? "all" : "not all");
    for (int kind = 0; kind < 3; kind++)
        printf("kind %d found %#x %#x %#x\n", kind, found[kind][0], found[kind][1], found[kind][2]);
    for (unsigned n = 0; n < TOUCHED; n++)
        printf("%d: %s\n", touched[n],
               before.read[touched[n]].sa_handler == SIG_DFL   ? "default"
               : before.read[touched[n]].sa_handler == SIG_IGN ? "ignored"
                                                               : "handled");
    return wrong || changed || in_child == 0;
}
