/*
 * Checks of the C API, one per name, each in a process of its own: exits with 0, or says which line does not hold.
 */
#define _GNU_SOURCE
#include <sigplane.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define HOLDS(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);          \
            exit(1);                                                         \
        }                                                                    \
    } while (0)
#define IS(call, expected)                                                                \
    do {                                                                                  \
        int result_ = (call);                                                             \
        if (result_ != (expected)) {                                                      \
            fprintf(stderr, "line %d: %s is %d, %s\n", __LINE__, #call, result_,          \
                    sigplane_strerror(result_));                                          \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)
#define OK(call) IS(call, SIGPLANE_OK)
#define SECOND INT64_C(1000000000)

static volatile int destroyed, ran, ended;
static sigplane_subscription self;

static void destroy(void *user)
{
    (void)user;
    destroyed += 1;
}

static void count(const sigplane_event *event, void *user)
{
    HOLDS(event->size == sizeof *event);
    *(volatile int *)user += 1;
}

static int count_now(sigplane_delivery *delivery, void *user)
{
    HOLDS(delivery->size == sizeof *delivery);
    *(volatile int *)user += 1;
    return SIGPLANE_HANDLED;
}

/* All members of an event that was sent with a value. */
static void events(void)
{
    sigplane_subscription inbox;
    sigplane_event event, more[4];
    size_t taken = 99, i;
    int fd = -1;
    struct pollfd wait;

    OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR1) | SIGPLANE_SIGNAL(SIGRTMIN), NULL, &inbox));
    IS(sigplane_inbox_read(inbox, &event, 0), SIGPLANE_E_TIMEOUT);
    IS(sigplane_inbox_read(inbox, &event, 1000), SIGPLANE_E_TIMEOUT);
    OK(sigplane_inbox_fd(inbox, &fd));
    wait.fd = fd;
    wait.events = POLLIN;
    HOLDS(poll(&wait, 1, 0) == 0);
    OK(sigplane_raise_value(SIGUSR1, 0x123456789abcdefu));
    HOLDS(poll(&wait, 1, 0) == 1);
    OK(sigplane_inbox_read(inbox, &event, -1));
    HOLDS(event.size == 256 && event.signo == SIGUSR1 && event.code == SI_QUEUE && event.instances == 1);
    HOLDS(event.cause == SIGPLANE_CAUSE_QUEUE && event.fields == (SIGPLANE_HAS_SENDER | SIGPLANE_HAS_VALUE));
    HOLDS(event.pid == getpid() && event.uid == getuid() && event.value == 0x123456789abcdefu);
    HOLDS(event.tid == (int)syscall(SYS_gettid) && event.time_ns != 0);
    HOLDS(((siginfo_t *)event.siginfo)->si_signo == SIGUSR1 && ((siginfo_t *)event.siginfo)->si_pid == getpid());
    for (i = 0; i < 6; i++)
        OK(sigplane_send_value(getpid(), SIGRTMIN, i));
    OK(sigplane_inbox_drain(inbox, more, 4, &taken));
    HOLDS(taken == 4);
    for (i = 0; i < 4; i++)
        HOLDS(more[i].value == i);
    OK(sigplane_inbox_drain(inbox, more, 4, &taken));
    HOLDS(taken == 2 && more[1].value == 5);
    OK(sigplane_inbox_drain(inbox, more, 4, &taken));
    HOLDS(taken == 0);
    OK(sigplane_unsubscribe(inbox, NULL));
    IS(sigplane_inbox_read(inbox, &event, 0), SIGPLANE_E_HANDLE);
    IS(sigplane_unsubscribe(inbox, NULL), SIGPLANE_E_HANDLE);
}

