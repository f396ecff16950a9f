/* Threads, contexts and processes: one at a time, and whoever waits has its signals blocked or is watched. */
#include "victim.h"

#include <sched.h>
#include <spawn.h>
#include <fcntl.h>
#include <sys/prctl.h>

extern char **environ;

/* Has this process' children see its files in /proc, where only ancestors may otherwise. */
void let_watch(void) { prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); }


/* Until the parent sleeps in its wait: what this child does next reaches it there. */
void wait_for_parent(void) {
  if (!me.forked || me.vforked) return;
  while (!shared->flags[me.parent_flag]) sched_yield();
  while (!asleep(me.parent, me.parent_thread)) {
    if (gone(me.parent, me.parent_thread)) _exit(9);
    sched_yield();
  }
}

static void say_status(const char *call, int result, int status) {
  if (result < 0)
    say("%s = -1 errno %d", call, errno);
  else if (WIFEXITED(status))
    say("%s exited %d", call, WEXITSTATUS(status));
  else if (WIFSIGNALED(status))
    say("%s killed %d core %d", call, WTERMSIG(status), WCOREDUMP(status) != 0);
  else
    say("%s stopped %d", call, WIFSTOPPED(status) ? WSTOPSIG(status) : 0);
}

/* Follows a child to its end; continues it whenever it stops. That it goes on is not asked for (WCONTINUED): the kernel
 * tells it only until the child's state changes again, which may be before the parent has looked. */
static void follow(pid_t child) {
  for (int round = 0; round < 60; round++) {
    int status = 0;
    pid_t result = waitpid(child, &status, WUNTRACED);
    int saved = errno;
    say_status("waitpid", result, status);
    if (result < 0 && saved == EINTR) continue;
    if (result < 0 || WIFEXITED(status) || WIFSIGNALED(status)) return;
    if (WIFSTOPPED(status)) kill(child, SIGCONT);
  }
}

