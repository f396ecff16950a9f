/*
 * sigplane.h: one owner of the process's signal table, for C99 and C++.
 *
 * Link with -lsigplane_compat (pkg-config: sigplane). Linux on x86-64.
 *
 *     static void reload(const sigplane_event *event, void *user) { ... }   // ordinary code
 *
 *     sigplane_subscription hup;
 *     int error = sigplane_subscribe_dispatcher(SIGPLANE_SIGNAL(SIGHUP), NULL, reload, NULL, &hup);
 *     if (error != SIGPLANE_OK)
 *         fprintf(stderr, "%s\n", sigplane_strerror(error));
 *
 * Rules that hold for every function:
 *
 * - It returns SIGPLANE_OK (0) or an error number, unless its text says otherwise. After an error nothing has
 *   changed, and results have not been written. Numbers are never reused. For SIGPLANE_E_OS, errno says more;
 *   otherwise errno is left as it was by functions that may be called in signal handlers.
 * - A pointer that it reads or writes is checked before anything else is done: SIGPLANE_E_NULL where there must
 *   be something, SIGPLANE_E_POINTER where there is no such memory. The check is of the memory and not of its
 *   owner: a pointer to other live memory is not found out. Function pointers are only compared with NULL.
 * - A handle is a number in a structure of its own. Any number may be passed: one that is not, or no longer,
 *   that of a live object is SIGPLANE_E_HANDLE. {0} is never valid.
 * - "Signal-safe: yes" means that it may be called in a signal handler. Thread-safe are all functions; where
 *   one is bound to a thread, its text says so.
 * - Callbacks return, and do not throw, longjmp, or exit the thread, unless their text says otherwise. An
 *   exception that leaves a callback ends the process. `user` is theirs. `options.destroy`, if given, is
 *   called with `user` once: when the callback will never be called again, in ordinary code, on a thread that
 *   uses sigplane. If the function that would have registered the callback fails, it is not called.
 * - Time-outs are in nanoseconds; negative ones never pass, 0 does not wait.
 */
#ifndef SIGPLANE_H
#define SIGPLANE_H

#include <sigplane/fixup.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIGPLANE_API extern __attribute__((visibility("default")))

/* ---- Version ------------------------------------------------------------------------------------------- */

#define SIGPLANE_VERSION 0x000100 /* major << 16 | minor << 8 | patch, of this header */
#define SIGPLANE_ABI 1            /* what both sides must have in common */

/* The version of the library that is loaded. Not an error number. Signal-safe: yes. */
SIGPLANE_API uint32_t sigplane_version(void);
/* The ABI of the library that is loaded: compare with SIGPLANE_ABI. Not an error number. Signal-safe: yes. */
SIGPLANE_API uint32_t sigplane_abi_version(void);

/* ---- Errors -------------------------------------------------------------------------------------------- */

/* 0 to 10 are those of sigplane/fixup.h: SIGPLANE_OK, SIGPLANE_FIXUP_..., SIGPLANE_VFORK_CHILD (8: the caller
 * shares its parent's memory and must not change the parent's table), SIGPLANE_IN_HANDLER (9: not possible
 * inside a signal handler), SIGPLANE_OTHER (10). */
typedef enum sigplane_error {
    SIGPLANE_E_NULL = 16,           /* a pointer is NULL that must not be */
    SIGPLANE_E_POINTER = 17,        /* a pointer to memory that is not there, or may not be written */
    SIGPLANE_E_HANDLE = 18,         /* no live object has this handle */
    SIGPLANE_E_SIZE = 19,           /* the `size` of a structure is not one that this library knows */
    SIGPLANE_E_ARGUMENT = 20,       /* a number out of range, or an unknown flag */
    SIGPLANE_E_SIGNAL = 21,         /* no such signal, or one that libc keeps for itself */
    SIGPLANE_E_EMPTY_SET = 22,      /* a set without a signal */
    SIGPLANE_E_UNCATCHABLE = 23,    /* SIGKILL or SIGSTOP */
    SIGPLANE_E_NEEDS_IMMEDIATE = 24,/* a signal of faults can only be handled in the immediate context */
    SIGPLANE_E_ZERO_CAPACITY = 25,  /* a queue that could never hold an event */
    SIGPLANE_E_EMPTY_RANGE = 26,    /* a range without an address, or beyond the end of the address space */
    SIGPLANE_E_RANGE_TAKEN = 27,    /* a range of code overlaps one that has a handler */
    SIGPLANE_E_WRONG_THREAD = 28,   /* the object belongs to another thread, which still runs */
    SIGPLANE_E_WRONG_CONTEXT = 29,  /* the subscription has another context */
    SIGPLANE_E_THREAD_ENDED = 30,   /* the thread has ended */
    SIGPLANE_E_TIMEOUT = 31,        /* the time has passed, and nothing has come */
    SIGPLANE_E_CLOSED = 32,         /* the subscription has ended meanwhile */
    SIGPLANE_E_CANNOT_WAIT = 33,    /* inside a deferral, a handler, or what runs at a safe point */
    SIGPLANE_E_INTERRUPTED = 34,    /* work has been run instead */
    SIGPLANE_E_FAULT = 35,          /* the memory access or the guarded call has faulted */
    SIGPLANE_E_MISMATCH = 36,       /* the word had another value */
    SIGPLANE_E_QUEUE_FULL = 37,     /* the receiver's signal queue is full: try later */
    SIGPLANE_E_NO_TARGET = 38,      /* no such process or thread */
    SIGPLANE_E_PERMISSION = 39,     /* not permitted to send to it */
    SIGPLANE_E_TOO_MANY = 40,       /* more live handles than the library can count (65,536) */
    SIGPLANE_E_OS = 41,             /* a system call has failed; see errno */
    SIGPLANE_E_PANIC = 42           /* a defect of the library, which was contained; please report it */
} sigplane_error;