/* Four contexts of one signal, by priority; destructors run once, and only of what was registered. */
static void contexts(void)
{
    sigplane_options options = SIGPLANE_OPTIONS_INIT;
    sigplane_subscription dispatcher, thread, immediate, inbox;
    sigplane_stats stats;
    volatile int on_dispatcher = 0, on_thread = 0, at_once = 0;
    int removal = -1;
    sigplane_event event;

    options.destroy = destroy;
    options.name = "four";
    OK(sigplane_subscribe_dispatcher(SIGPLANE_SIGNAL(SIGUSR1), &options, count, (void *)&on_dispatcher, &dispatcher));
    OK(sigplane_subscribe_thread(SIGPLANE_SIGNAL(SIGUSR1), &options, count, (void *)&on_thread, &thread));
    OK(sigplane_subscribe_immediate(SIGPLANE_SIGNAL(SIGUSR1), &options, count_now, (void *)&at_once, &immediate));
    OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR1), &options, &inbox));
    IS(sigplane_subscribe_dispatcher(SIGPLANE_SIGNAL(SIGKILL), &options, count, NULL, &self), SIGPLANE_E_UNCATCHABLE);
    HOLDS(destroyed == 0);

    OK(sigplane_raise(SIGUSR1));
    HOLDS(at_once == 1 && on_thread == 0);
    HOLDS(sigplane_poll() == 1 && on_thread == 1 && sigplane_poll() == 0);
    OK(sigplane_inbox_read(inbox, &event, -1));
    HOLDS(event.signo == SIGUSR1);
    while (on_dispatcher == 0) /* an event that is taken and not yet run is discarded by unsubscribe */
        sched_yield();
    OK(sigplane_stats_of(dispatcher, &stats));
    HOLDS(stats.taken == 1);
    OK(sigplane_unsubscribe(dispatcher, NULL)); /* waits until it is not running */
    HOLDS(on_dispatcher == 1 && destroyed == 1);
    OK(sigplane_unsubscribe(thread, NULL));
    HOLDS(destroyed == 2);
    OK(sigplane_unsubscribe(inbox, NULL));
    OK(sigplane_disarm(immediate));
    OK(sigplane_unsubscribe(immediate, &removal));
    HOLDS(removal == SIGPLANE_REMOVAL_RESTORED && destroyed == 3);
    IS(sigplane_disarm(immediate), SIGPLANE_E_HANDLE);
}

static int end_myself(sigplane_delivery *delivery, void *user)
{
    int removal = -1;
    sigplane_event event;
    (void)user;
    ran += 1;
    OK(sigplane_delivery_event(delivery, &event));
    HOLDS(event.signo == SIGUSR1 && delivery->context != NULL && delivery->tid == event.tid);
    HOLDS(((const siginfo_t *)delivery->info)->si_signo == SIGUSR1);
    IS(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR2), NULL, &self), SIGPLANE_IN_HANDLER);
    IS(sigplane_table_dump(-1), SIGPLANE_IN_HANDLER);
    IS(sigplane_wait(0), SIGPLANE_E_CANNOT_WAIT);
    OK(sigplane_unsubscribe(self, &removal));
    HOLDS(removal == SIGPLANE_REMOVAL_DEFERRED);
    IS(sigplane_unsubscribe(self, &removal), SIGPLANE_E_HANDLE);
    return SIGPLANE_HANDLED;
}

/* An immediate handler ends its own subscription; what must not be done in it is refused. */
static void inside_a_handler(void)
{
    sigplane_options options = SIGPLANE_OPTIONS_INIT;
    sigplane_subscription other;
    options.destroy = destroy;
    OK(sigplane_subscribe_immediate(SIGPLANE_SIGNAL(SIGUSR1), &options, end_myself, NULL, &self));
    OK(sigplane_raise(SIGUSR1));
    HOLDS(ran == 1);
    /* The next call that changes the table gives the signal back. */
    OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR2), NULL, &other));
    HOLDS(destroyed == 1);
    OK(sigplane_unsubscribe(other, NULL));
}