/* procedure, exit code, whether SIGCHLD stays blocked meanwhile */
void op_fork(const int32_t *a) {
  char stream[32];
  child_stream(stream);
  int flag = atomic_fetch_add(&shared->flags_used, 1);
  if (flag >= 62) return;
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  if (a[2]) pthread_sigmask(SIG_BLOCK, &set, &old);
  pid_t parent = getpid(), thread = gettid();
  pid_t child = fork();
  if (child == 0) {
    snprintf(me.stream, sizeof me.stream, "%s", stream);
    me.children = 0;
    me.forked = true;
    me.parent = parent;
    me.parent_thread = thread;
    me.parent_flag = flag;
    me.floor = me.level;
    let_watch();
    if (operations_left > 60) operations_left = 60;
    wait_for_parent();
    op_pending();
    run(a[0]);
    wait_for_parent();
    op_getmask((const int32_t[]){1});
    _exit(a[1]);
  }
  if (child < 0) {
    say_result("fork", child);
    return;
  }
  me.held++;
  shared->flags[flag] = 1;
  follow(child);
  me.held--;
  if (a[2]) pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* procedure, how it ends: _exit or exec */
void op_vfork(const int32_t *a) {
  static struct thread before;
  char stream[32];
  child_stream(stream);
  char *arguments[] = {(char *)self_path, "--report", stream, NULL};
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  before = me;
  int left = operations_left;
  pid_t child = vfork();
  if (child == 0) {
    snprintf(me.stream, sizeof me.stream, "%s", stream);
    me.vforked = true;
    me.forked = true;
    me.floor = me.level;
    run(a[0]);
    if (a[1]) execv(self_path, arguments);
    _exit(5);
  }
  me = before;
  operations_left = left;
  if (child < 0)
    say_result("vfork", child);
  else
    follow(child);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* flags, default, default, mask, mask */
void op_spawn(const int32_t *a) {
  char stream[32];
  child_stream(stream);
  char *arguments[] = {(char *)self_path, "--report", stream, NULL};
  sigset_t set, old, defaults = set_of(a[1], a[2]), mask = set_of(a[3], a[4]);
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, a[0] & (POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, &mask);
  pid_t child = 0;
  int result = posix_spawn(&child, self_path, NULL, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  say("posix_spawn = %d", result);
  if (result == 0) follow(child);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* whether it is popen */
void op_system(const int32_t *a) {
  char stream[32], command[512];
  child_stream(stream);
  snprintf(command, sizeof command, "exec '%s' --report %s", self_path, stream);
  if (a[0]) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    FILE *file = popen(command, "r");
    int end = file ? fgetc(file) : 0;
    say("popen read %d", end);
    if (file) say_result("pclose", pclose(file));
    pthread_sigmask(SIG_SETMASK, &old, NULL);
  } else {
    say_result("system", system(command));
  }
}

struct start { char stream[32]; unsigned procedure; };

static void *thread(void *argument) {
  struct start *start = argument;
  new_thread(start->stream);
  op_getmask((const int32_t[]){1});
  op_altstack((const int32_t[]){3, 0, 0});
  run(start->procedure);
  op_getmask((const int32_t[]){1});
  op_pending();
  return NULL;
}

/* procedure, whether its mask is given, mask, mask */
void op_thread(const int32_t *a) {
  struct start start = {.procedure = a[0]};
  child_stream(start.stream);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  sigset_t mask = set_of(a[2], a[3]), all, old;
  if (a[1]) pthread_attr_setsigmask_np(&attributes, &mask);
  sigfillset(&all);
  sigdelset(&all, RELEASE);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_t id;
  int result = pthread_create(&id, &attributes, thread, &start);
  if (result == 0) pthread_join(id, NULL);
  pthread_attr_destroy(&attributes);
  say("thread %d pending:", result);
  op_pending();
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static _Thread_local unsigned context_procedure;

static void inside(void) {
  char here;
  sigset_t mask;
  sigemptyset(&mask);
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  say("context on %s mask %lx", place_of(&here), bits(&mask));
  run(context_procedure);
}

/* procedure */
void op_context(const int32_t *a) {
  /* A handler on the alternate stack that leaves it would have the next one overwrite it. */
  if (me.on_alternate || me.vforked || me.contexts >= CONTEXTS || me.level >= LEVELS) return;
  static _Thread_local ucontext_t here[CONTEXTS], there[CONTEXTS];
  int which = me.contexts++;
  getcontext(&there[which]);
  there[which].uc_stack.ss_sp = region() + STACK * (ALTERNATES + which);
  there[which].uc_stack.ss_size = STACK;
  there[which].uc_link = &here[which];
  makecontext(&there[which], inside, 0);
  context_procedure = a[0];
  swapcontext(&here[which], &there[which]);
  me.contexts--;
  say("back from context");
}

/* What an executed program inherits. */
void report(const char *stream) {
  new_thread(stream);
  sigset_t mask, pending;
  sigemptyset(&mask);
  sigemptyset(&pending);
  sigprocmask(SIG_BLOCK, NULL, &mask);
  sigpending(&pending);
  uint64_t ignored = 0, handled = 0;
  for (int signal = 1; signal <= 64; signal++) {
    struct sigaction action;
    if (sigaction(signal, NULL, &action)) continue;
    if (action.sa_handler == SIG_IGN) ignored |= 1ull << (signal - 1);
    else if (action.sa_handler != SIG_DFL) handled |= 1ull << (signal - 1);
  }
  say("inherited mask %lx pending %lx ignored %lx handled %lx", bits(&mask), bits(&pending), ignored, handled);
  FILE *status = fopen("/proc/self/status", "re");
  char line[256];
  while (status && fgets(line, sizeof line, status))
    if (!strncmp(line, "SigIgn", 6)) say("kernel %.40s", strtok(line, "\n"));
  if (status) fclose(status);
}