/* A text of one line for an error number, whatever the number: never NULL, never to be freed.
 * Signal-safe: yes. */
SIGPLANE_API const char *sigplane_strerror(int error);

/* ---- Sets of signals ----------------------------------------------------------------------------------- */

/* A set is a uint64_t: signal n is bit n - 1. */
#define SIGPLANE_SIGNAL(n) (UINT64_C(1) << ((n) - 1))
/* SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS. */
#define SIGPLANE_SET_FAULTS UINT64_C(0x400004d8)

/* Every signal that can be handled here. Not an error number. Signal-safe: yes. */
SIGPLANE_API uint64_t sigplane_set_all(void);

/* ---- Events -------------------------------------------------------------------------------------------- */

/* sigplane_event.cause */
#define SIGPLANE_CAUSE_OTHER 0
#define SIGPLANE_CAUSE_USER 1          /* kill(2) */
#define SIGPLANE_CAUSE_THREAD 2        /* tgkill(2), raise(3) */
#define SIGPLANE_CAUSE_QUEUE 3         /* sigqueue(3) */
#define SIGPLANE_CAUSE_TIMER 4
#define SIGPLANE_CAUSE_MESSAGE_QUEUE 5
#define SIGPLANE_CAUSE_ASYNC_IO 6
#define SIGPLANE_CAUSE_SIGIO 7
#define SIGPLANE_CAUSE_KERNEL 8
#define SIGPLANE_CAUSE_FAULT 9
#define SIGPLANE_CAUSE_CHILD 10
#define SIGPLANE_CAUSE_POLL 11
#define SIGPLANE_CAUSE_SYSCALL 12

/* sigplane_event.fields: which members mean something. The others are 0. */
#define SIGPLANE_HAS_SENDER 0x01u  /* pid, uid */
#define SIGPLANE_HAS_VALUE 0x02u   /* value */
#define SIGPLANE_HAS_CHILD 0x04u   /* pid, uid, status; how is in code, CLD_... */
#define SIGPLANE_HAS_FAULT 0x08u   /* fault_kind */
#define SIGPLANE_HAS_ADDRESS 0x10u /* address */
#define SIGPLANE_HAS_TIMER 0x20u   /* timer_id, overrun */
#define SIGPLANE_HAS_POLL 0x40u    /* band, fd */
#define SIGPLANE_HAS_SYSCALL 0x80u /* syscall_number, syscall_arch */

/* One delivered signal, copied. 256 bytes, for ever. */
typedef struct sigplane_event {
    uint32_t size;           /* 256 */
    int32_t signo;
    int32_t code;            /* si_code */
    int32_t error;           /* si_errno */
    int32_t tid;             /* the thread that received it */
    uint32_t instances;      /* how many this stands for: more than 1 only with SIGPLANE_COALESCE */
    uint64_t time_ns;        /* of its arrival, on CLOCK_MONOTONIC */
    uint32_t cause;          /* SIGPLANE_CAUSE_... */
    uint32_t fields;         /* SIGPLANE_HAS_... */
    int32_t pid;
    uint32_t uid;
    uint64_t value;          /* sival_ptr; sival_int is its lower half */
    uint64_t address;
    uint32_t fault_kind;     /* SIGPLANE_FAULT_... */
    int32_t status;
    int64_t band;
    int32_t fd;
    int32_t timer_id;
    int32_t overrun;
    int32_t syscall_number;
    uint32_t syscall_arch;
    uint32_t reserved[7];
    uint64_t siginfo[16];    /* siginfo_t, as the kernel gave it */
} sigplane_event;