/* What came in a deferral runs at its end, in order, and inline and outline calls count the same depth. */
static void deferral(void)
{
    volatile int at_once = 0;
    int i;
    OK(sigplane_subscribe_immediate(SIGPLANE_SIGNAL(SIGRTMIN), NULL, count_now, (void *)&at_once, &self));
    sigplane_defer();
    sigplane_defer_slow();
    HOLDS(sigplane_is_deferred());
    for (i = 0; i < 40; i++)
        OK(sigplane_raise_value(SIGRTMIN, (uint64_t)i));
    sigplane_undefer();
    HOLDS(at_once == 0 && sigplane_is_deferred());
    IS(sigplane_wait(0), SIGPLANE_E_CANNOT_WAIT);
    OK(sigplane_defer_wait(-1));
    HOLDS(at_once == 40 && sigplane_is_deferred());
    IS(sigplane_defer_wait(0), SIGPLANE_E_TIMEOUT);
    OK(sigplane_raise(SIGRTMIN));
    HOLDS(at_once == 40);
    sigplane_undefer_slow();
    HOLDS(at_once == 41 && !sigplane_is_deferred());
    sigplane_undefer(); /* one too many does nothing */
    HOLDS(!sigplane_is_deferred());
    IS(sigplane_defer_wait(0), SIGPLANE_E_CANNOT_WAIT);
    sigplane_defer();
    HOLDS(sigplane_is_deferred());
    sigplane_undefer();
    OK(sigplane_unsubscribe(self, NULL));
}

struct meeting {
    sigplane_thread thread;
    sigplane_subscription subscription;
    pthread_barrier_t barrier;
    pthread_t who;
};

static void note(void *argument)
{
    struct meeting *meeting = (struct meeting *)argument;
    HOLDS(pthread_equal(pthread_self(), meeting->who));
    ran += 1;
}

static void note_end(void *argument)
{
    (void)argument;
    ended += 1;
}

static void *worker(void *argument)
{
    struct meeting *meeting = (struct meeting *)argument;
    meeting->who = pthread_self();
    OK(sigplane_thread_current(&meeting->thread));
    OK(sigplane_subscribe_thread(SIGPLANE_SIGNAL(SIGUSR1), NULL, count, (void *)&destroyed, &meeting->subscription));
    pthread_barrier_wait(&meeting->barrier);
    while (ran == 0)
        OK(sigplane_wait(-1));
    HOLDS(ran == 1 || ran == 2);
    while (ran == 1)
        OK(sigplane_wait(-1));
    sigplane_defer(); /* what is posted now is never run */
    pthread_barrier_wait(&meeting->barrier);
    pthread_barrier_wait(&meeting->barrier);
    return NULL;
}

/* Posting to a thread that waits, that ends first, that has ended; its subscription is nobody else's. */
static void threads(void)
{
    struct meeting meeting;
    sigplane_thread me, nobody = {{1, 2}};
    pthread_t thread;
    int tid = 0;

    OK(sigplane_thread_current(&me));
    OK(sigplane_thread_id(me, &tid));
    HOLDS(tid == (int)syscall(SYS_gettid));
    IS(sigplane_thread_id(nobody, &tid), SIGPLANE_E_THREAD_ENDED);
    pthread_barrier_init(&meeting.barrier, NULL, 2);
    HOLDS(pthread_create(&thread, NULL, worker, &meeting) == 0);
    pthread_barrier_wait(&meeting.barrier);
    IS(sigplane_unsubscribe(meeting.subscription, NULL), SIGPLANE_E_WRONG_THREAD);
    OK(sigplane_post_wait(meeting.thread, note, &meeting));
    HOLDS(ran == 1);
    OK(sigplane_post(meeting.thread, note, &meeting, note_end));
    pthread_barrier_wait(&meeting.barrier);
    HOLDS(ran == 2 && ended == 0);
    OK(sigplane_post(meeting.thread, note, &meeting, note_end));
    pthread_barrier_wait(&meeting.barrier);
    HOLDS(pthread_join(thread, NULL) == 0);
    HOLDS(ran == 2 && ended == 1);
    IS(sigplane_post(meeting.thread, note, &meeting, note_end), SIGPLANE_E_THREAD_ENDED);
    IS(sigplane_post_wait(meeting.thread, note, &meeting), SIGPLANE_E_THREAD_ENDED);
    HOLDS(ended == 1);
    OK(sigplane_unsubscribe(meeting.subscription, NULL)); /* it has ended with its thread */
    meeting.who = pthread_self();
    OK(sigplane_post_wait(me, note, &meeting));
    HOLDS(ran == 3);
}

