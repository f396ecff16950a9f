/* Calls that block, each interrupted by a helper thread that first sees the caller sleep. What the signal
 * does not end, the helper ends with a signal of its own, and the log says so: a call that was restarted
 * and one that was left in peace both need it, one that failed with EINTR does not. */
#include "victim.h"

#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <linux/futex.h>

extern int by_mask(int) __asm__("sigpause");
extern int by_signal(int) __asm__("__xpg_sigpause");

static void *interrupt(void *argument) {
  struct call *call = argument;
  new_thread("helper");
  while (!call->entered) sched_yield();
  while (!call->done && !asleep(getpid(), call->thread)) sched_yield();
  timer_t timer = 0;
  bool armed = false;
  if (!call->done && call->sender >= 0) {
    if (call->sender == 8) {
      struct itimerval once = {.it_value = {0, 1}}, left = {0};
      call->sent = setitimer(ITIMER_REAL, &once, NULL);
      do getitimer(ITIMER_REAL, &left); while (left.it_value.tv_sec || left.it_value.tv_usec);
    } else if (call->sender >= 9) {
      struct sigevent event = {0};
      event.sigev_notify = call->sender == 9 ? SIGEV_SIGNAL : SIGEV_THREAD_ID;
      event._sigev_un._tid = call->thread;
      event.sigev_signo = call->signal;
      event.sigev_value.sival_int = call->value;
      call->sent = timer_create(CLOCK_MONOTONIC, &event, &timer);
      armed = call->sent == 0;
      struct itimerspec once = {.it_value = {0, 1}}, left = {0};
      if (armed) timer_settime(timer, 0, &once, NULL);
      if (armed) do timer_gettime(timer, &left); while (left.it_value.tv_sec || left.it_value.tv_nsec);
    } else {
      call->sent = send_signal(call->sender, call->signal, call->value, call->target, call->thread);
    }
    call->sent_errno = call->sent < 0 ? errno : 0;
  }
  while (!call->done) {
    if (asleep(getpid(), call->thread) && !call->done) {
      call->released++;
      tgkill(getpid(), call->thread, RELEASE);
    }
    sched_yield();
  }
  if (armed) timer_delete(timer);
  return NULL;
}

void finish_call(struct call *call) {
  call->done = 1;
  pthread_join(call->helper, NULL);
  me.call = NULL;
}

static sem_t never;
static int unused_futex;

/* The call itself. `set` is its mask or the set it waits for. */
static long block(int way, sigset_t set, const int32_t *a) {
  static const struct timespec day = {86400, 0};
  int pipe_ends[2];
  char byte;
  struct epoll_event event;
  long result;
  switch (way) {
    case 0:
      if (pipe(pipe_ends)) return -2;
      result = read(pipe_ends[0], &byte, 1);
      break;
    case 1: return nanosleep(&day, NULL);
    case 2: return pause();
    case 3: return sigsuspend(&set);
    case 4: return ppoll(NULL, 0, &day, &set);
    case 5: return pselect(0, NULL, NULL, NULL, &day, &set);
    case 6: case 7: case 8:
      pipe_ends[0] = pipe_ends[1] = epoll_create1(EPOLL_CLOEXEC);
      result = way == 6   ? epoll_pwait(pipe_ends[0], &event, 1, -1, &set)
               : way == 7 ? epoll_wait(pipe_ends[0], &event, 1, -1)
                          : epoll_pwait2(pipe_ends[0], &event, 1, NULL, &set);
      break;
    case 9: return poll(NULL, 0, -1);
    case 10: return select(0, NULL, NULL, NULL, NULL);
    case 11: return sigwaitinfo(&set, NULL);
    case 12: return sigtimedwait(&set, NULL, &day);
    case 13: { /* restarts by itself, so that the release must be one it waits for */
      int signal = 0;
      sigaddset(&set, RELEASE);
      result = sigwait(&set, &signal);
      return result ? -result : signal;
    }
    case 14: return sem_wait(&never);
    case 15: return syscall(SYS_futex, &unused_futex, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    case 16: return by_mask(a[4] & 0x7fffffff);
    case 17: return by_signal(a[2]);
    case 18:
      if (socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_ends)) return -2;
      result = recv(pipe_ends[0], &byte, 1, 0);
      break;
    case 19: return clock_nanosleep(CLOCK_MONOTONIC, 0, &day, NULL);
    case 20: return usleep(900000000);
    case 21: {
      struct signalfd_siginfo info;
      pipe_ends[0] = pipe_ends[1] = signalfd(-1, &set, SFD_CLOEXEC);
      result = read(pipe_ends[0], &info, sizeof info);
      if (result > 0) result = info.ssi_signo;
      break;
    }
    default: return ppoll(NULL, 0, NULL, NULL);
  }
  int saved = errno;
  close(pipe_ends[0]);
  if (pipe_ends[1] != pipe_ends[0]) close(pipe_ends[1]);
  errno = saved;
  return result;
}

/* way, sender, signal, value, set, set */
void op_blocking(const int32_t *a) {
  static const char *const names[] = {
      "read", "nanosleep", "pause", "sigsuspend", "ppoll", "pselect", "epoll_pwait", "epoll_wait", "epoll_pwait2",
      "poll", "select", "sigwaitinfo", "sigtimedwait", "sigwait", "sem_wait", "futex", "sigpause(mask)",
      "sigpause(signal)", "recv", "clock_nanosleep", "usleep", "signalfd", "ppoll without mask"};
  static _Thread_local struct call calls[LEVELS];
  int way = a[0] % 23;
  if (reserved(a[1], a[2])) return;
  struct call *call = &calls[me.level % LEVELS];
  memset(call, 0, sizeof *call);
  call->thread = gettid();
  call->target = pthread_self();
  call->sender = a[1];
  call->signal = a[2];
  call->value = a[3];
  call->level = me.level;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  sigset_t all;
  sigfillset(&all);
  pthread_attr_setsigmask_np(&attributes, &all);
  int result = pthread_create(&call->helper, &attributes, interrupt, call);
  pthread_attr_destroy(&attributes);
  if (result) {
    say("no helper: %d", result);
    return;
  }
  me.held++;
  me.call = call;
  sigset_t set = set_of(a[4], a[5]);
  call->entered = 1;
  errno = 0;
  long answer = block(way, set, a);
  int saved = errno;
  finish_call(call);
  me.held--;
  say("%s = %ld errno %d sent %d %d released %d", names[way], answer, answer < 0 ? saved : 0, call->sent,
      call->sent_errno, call->released);
}