/* ---- Subscribing --------------------------------------------------------------------------------------- */

/* sigplane_options.flags */
#define SIGPLANE_OBSERVE 0x1u        /* only look: if nobody handles the signal, its default action is taken */
#define SIGPLANE_AFTER_LEGACY 0x2u   /* after the program's own action, not before it */
#define SIGPLANE_EDGE_TRIGGERED 0x4u /* the inbox's descriptor is for EPOLLET only, and cheaper */

/* sigplane_options.overflow */
#define SIGPLANE_BACKPRESSURE 0u /* the kernel keeps what does not fit: nothing is lost */
#define SIGPLANE_COALESCE 1u     /* merged with one that waits, and counted */
#define SIGPLANE_DROP_NEWEST 2u
#define SIGPLANE_DROP_OLDEST 3u

typedef void (*sigplane_destructor)(void *user);

/* How a callback is registered. Where options are NULL, SIGPLANE_OPTIONS_INIT holds. */
typedef struct sigplane_options {
    uint32_t size;               /* sizeof(sigplane_options) */
    uint32_t flags;
    int32_t priority;            /* higher goes first */
    uint32_t overflow;
    uint64_t capacity;           /* events that may wait, 1 to 65,536 */
    const char *name;            /* copied; NULL: made of the callback's symbol */
    sigplane_destructor destroy; /* or NULL */
    uint64_t reserved;           /* 0 */
} sigplane_options;

#define SIGPLANE_OPTIONS_INIT                                                                             \
    {                                                                                                     \
        (uint32_t)sizeof(sigplane_options), 0, 0, SIGPLANE_BACKPRESSURE, 128, NULL, NULL, 0               \
    }

typedef struct sigplane_subscription {
    uint64_t id;
} sigplane_subscription;

typedef void (*sigplane_handler)(const sigplane_event *event, void *user);

/* Runs `handler` on sigplane's dispatcher thread, one event after the other: ordinary code, which may allocate,
 * lock and print. The default action is suppressed.
 *
 * Errors: SIGPLANE_E_NULL (handler, result), _POINTER, _SIZE, _ARGUMENT, _SIGNAL, _EMPTY_SET, _UNCATCHABLE,
 * _NEEDS_IMMEDIATE, _ZERO_CAPACITY, _TOO_MANY, _OS; SIGPLANE_VFORK_CHILD, SIGPLANE_IN_HANDLER.
 * Signal-safe: no. */
SIGPLANE_API int sigplane_subscribe_dispatcher(uint64_t set, const sigplane_options *options,
                                               sigplane_handler handler, void *user,
                                               sigplane_subscription *result);

/* Runs `handler` on the calling thread, at its safe points: sigplane_poll(), the outermost
 * sigplane_undefer(), the alertable waits. It ends with the thread at the latest.
 *
 * Errors and safety: as sigplane_subscribe_dispatcher(). */
SIGPLANE_API int sigplane_subscribe_thread(uint64_t set, const sigplane_options *options,
                                           sigplane_handler handler, void *user,
                                           sigplane_subscription *result);

/* Puts events into a queue, to be read by sigplane_inbox_read() from any thread.
 *
 * Errors and safety: as sigplane_subscribe_dispatcher(). */
SIGPLANE_API int sigplane_subscribe_inbox(uint64_t set, const sigplane_options *options,
                                          sigplane_subscription *result);

/* sigplane_delivery.flags */
#define SIGPLANE_DELIVERY_FAULT 0x1u    /* a fault of the interrupted instruction, not sent by anybody */
#define SIGPLANE_DELIVERY_DEFERRED 0x2u /* held back by a deferral: there is no machine context */

/* What an immediate handler is given; valid until it returns. */
typedef struct sigplane_delivery {
    uint32_t size;
    int32_t signo;
    int32_t tid;
    uint32_t flags;
    const void *info;      /* const siginfo_t *, in place */
    void *context;         /* ucontext_t *, the interrupted code's; NULL if deferred */
    uint64_t reserved[2];
} sigplane_delivery;

/* What handlers in signal context say. */
#define SIGPLANE_PASS 0    /* not mine: the next is asked */
#define SIGPLANE_HANDLED 1 /* dealt with */

typedef int (*sigplane_immediate_handler)(sigplane_delivery *delivery, void *user);

/* Runs `handler` in the signal handler itself, at any instruction of any thread: it must be signal-safe
 * (signal-safety(7)) and return. errno is saved around it. Takes the signals of faults too; a fault that it
 * causes itself is contained and counts as SIGPLANE_PASS only for signals of faults.
 *
 * Errors and safety: as sigplane_subscribe_dispatcher(), without _NEEDS_IMMEDIATE and _ZERO_CAPACITY. */