static void *reader(void *argument)
{
    struct meeting *meeting = (struct meeting *)argument;
    sigplane_event event;
    int result;
    pthread_barrier_wait(&meeting->barrier);
    result = sigplane_inbox_read(meeting->subscription, &event, -1);
    /* It came while there was still an inbox, or not. */
    HOLDS(result == SIGPLANE_E_CLOSED || result == SIGPLANE_E_HANDLE);
    return NULL;
}

/* Ending an inbox that others read; many times, so that every moment is hit. */
static void closing(void)
{
    struct meeting meeting;
    int round, i;
    pthread_barrier_init(&meeting.barrier, NULL, 3);
    for (round = 0; round < 300; round++) {
        pthread_t readers[2];
        OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR1), NULL, &meeting.subscription));
        for (i = 0; i < 2; i++)
            HOLDS(pthread_create(&readers[i], NULL, reader, &meeting) == 0);
        pthread_barrier_wait(&meeting.barrier);
        OK(sigplane_unsubscribe(meeting.subscription, NULL));
        for (i = 0; i < 2; i++)
            HOLDS(pthread_join(readers[i], NULL) == 0);
    }
}

/* Waits that work for this thread interrupts. */
static void waits(void)
{
    int ends[2];
    uint32_t ready = 9;
    unsigned long arguments[6] = {0, 0, 0, 0, 0, 0};
    long result = -1;
    char byte = 0;

    HOLDS(pipe(ends) == 0);
    OK(sigplane_subscribe_thread(SIGPLANE_SIGNAL(SIGUSR1), NULL, count, (void *)&ran, &self));
    IS(sigplane_wait(0), SIGPLANE_E_TIMEOUT);
    IS(sigplane_wait_fd(ends[0], SIGPLANE_READABLE, 1000, &ready), SIGPLANE_E_TIMEOUT);
    OK(sigplane_wait_fd(ends[1], SIGPLANE_READABLE | SIGPLANE_WRITABLE, -1, &ready));
    HOLDS(ready == SIGPLANE_WRITABLE);
    IS(sigplane_wait_fd(ends[0], 0, 0, &ready), SIGPLANE_E_ARGUMENT);
    IS(sigplane_wait_fd(-1, SIGPLANE_READABLE, 0, &ready), SIGPLANE_E_OS);
    HOLDS(errno == EBADF);
    OK(sigplane_raise(SIGUSR1));
    OK(sigplane_wait(-1));
    HOLDS(ran == 1);
    OK(sigplane_raise(SIGUSR1));
    OK(sigplane_wait_fd(ends[0], SIGPLANE_READABLE, -1, &ready));
    HOLDS(ran == 2 && ready == 0);
    arguments[0] = (unsigned long)ends[0];
    arguments[1] = (unsigned long)&byte;
    arguments[2] = 1;
    OK(sigplane_raise(SIGUSR1));
    IS(sigplane_syscall(SYS_read, arguments, &result), SIGPLANE_E_INTERRUPTED);
    HOLDS(ran == 3);
    HOLDS(write(ends[1], "y", 1) == 1);
    OK(sigplane_syscall(SYS_read, arguments, &result));
    HOLDS(result == 1 && byte == 'y');
    arguments[0] = 9999;
    IS(sigplane_syscall(SYS_read, arguments, &result), SIGPLANE_E_OS);
    HOLDS(errno == EBADF);
    OK(sigplane_unsubscribe(self, NULL));
}

