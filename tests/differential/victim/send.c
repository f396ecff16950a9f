/* Operations that send, and those that take what is pending without waiting. */
#include "victim.h"

#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>

static bool stops(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

/* libc's own signals: it refuses them in some calls; once it has threads, the others would stop it for ever. */
bool reserved(int way, int signal) { return (signal == 32 || signal == 33) && way != 2 && way != 4; }

/* `id` and `thread` name the same thread of this process. */
int send_signal(int way, int signal, int value, pthread_t thread, pid_t id) {
  union sigval queued = {.sival_int = value};
  switch (way) {
    case 0: return kill(getpid(), signal);
    case 1: return tgkill(getpid(), id, signal);
    case 2: return pthread_kill(thread, signal);
    case 3: return sigqueue(getpid(), signal, queued);
    case 4: return pthread_sigqueue(thread, signal, queued);
    case 5: return syscall(SYS_tgkill, getpid(), id, signal);
    case 6: return syscall(SYS_tkill, id, signal);
    default: return raise(signal);
  }
}

/* way, signal, value */
void op_send(const int32_t *a) {
  static const char *const names[] = {"kill", "tgkill", "pthread_kill", "sigqueue", "pthread_sigqueue", "SYS_tgkill", "SYS_tkill", "raise"};
  if (me.vforked && stops(a[1])) return; /* nobody could continue it: the parent waits in vfork */
  int way = a[0] & 7;
  if (reserved(way, a[1])) return;
  int result = send_signal(way, a[1], a[2], pthread_self(), gettid());
  say_result(names[way], result);
}

/* To a parent that waits for this child. */
void op_tell_parent(const int32_t *a) {
  if (!me.forked || me.vforked || reserved(0, a[0])) return;
  wait_for_parent();
  say("kill parent with %d", a[0]); /* not after it: a parent that dies has this process killed */
  if (kill(me.parent, a[0])) say_result("kill parent", -1);
  wait_for_parent();
}

/* variant, set, set: takes one signal that is pending, if any. */
void op_poll(const int32_t *a) {
  sigset_t set = set_of(a[1], a[2]);
  siginfo_t info;
  memset(&info, 0, sizeof info);
  struct timespec none = {0, 0};
  int result;
  if (a[0] == 1) {
    result = sigtimedwait(&set, NULL, &none);
    say_result("sigtimedwait", result);
    return;
  }
  result = sigtimedwait(&set, &info, &none);
  if (result < 0)
    say("sigtimedwait = %d errno %d", result, errno);
  else
    say("sigtimedwait = %d code %d value %d", result, info.si_code,
        info.si_code == SI_QUEUE || info.si_code == SI_TIMER ? info.si_value.sival_int : 0);
}

/* set, set: everything of the set that is pending, through a descriptor */
void op_signalfd(const int32_t *a) {
  sigset_t set = set_of(a[0], a[1]);
  int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) {
    say_result("signalfd", -1);
    return;
  }
  for (int count = 0; count < 40; count++) {
    struct signalfd_siginfo info;
    ssize_t length = read(fd, &info, sizeof info);
    if (length != (ssize_t)sizeof info) {
      say("signalfd read errno %d", errno);
      break;
    }
    bool queued = info.ssi_code == SI_QUEUE || info.ssi_code == SI_TIMER;
    say("signalfd signal %u code %d value %d", info.ssi_signo, info.ssi_code, queued ? info.ssi_int : 0);
  }
  close(fd);
}

/* variant, signal, value: a timer that has run out when the signal is unblocked again */
void op_timer(const int32_t *a) {
  if (reserved(0, a[1])) return;
  sigset_t set, old;
  int signal = a[0] == 2 ? SIGALRM : a[1];
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  if (a[0] == 2) {
    struct itimerval once = {.it_value = {0, 1}}, left = {0};
    say_result("setitimer", setitimer(ITIMER_REAL, &once, NULL));
    do getitimer(ITIMER_REAL, &left); while (left.it_value.tv_sec || left.it_value.tv_usec);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return;
  }
  struct sigevent event = {0};
  event.sigev_notify = a[0] == 1 ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
  event._sigev_un._tid = gettid();
  event.sigev_signo = signal;
  event.sigev_value.sival_int = a[2];
  timer_t timer;
  int result = timer_create(CLOCK_MONOTONIC, &event, &timer);
  say_result("timer_create", result);
  if (result == 0) {
    struct itimerspec once = {.it_value = {0, 1}}, left = {0};
    timer_settime(timer, 0, &once, NULL);
    do timer_gettime(timer, &left); while (left.it_value.tv_sec || left.it_value.tv_nsec);
    op_pending();
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (result == 0) say_result("timer_delete", timer_delete(timer));
}