SIGPLANE_API int sigplane_subscribe_immediate(uint64_t set, const sigplane_options *options,
                                              sigplane_immediate_handler handler, void *user,
                                              sigplane_subscription *result);

/* Copies a delivery into an event. Only inside the handler that was given the delivery.
 * Errors: SIGPLANE_E_NULL, _POINTER, _HANDLE (no delivery in progress). Signal-safe: yes. */
SIGPLANE_API int sigplane_delivery_event(const sigplane_delivery *delivery, sigplane_event *event);

/* *removal, what became of the kernel's actions */
#define SIGPLANE_REMOVAL_RESTORED 0   /* given back, or others remain subscribed */
#define SIGPLANE_REMOVAL_TAKEN_OVER 1 /* somebody else's by now, and left alone */
#define SIGPLANE_REMOVAL_DEFERRED 2   /* inside a handler: with the next call that changes the table */

/* Ends a subscription, quiescently: when it returns, the handler is not running and will not run; from inside
 * that handler itself, from its end on. Do not hold a lock that the handler takes. Readers of an inbox
 * return with SIGPLANE_E_CLOSED. `removal` may be NULL. A thread-context subscription is ended by its thread.
 *
 * Errors: SIGPLANE_E_HANDLE, _POINTER, _WRONG_THREAD; SIGPLANE_VFORK_CHILD.
 * Signal-safe: in immediate handlers. */
SIGPLANE_API int sigplane_unsubscribe(sigplane_subscription subscription, int *removal);

/* Stops it at once, for good, but leaves it in the table until sigplane_unsubscribe(). Not for thread-context
 * subscriptions.
 * Errors: SIGPLANE_E_HANDLE, _WRONG_CONTEXT. Signal-safe: yes. */
SIGPLANE_API int sigplane_disarm(sigplane_subscription subscription);

/* What a subscription's queue has seen; all 0 for the immediate context. */
typedef struct sigplane_stats {
    uint64_t queued, taken, dropped, discarded, waiting, deepest, panics, holding;
} sigplane_stats;

/* Errors: SIGPLANE_E_HANDLE, _NULL, _POINTER. Signal-safe: yes. */
SIGPLANE_API int sigplane_stats_of(sigplane_subscription subscription, sigplane_stats *stats);

/* ---- Inboxes ------------------------------------------------------------------------------------------- */

/* A descriptor that is readable while events wait: for poll(2) and epoll(7), not to be read or closed. It is
 * the inbox's until sigplane_unsubscribe().
 * Errors: SIGPLANE_E_HANDLE, _WRONG_CONTEXT, _NULL, _POINTER, _OS. Signal-safe: no. */
SIGPLANE_API int sigplane_inbox_fd(sigplane_subscription inbox, int *fd);

/* Takes the oldest event, waiting for it at most `timeout_ns`.
 * Errors: SIGPLANE_E_HANDLE, _WRONG_CONTEXT, _NULL, _POINTER, _TIMEOUT, _CLOSED. Signal-safe: no. */
SIGPLANE_API int sigplane_inbox_read(sigplane_subscription inbox, sigplane_event *event,
                                     int64_t timeout_ns);

/* Takes the events that are there, at most `capacity`; their number into *count, which may be 0.
 * Errors: SIGPLANE_E_HANDLE, _WRONG_CONTEXT, _NULL, _POINTER. Signal-safe: no. */
SIGPLANE_API int sigplane_inbox_drain(sigplane_subscription inbox, sigplane_event *events,
                                      size_t capacity, size_t *count);

/* ---- Threads, deferral, safe points -------------------------------------------------------------------- */

/* The head of what sigplane knows of a thread, which the functions below touch. Written by its own thread. */
struct sigplane_thread_head {
    uint32_t attention; /* not 0: something waits for the thread */
    uint32_t state;
    uint32_t depth;     /* of its deferrals */
};

/* Behind the inline functions. Not to be called otherwise. */
SIGPLANE_API ptrdiff_t sigplane_thread_offset(void);
SIGPLANE_API void sigplane_defer_slow(void);
SIGPLANE_API void sigplane_undefer_slow(void);
SIGPLANE_API size_t sigplane_poll_slow(void);

/* Where in a thread's storage the address of its head is; one word for each object. 0: not asked yet. */
__attribute__((weak, visibility("hidden"))) ptrdiff_t sigplane_thread_word = 0;