/* Copies, scalars, strings: what is done, where it ends, and nothing else is touched. */
static void accesses(void)
{
    unsigned char *pages = (unsigned char *)mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char buffer[64];
    sigplane_fault fault;
    uint8_t byte = 0;
    uint16_t half = 0;
    uint32_t word = 0;
    uint64_t wide = 0;
    size_t length = 0;

    HOLDS(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
    memset(pages, 'a', 4096);
    IS(sigplane_try_copy(buffer, pages + 4096 - 24, sizeof buffer, &fault), SIGPLANE_E_FAULT);
    HOLDS(fault.size == sizeof fault && fault.signo == SIGSEGV && fault.kind == SIGPLANE_FAULT_UNMAPPED);
    HOLDS(fault.access == SIGPLANE_ACCESS_READ && fault.has_address && fault.done == 24);
    HOLDS(fault.address == (uint64_t)(uintptr_t)(pages + 4096) && buffer[23] == 'a' && fault.pc != 0);
    IS(sigplane_try_copy(pages + 4090, buffer, sizeof buffer, &fault), SIGPLANE_E_FAULT);
    HOLDS(fault.access == SIGPLANE_ACCESS_WRITE && fault.done == 6);
    IS(sigplane_try_copy(NULL, NULL, 1, NULL), SIGPLANE_E_FAULT);
    OK(sigplane_try_copy(NULL, NULL, 0, NULL));
    memcpy(buffer, "0123456789", 10);
    OK(sigplane_try_move(buffer + 2, buffer, 8, NULL));
    HOLDS(memcmp(buffer, "0101234567", 10) == 0);
    OK(sigplane_try_fill(pages, 0x7b, 16, NULL));
    HOLDS(pages[15] == 0x7b && pages[16] == 'a');
    IS(sigplane_try_fill(pages + 4095, 0, 2, &fault), SIGPLANE_E_FAULT);
    HOLDS(fault.done == 1);
    pages[100] = 0;
    OK(sigplane_try_strlen((const char *)pages + 16, 4096, &length, NULL));
    HOLDS(length == 84);
    OK(sigplane_try_write8(pages, 1, NULL));
    OK(sigplane_try_read8(pages, &byte, NULL));
    OK(sigplane_try_write16(pages, 0x202, NULL));
    OK(sigplane_try_read16(pages, &half, NULL));
    OK(sigplane_try_write32(pages, 0x3030303, NULL));
    OK(sigplane_try_read32(pages, &word, NULL));
    OK(sigplane_try_write64(pages, 0x404040404040404, NULL));
    OK(sigplane_try_read64(pages, &wide, NULL));
    HOLDS(byte == 1 && half == 0x202 && word == 0x3030303 && wide == 0x404040404040404);
    IS(sigplane_try_read64(pages + 4092, &wide, &fault), SIGPLANE_E_FAULT);
    IS(sigplane_try_write32((void *)(uintptr_t)0x8000000000000000u, 1, &fault), SIGPLANE_E_FAULT);
    HOLDS(fault.kind == SIGPLANE_FAULT_NON_CANONICAL);
    wide = 0x404040404040404;
    OK(sigplane_try_compare_exchange64(pages, &wide, 5, NULL));
    IS(sigplane_try_compare_exchange64(pages, &wide, 6, NULL), SIGPLANE_E_MISMATCH);
    HOLDS(wide == 5);
    word = 5;
    OK(sigplane_try_compare_exchange32(pages, &word, 7, NULL));
    IS(sigplane_try_compare_exchange32((void *)8, &word, 7, NULL), SIGPLANE_E_FAULT);
    IS(sigplane_try_read8(pages, NULL, NULL), SIGPLANE_E_NULL);
    IS(sigplane_try_read8(pages, (uint8_t *)8, NULL), SIGPLANE_E_POINTER);
}

static int step_over(sigplane_fault_context *context, void *user)
{
    uint64_t value = 0;
    (void)user;
    HOLDS(context->fault->signo == SIGTRAP && context->fault->kind == SIGPLANE_FAULT_BREAKPOINT);
    OK(sigplane_register_get(context, SIGPLANE_REG_ARG0, &value));
    OK(sigplane_register_set(context, SIGPLANE_REG_ARG0, value + 1));
    OK(sigplane_register_get(context, SIGPLANE_REG_PC, &value));
    HOLDS(value == context->fault->pc + 1); /* the processor is behind a breakpoint already */
    HOLDS(value == (uint64_t)((ucontext_t *)context->context)->uc_mcontext.gregs[REG_RIP]);
    IS(sigplane_register_get(context, 10, &value), SIGPLANE_E_ARGUMENT);
    IS(sigplane_register_set(context, -1, 0), SIGPLANE_E_ARGUMENT);
    OK(sigplane_skip(context, 1));
    ran += 1;
    return SIGPLANE_HANDLED;
}

/* Code of a JIT: int3, then returns its argument; the handler adds one and goes on. */
static void code(void)
{
    static const unsigned char text[] = {0xcc, 0x89, 0xf8, 0xc3};
    unsigned char *page = (unsigned char *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    sigplane_options options = SIGPLANE_OPTIONS_INIT;
    sigplane_code_range range, other;
    sigplane_region region;
    int (*function)(int);

    HOLDS(page != MAP_FAILED);
    memcpy(page, text, sizeof text);
    HOLDS(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    memcpy(&function, &page, sizeof function);
    options.destroy = destroy;
    OK(sigplane_code_range_add(page, sizeof text, &options, step_over, NULL, &range));
    IS(sigplane_code_range_add(page + 1, 1, &options, step_over, NULL, &other), SIGPLANE_E_RANGE_TAKEN);
    IS(sigplane_code_range_add(page, 0, &options, step_over, NULL, &other), SIGPLANE_E_EMPTY_RANGE);
    IS(sigplane_region_add((void *)UINTPTR_MAX, 2, &options, step_over, NULL, &region), SIGPLANE_E_EMPTY_RANGE);
    HOLDS(function(41) == 42 && ran == 1);
    region.id = range.id; /* a number of another kind */
    IS(sigplane_region_remove(region), SIGPLANE_E_HANDLE);
    OK(sigplane_code_range_remove(range));
    HOLDS(destroyed == 1);
    IS(sigplane_code_range_remove(range), SIGPLANE_E_HANDLE);
}

static void *read_until_closed(void *inbox)
{
    sigplane_event event;
    while (sigplane_inbox_read(*(sigplane_subscription *)inbox, &event, -1) == 0)
        continue;
    return NULL;
}

/* Threads are inside of calls whenever the process forks; the child does not wait for them, which it has not. */
static void forks_beside_calls(void)
{
    enum { READERS = 2, FORKS = 100 };
    sigplane_subscription inbox;
    pthread_t readers[READERS];
    int round, status = 0;

    OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR2), NULL, &inbox));
    for (round = 0; round < READERS; round++)
        HOLDS(pthread_create(&readers[round], NULL, read_until_closed, &inbox) == 0);
    for (round = 0; round < FORKS; round++) {
        pid_t child;
        OK(sigplane_raise(SIGUSR2)); /* keeps them coming and going */
        child = fork();
        if (child == 0) {
            OK(sigplane_unsubscribe(inbox, NULL));
            IS(sigplane_unsubscribe(inbox, NULL), SIGPLANE_E_HANDLE);
            _exit(9);
        }
        HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    }
    OK(sigplane_unsubscribe(inbox, NULL));
    for (round = 0; round < READERS; round++)
        HOLDS(pthread_join(readers[round], NULL) == 0);
}

