/* The interpreter: runs a program of signal operations with plain libc calls, and writes down all that can be
 * observed. It knows nothing of sigplane: what LD_PRELOAD puts in front of libc is what it measures.
 *
 * Lines of a log belong to a stream (a thread of a process); only the order within a stream is compared.
 * Whatever would make a line depend on timing is kept out: a sender waits until the receiver sleeps, a
 * parent has its children one at a time, a thread that waits for another has everything blocked. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "ops.h"

enum {
  LOG_FD = 100,           /* the memory that the log is in, inherited by whoever is executed */
  PROGRAM_FD = 101,       /* a program for a fresh interpreter */
  LOG_SIZE = 1 << 18,
  HANDLERS = 8,           /* handler h runs procedure 1 + h */
  LEVELS = 12,            /* procedures within procedures */
  STACK = 1024 * 1024, /* A handler may be entered on top of another as often as a program has operations. */
  ALTERNATES = 3,
  CONTEXTS = 3,
  RELEASE = 63,           /* ends a call that nothing else ends; programs never name it */
};

struct op { int32_t code, a[7]; };
struct procedure { uint32_t count, save_mask; const struct op *ops; };

/* Memory that all processes of a program share. */
struct shared {
  atomic_uint used, flags_used;
  atomic_int flags[62];
  char text[LOG_SIZE];
};

/* A blocking call and the thread that interrupts it. */
struct call {
  pthread_t helper, target;
  pid_t thread;
  int sender, signal, value, level;
  atomic_int entered, done, released;
  int sent, sent_errno;
};

/* One procedure that runs, and what holds when it is come back to by a jump. */
struct frame {
  sigjmp_buf jump;
  ucontext_t context;
  volatile bool landed;
  int depth, on_alternate, contexts, held, faulting;
  struct call *call;
};

struct thread {
  char stream[32];
  int children;            /* streams made by this one */
  int depth;               /* handlers that run */
  int level, floor;        /* frames; those below the floor belong to the parent */
  int held;                /* no operation that blocks: someone watches this thread sleep */
  int on_alternate, contexts;
  struct frame *frames[LEVELS];
  struct call *call;
  char *region;            /* alternate stacks, then stacks of contexts */
  int faulting, fault_depth, fault_skip;
  sigjmp_buf *fault_jump;
  bool forked, vforked;
  pid_t parent, parent_thread;
  int parent_flag;
};

extern __thread struct thread me;
extern struct shared *shared;
extern struct procedure *procedures;
extern unsigned procedure_count;
extern bool uses_contexts;
extern int operations_left, bodies_left;
extern pid_t program;
extern const char *self_path;

/* log.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *who(pid_t pid);
uint64_t bits(const sigset_t *set);
sigset_t set_of(int32_t low, int32_t high);
void say_result(const char *name, long result);
bool asleep(pid_t process, pid_t thread);
bool gone(pid_t process, pid_t thread);
void let_watch(void);
/* handler.c */
void *handler_of(int kind, int id);
const char *name_of(const void *handler, char text[24]);
const char *place_of(const void *address);
char *region(void);
void released(int signal);
/* run.c */
void run(unsigned procedure);
void jump(int levels, int way);
void new_thread(const char *stream);
void child_stream(char stream[32]);
/* table.c, send.c, block.c, process.c, fault.c: the operations */
void op_sigaction(const int32_t *a);
void op_query(const int32_t *a);
void op_signal(const int32_t *a);
void op_hold(const int32_t *a);
void op_interrupt(const int32_t *a);
void op_block(const int32_t *a);
void op_getmask(const int32_t *a);
void op_pending(void);
bool reserved(int way, int signal);
void op_send(const int32_t *a);
void op_tell_parent(const int32_t *a);
void op_altstack(const int32_t *a);
void op_poll(const int32_t *a);
void op_signalfd(const int32_t *a);
void op_timer(const int32_t *a);
int send_signal(int way, int signal, int value, pthread_t thread, pid_t id);
void op_blocking(const int32_t *a);
void finish_call(struct call *call);
void op_thread(const int32_t *a);
void op_fork(const int32_t *a);
void op_vfork(const int32_t *a);
void op_spawn(const int32_t *a);
void op_system(const int32_t *a);
void op_context(const int32_t *a);
void wait_for_parent(void);
void report(const char *stream);
void op_fault(const int32_t *a);