static inline volatile struct sigplane_thread_head *sigplane_thread_self(void)
{
    volatile struct sigplane_thread_head *head;
    if (__builtin_expect(sigplane_thread_word == 0, 0))
        sigplane_thread_word = sigplane_thread_offset();
    __asm__ volatile("{movq %%fs:(%1), %0|mov %0, qword ptr fs:[%1]}"
                     : "=r"(head)
                     : "r"(sigplane_thread_word));
    return head;
}

/* Enters a critical section: until the outermost sigplane_undefer(), no asynchronous handler of sigplane runs on
 * this thread. Nothing is lost. Faults are delivered all the same. Nests. A few instructions, no system call.
 * Attaches the thread the first time. Signal-safe: on an attached thread. */
static inline void sigplane_defer(void)
{
    volatile struct sigplane_thread_head *head = sigplane_thread_self();
    if (__builtin_expect(head == NULL, 0)) {
        sigplane_defer_slow();
        return;
    }
    head->depth = head->depth + 1;
    __asm__ volatile("" : : : "memory");
}

/* Leaves it. The outermost delivers what came meanwhile, in order, and is a safe point. One without a
 * sigplane_defer() does nothing. Signal-safe: on an attached thread; it is no safe point there. */
static inline void sigplane_undefer(void)
{
    volatile struct sigplane_thread_head *head = sigplane_thread_self();
    uint32_t depth;
    if (__builtin_expect(head == NULL || head->depth == 0, 0)) {
        sigplane_undefer_slow();
        return;
    }
    __asm__ volatile("" : : : "memory");
    depth = head->depth - 1;
    head->depth = depth;
    __asm__ volatile("" : : : "memory");
    if (__builtin_expect(depth == 0 && head->attention != 0, 0))
        (void)sigplane_poll_slow();
}

/* Whether the thread is in a deferral. Signal-safe: yes. */
static inline int sigplane_is_deferred(void)
{
    volatile struct sigplane_thread_head *head = sigplane_thread_self();
    return head != NULL && head->depth != 0;
}

/* A safe point: runs the thread-context handlers and posted calls that wait for this thread; returns how many.
 * Runs nothing inside a deferral, a handler, or another safe point. With nothing to do, two loads.
 * Signal-safe: no. */
static inline size_t sigplane_poll(void)
{
    volatile struct sigplane_thread_head *head = sigplane_thread_self();
    if (__builtin_expect(head == NULL || head->attention == 0, 1))
        return 0;
    return sigplane_poll_slow();
}

/* Leaves the deferral, however deep, waits until a handler has run on this thread, and enters it again: the
 * deferral's sigsuspend(2), without a gap. What came while the deferral was on counts.
 * Errors: SIGPLANE_E_TIMEOUT, _CANNOT_WAIT (not in a deferral, or in a handler). Signal-safe: no. */
SIGPLANE_API int sigplane_defer_wait(int64_t timeout_ns);

/* An attached thread. Harmless after its end. */
typedef struct sigplane_thread {
    uint64_t words[2];
} sigplane_thread;

typedef void (*sigplane_call)(void *argument);

/* The calling thread, which is attached by it. Errors: SIGPLANE_E_NULL, _POINTER. Signal-safe: no. */
SIGPLANE_API int sigplane_thread_current(sigplane_thread *thread);

/* The kernel's id of a thread. Errors: SIGPLANE_E_THREAD_ENDED (or never was), _NULL, _POINTER.
 * Signal-safe: yes. */
SIGPLANE_API int sigplane_thread_id(sigplane_thread thread, int *tid);

/* Has the thread call `call` at its next safe point; an alertable wait of it is woken. If the thread ends first,
 * `ended`, unless it is NULL, is called instead, once.
 * Errors: SIGPLANE_E_NULL (call), _THREAD_ENDED (neither is called); SIGPLANE_IN_HANDLER, SIGPLANE_VFORK_CHILD.
 * Signal-safe: no. */
SIGPLANE_API int sigplane_post(sigplane_thread thread, sigplane_call call, void *argument,
                               sigplane_call ended);

/* The same, and waits until it has been called. On the calling thread itself it is called at once. Two threads
 * must not wait for each other.
 * Errors: as sigplane_post(); _THREAD_ENDED also when it ended first. Signal-safe: no. */
SIGPLANE_API int sigplane_post_wait(sigplane_thread thread, sigplane_call call, void *argument);

/* Alertable waits. Each runs what waits for this thread first, and as soon as something arrives.
 *
 * sigplane_wait() waits for that alone: SIGPLANE_OK when something has been run.
 * sigplane_wait_fd() also for a descriptor: *ready is the part of `interest` that is ready, 0 when something
 * has been run instead.
 * sigplane_syscall() makes any blocking system call (syscall(2)) with its six arguments, of which the unused are
 * 0: SIGPLANE_E_INTERRUPTED when something has been run before the call had done anything. The call must
 * return to its caller; whatever it does to memory is its own business.
 *
 * Errors: SIGPLANE_E_TIMEOUT, _CANNOT_WAIT, _NULL, _POINTER, _ARGUMENT, _OS; SIGPLANE_VFORK_CHILD.
 * Signal-safe: no. */