/* Fork: the child goes on with all; vfork: the child changes nothing. */
static void processes(void)
{
    sigplane_subscription inbox, term;
    sigplane_event event;
    volatile int refused = 0;
    int status = 0;
    pid_t child;

    OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR1), NULL, &inbox));
    child = fork();
    if (child == 0) {
        OK(sigplane_raise(SIGUSR1));
        OK(sigplane_inbox_read(inbox, &event, 10 * SECOND));
        OK(sigplane_unsubscribe(inbox, NULL));
        _exit(event.pid == getpid() ? 7 : 8);
    }
    HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    child = vfork();
    if (child == 0) {
        refused = sigplane_unsubscribe(inbox, NULL);
        refused = refused == SIGPLANE_VFORK_CHILD ? sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGTERM), NULL, &term) : -1;
        _exit(0);
    }
    HOLDS(waitpid(child, &status, 0) == child);
    IS(refused, SIGPLANE_VFORK_CHILD);
    OK(sigplane_raise(SIGUSR1));
    OK(sigplane_inbox_read(inbox, &event, 10 * SECOND));
    child = fork();
    if (child == 0) {
        sigplane_restore_dispositions();
        raise(SIGUSR1); /* kills again */
        _exit(1);
    }
    HOLDS(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
}

/* The table as text, cut as snprintf cuts it. */
static void table(void)
{
    sigplane_options options = SIGPLANE_OPTIONS_INIT;
    char *text, cut[8];
    size_t needed = 0, again = 0;
    int ends[2];

    options.name = "a name to be found";
    OK(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGUSR1), &options, &self));
    OK(sigplane_subscribe_immediate(SIGPLANE_SIGNAL(SIGUSR1), NULL, end_myself, NULL, &self));
    OK(sigplane_table_text(NULL, 0, &needed));
    text = (char *)malloc(needed + 1);
    OK(sigplane_table_text(text, needed + 1, &again));
    HOLDS(needed == again && strlen(text) == needed && strstr(text, "a name to be found") != NULL);
    HOLDS(strstr(text, "checks") != NULL); /* the object of a callback without a name */
    OK(sigplane_table_text(cut, sizeof cut, &again));
    HOLDS(again == needed && strlen(cut) == 7 && memcmp(cut, text, 7) == 0);
    IS(sigplane_table_text(NULL, 1, NULL), SIGPLANE_E_NULL);
    IS(sigplane_table_text((char *)16, 100, NULL), SIGPLANE_E_POINTER);
    HOLDS(pipe(ends) == 0);
    OK(sigplane_table_dump(ends[1]));
    HOLDS(read(ends[0], cut, 7) == 7 && memcmp(cut, text, 7) == 0);
    IS(sigplane_table_dump(-1), SIGPLANE_E_OS);
    HOLDS(errno == EBADF);
    free(text);
}