#define SIGPLANE_READABLE 1u
#define SIGPLANE_WRITABLE 2u
SIGPLANE_API int sigplane_wait(int64_t timeout_ns);
SIGPLANE_API int sigplane_wait_fd(int fd, uint32_t interest, int64_t timeout_ns, uint32_t *ready);
SIGPLANE_API int sigplane_syscall(long number, const unsigned long *arguments, long *result);

/* ---- Faults -------------------------------------------------------------------------------------------- */

/* sigplane_fault.kind */
#define SIGPLANE_FAULT_UNSPECIFIED 0
#define SIGPLANE_FAULT_UNMAPPED 1
#define SIGPLANE_FAULT_NON_CANONICAL 2
#define SIGPLANE_FAULT_STACK_OVERFLOW 3
#define SIGPLANE_FAULT_PROTECTED 4
#define SIGPLANE_FAULT_BOUNDS 5
#define SIGPLANE_FAULT_PROTECTION_KEY 6
#define SIGPLANE_FAULT_CONTROL_FLOW 7
#define SIGPLANE_FAULT_MEMORY_TAG 8
#define SIGPLANE_FAULT_MISALIGNED 9
#define SIGPLANE_FAULT_NO_MEMORY 10 /* nothing behind the mapping: a file that was truncated */
#define SIGPLANE_FAULT_OBJECT 11
#define SIGPLANE_FAULT_MEMORY_ERROR_NOW 12
#define SIGPLANE_FAULT_MEMORY_ERROR_ELSEWHERE 13
#define SIGPLANE_FAULT_INTEGER_DIVISION 14
#define SIGPLANE_FAULT_INTEGER_OVERFLOW 15
#define SIGPLANE_FAULT_FLOAT_DIVISION 16
#define SIGPLANE_FAULT_FLOAT_OVERFLOW 17
#define SIGPLANE_FAULT_FLOAT_UNDERFLOW 18
#define SIGPLANE_FAULT_FLOAT_INEXACT 19
#define SIGPLANE_FAULT_FLOAT_INVALID 20
#define SIGPLANE_FAULT_FLOAT_OTHER 21
#define SIGPLANE_FAULT_INSTRUCTION 22
#define SIGPLANE_FAULT_PRIVILEGED 23
#define SIGPLANE_FAULT_COPROCESSOR 24
#define SIGPLANE_FAULT_INTERNAL_STACK 25
#define SIGPLANE_FAULT_BREAKPOINT 26
#define SIGPLANE_FAULT_STEP 27
#define SIGPLANE_FAULT_BRANCH 28
#define SIGPLANE_FAULT_WATCHPOINT 29
#define SIGPLANE_FAULT_PERF 30
#define SIGPLANE_FAULT_FILTERED_CALL 31
#define SIGPLANE_FAULT_DISPATCHED_CALL 32
#define SIGPLANE_FAULT_OTHER 33

/* sigplane_fault.access */
#define SIGPLANE_ACCESS_UNKNOWN 0
#define SIGPLANE_ACCESS_READ 1
#define SIGPLANE_ACCESS_WRITE 2
#define SIGPLANE_ACCESS_EXECUTE 3

/* A fault that has been caught. 64 bytes, for ever. */
typedef struct sigplane_fault {
    uint32_t size;        /* 64 */
    int32_t signo;
    uint32_t kind;        /* SIGPLANE_FAULT_... */
    uint32_t access;      /* SIGPLANE_ACCESS_... */
    uint64_t address;     /* if has_address: 0 is an address like others */
    uint64_t pc;          /* of the instruction */
    uint64_t done;        /* bytes that a copy had done before */
    uint32_t has_address;
    uint32_t reserved;
    uint64_t spare[2];
} sigplane_fault;

/* A text of a few words for a kind of fault, whatever the number. Signal-safe: yes. */
SIGPLANE_API const char *sigplane_fault_text(uint32_t kind);

/* Makes the signals of faults sigplane's, for as long as the process lives; every function of this part does
 * it the first time. A handler that was there before stands behind.
 * Errors: SIGPLANE_VFORK_CHILD, SIGPLANE_E_OS. Signal-safe: no. */
SIGPLANE_API int sigplane_faults_enable(void);

/* Safe access: memory that may not be there. At the speed of the plain access when it is. On a fault:
 * SIGPLANE_E_FAULT, and *fault, unless it is NULL, says where, what, and how many bytes had been done.
 *
 * sigplane_try_copy() is memcpy(3): the two do not overlap. sigplane_try_move() is memmove(3),
 * sigplane_try_fill() memset(3), sigplane_try_strlen() strnlen(3). Scalars are read and written with one
 * instruction. sigplane_try_compare_exchange32() and ..64() is SIGPLANE_E_MISMATCH, with the value that was found
 * in *expected, if that differs. If the memory is there, writing to it is as unsafe as by a plain pointer.
 *
 * Errors: SIGPLANE_E_FAULT, _NULL (only for results: an address may be NULL), _POINTER (results),
 * _MISMATCH; SIGPLANE_VFORK_CHILD, _OS where faults are not enabled yet.
 * Signal-safe: once faults are enabled. */
SIGPLANE_API int sigplane_try_copy(void *to, const void *from, size_t length, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_move(void *to, const void *from, size_t length, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_fill(void *to, int byte, size_t length, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_strlen(const char *string, size_t limit, size_t *length,
                                     sigplane_fault *fault);
SIGPLANE_API int sigplane_try_read8(const void *from, uint8_t *value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_read16(const void *from, uint16_t *value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_read32(const void *from, uint32_t *value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_read64(const void *from, uint64_t *value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_write8(void *to, uint8_t value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_write16(void *to, uint16_t value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_write32(void *to, uint32_t value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_write64(void *to, uint64_t value, sigplane_fault *fault);
SIGPLANE_API int sigplane_try_compare_exchange32(void *at, uint32_t *expected, uint32_t desired,
                                                 sigplane_fault *fault);
SIGPLANE_API int sigplane_try_compare_exchange64(void *at, uint64_t *expected, uint64_t desired,
                                                 sigplane_fault *fault);

/* Calls `call`; a fault in it ends it and is SIGPLANE_E_FAULT with *fault (which may be NULL). Nests. Nothing
 * between the fault and here is undone: at every instruction that can fault, `call` holds no lock, no
 * deferral, nothing that must be given back. It does not leave by longjmp or exception.
 * Errors: SIGPLANE_E_NULL (call), _POINTER, _FAULT; SIGPLANE_VFORK_CHILD, _OS. Signal-safe: once faults are
 * enabled, if `call` is. */
SIGPLANE_API int sigplane_guarded(sigplane_call call, void *argument, sigplane_fault *fault);

/* What a handler of regions and code ranges is given; valid until it returns. */
typedef struct sigplane_fault_context {
    uint32_t size;
    uint32_t flags;
    const sigplane_fault *fault;
    const void *info;     /* const siginfo_t * */
    void *context;        /* ucontext_t * */
    uint64_t reserved[2];
} sigplane_fault_context;

/* Runs in the signal handler, and must be signal-safe. SIGPLANE_HANDLED: the code goes on where the program
 * counter points, which is the faulting instruction (behind a breakpoint, the next) unless it was changed.
 * SIGPLANE_PASS: changes are undone, the next is asked. A fault that it causes is contained and counts as that. */
typedef int (*sigplane_fault_handler)(sigplane_fault_context *context, void *user);

#define SIGPLANE_REG_PC 0
#define SIGPLANE_REG_SP 1
#define SIGPLANE_REG_FP 2
#define SIGPLANE_REG_ARG0 3 /* to SIGPLANE_REG_ARG0 + 5 */
#define SIGPLANE_REG_RESULT 9

/* Registers of the interrupted code, by what the calling convention uses them for; all others are in `context`.
 * sigplane_skip() goes on behind the faulting instruction of `length` bytes; sigplane_land() at a landing,
 * with the registers that a fixup sets (sigplane/fixup.h).
 * Errors: SIGPLANE_E_NULL, _POINTER, _HANDLE (no fault in progress), _ARGUMENT (register). Signal-safe: only
 * inside the handler that was given the context. */
SIGPLANE_API int sigplane_register_get(const sigplane_fault_context *context, int name, uint64_t *value);
SIGPLANE_API int sigplane_register_set(sigplane_fault_context *context, int name, uint64_t value);
SIGPLANE_API int sigplane_skip(sigplane_fault_context *context, size_t length);
SIGPLANE_API int sigplane_land(sigplane_fault_context *context, const void *landing);

typedef struct sigplane_region {
    uint64_t id;
} sigplane_region;
typedef struct sigplane_code_range {
    uint64_t id;
} sigplane_code_range;

/* A range of addresses whose faults `handler` is asked about: paging in user space, write barriers, mapped
 * files. Regions may overlap: options.priority, then age. Of the options, priority and destroy count.
 * A code range is one of instructions, for JITs; they may not overlap, and have no priority.
 *
 * Errors: SIGPLANE_E_NULL (handler, result), _POINTER, _SIZE, _ARGUMENT, _EMPTY_RANGE, _RANGE_TAKEN (code),
 * _TOO_MANY, _OS; SIGPLANE_IN_HANDLER, SIGPLANE_VFORK_CHILD. Signal-safe: no. */
SIGPLANE_API int sigplane_region_add(const void *start, size_t length, const sigplane_options *options,
                                     sigplane_fault_handler handler, void *user,
                                     sigplane_region *result);
SIGPLANE_API int sigplane_code_range_add(const void *start, size_t length,
                                         const sigplane_options *options,
                                         sigplane_fault_handler handler, void *user,
                                         sigplane_code_range *result);

/* Quiescent: when it returns, the handler is not running and will not run.
 * Errors: SIGPLANE_E_HANDLE; SIGPLANE_VFORK_CHILD. Signal-safe: in handlers of sigplane. */
SIGPLANE_API int sigplane_region_remove(sigplane_region region);
SIGPLANE_API int sigplane_code_range_remove(sigplane_code_range range);

/* What a last-chance hook is given; valid until it returns. */
typedef struct sigplane_fatal {
    uint32_t size;
    int32_t signo;
    int32_t tid;
    uint32_t reserved;
    const sigplane_event *event;
    const sigplane_fault *fault; /* NULL: it was sent by somebody */
    const void *info;            /* const siginfo_t * */
    const void *context;         /* const ucontext_t *, or NULL */
} sigplane_fatal;

typedef void (*sigplane_fatal_hook)(const sigplane_fatal *fatal, void *user);

typedef struct sigplane_last_chance {
    uint64_t id;
} sigplane_last_chance;

/* Runs `hook`, in the signal handler, when a signal of the set is about to end the process because nobody has
 * handled it: for crash reporters. Then the default action is taken, with the true exit status and core dump.
 * It must be signal-safe; a fault in it ends only the hook. Of the options, priority and destroy count.
 *
 * Errors: SIGPLANE_E_NULL (hook, result), _POINTER, _SIZE, _ARGUMENT, _SIGNAL, _EMPTY_SET, _UNCATCHABLE,
 * _TOO_MANY, _OS; SIGPLANE_IN_HANDLER, SIGPLANE_VFORK_CHILD. Signal-safe: no. */
SIGPLANE_API int sigplane_last_chance_add(uint64_t set, const sigplane_options *options,
                                          sigplane_fatal_hook hook, void *user,
                                          sigplane_last_chance *result);
/* Errors and safety: as sigplane_region_remove(). */
SIGPLANE_API int sigplane_last_chance_remove(sigplane_last_chance hook);

/* ---- The table, sending, processes --------------------------------------------------------------------- */

/* Writes who owns what, as text, to a descriptor. Errors: SIGPLANE_E_OS, SIGPLANE_IN_HANDLER. Signal-safe: no. */
SIGPLANE_API int sigplane_table_dump(int fd);
/* The same into a buffer, as snprintf(3) does: at most `length` bytes with a 0 at the end; *needed is the
 * length of the whole text without it. `buffer` may be NULL if `length` is 0, and `needed` may be NULL.
 * Errors: SIGPLANE_E_NULL, _POINTER; SIGPLANE_IN_HANDLER. Signal-safe: no. */
SIGPLANE_API int sigplane_table_text(char *buffer, size_t length, size_t *needed);

/* Sends a signal, with a value (sigqueue(3)) or without, to a process, a thread of this process, or the calling
 * thread. Broadcasts (pid 0, -1, ...) are refused.
 * Errors: SIGPLANE_E_SIGNAL, _ARGUMENT (pid, tid), _NO_TARGET, _PERMISSION, _QUEUE_FULL, _OS.
 * Signal-safe: yes. */
SIGPLANE_API int sigplane_send(int pid, int signo);
SIGPLANE_API int sigplane_send_value(int pid, int signo, uint64_t value);
SIGPLANE_API int sigplane_send_thread(int tid, int signo);
SIGPLANE_API int sigplane_send_thread_value(int tid, int signo, uint64_t value);
SIGPLANE_API int sigplane_raise(int signo);
SIGPLANE_API int sigplane_raise_value(int signo, uint64_t value);

/* Gives the kernel back, in the calling process, every action that was there before sigplane: between fork or
 * vfork and exec, so that the new program sees what it would have seen. Signal-safe: yes. */
SIGPLANE_API void sigplane_restore_dispositions(void);

#ifdef __cplusplus
}
#endif
#endif