/* Numbers that name no target are refused before anything is sent. */
static void sending(void)
{
    static const int nobody[] = {0, -1, -2, (int)0x80000000};
    size_t i;
    for (i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        IS(sigplane_send(nobody[i], SIGWINCH), SIGPLANE_E_ARGUMENT);
        IS(sigplane_send_value(nobody[i], SIGWINCH, 1), SIGPLANE_E_ARGUMENT);
        IS(sigplane_send_thread(nobody[i], SIGWINCH), SIGPLANE_E_ARGUMENT);
        IS(sigplane_send_thread_value(nobody[i], SIGWINCH, 1), SIGPLANE_E_ARGUMENT);
    }
    for (i = 0; i < 2; i++) {
        static const int none[] = {0, 65};
        IS(sigplane_send(getpid(), none[i]), SIGPLANE_E_SIGNAL);
        IS(sigplane_raise(none[i]), SIGPLANE_E_SIGNAL);
    }
    IS(sigplane_raise(-1), SIGPLANE_E_SIGNAL);
    IS(sigplane_raise(32), SIGPLANE_E_SIGNAL);
    IS(sigplane_send(0x7fffffff, SIGWINCH), SIGPLANE_E_NO_TARGET);
    IS(sigplane_send_thread(0x7fffffff, SIGWINCH), SIGPLANE_E_NO_TARGET);
    OK(sigplane_send(getpid(), SIGWINCH));
    OK(sigplane_send_thread((int)syscall(SYS_gettid), SIGWINCH));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*check)(void);
    } checks[] = {{"events", events},       {"contexts", contexts},   {"inside_a_handler", inside_a_handler},
                  {"deferral", deferral},   {"threads", threads},     {"closing", closing},
                  {"waits", waits},         {"accesses", accesses},   {"code", code},
                  {"processes", processes}, {"forks_beside_calls", forks_beside_calls}, {"table", table},         {"sending", sending}};
    size_t i;
    for (i = 0; argc == 2 && i < sizeof checks / sizeof *checks; i++)
        if (strcmp(argv[1], checks[i].name) == 0) {
            checks[i].check();
            return 0;
        }
    return 2;
}
