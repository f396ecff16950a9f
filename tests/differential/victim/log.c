/* What is observed, as lines; and what of it must not depend on the run: ids become words. */
#include "victim.h"

#include <fcntl.h>
#include <stdarg.h>

struct shared *shared;

void say(const char *format, ...) {
  int saved = errno;
  char line[400];
  int length = snprintf(line, sizeof line, "%s\t", me.stream);
  va_list list;
  va_start(list, format);
  length += vsnprintf(line + length, sizeof line - length - 1, format, list);
  va_end(list);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length++] = '\n';
  unsigned at = atomic_fetch_add(&shared->used, length);
  if (at + length <= LOG_SIZE) memcpy(shared->text + at, line, length);
  errno = saved;
}

/* A call's result, with errno if it failed. */
void say_result(const char *name, long result) {
  if (result == -1)
    say("%s = -1 errno %d", name, errno);
  else
    say("%s = %ld", name, result);
}

const char *who(pid_t pid) {
  if (pid == 0) return "nobody";
  if (pid == getpid()) return "self";
  if (pid == getppid()) return "parent";
  if (pid == program) return "program";
  return "other";
}

uint64_t bits(const sigset_t *set) {
  uint64_t word;
  memcpy(&word, set, sizeof word);
  return word;
}

sigset_t set_of(int32_t low, int32_t high) {
  sigset_t set;
  sigemptyset(&set);
  uint64_t word = (uint32_t)low | (uint64_t)(uint32_t)high << 32;
  word &= ~(1ull << (RELEASE - 1));
  memcpy(&set, &word, sizeof word);
  return set;
}

/* The first bytes of a thread's file in /proc; how many. */
static ssize_t read_of(pid_t process, pid_t thread, const char *file, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/%s", process, thread, file);
  int saved = errno;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
  if (fd >= 0) close(fd);
  errno = saved;
  text[length < 0 ? 0 : length] = 0;
  return length;
}

/* The state letter of a thread, as /proc tells it; X if it is gone. */
static char state_of(pid_t process, pid_t thread) {
  char text[512];
  if (read_of(process, thread, "stat", text, sizeof text) <= 0) return 'X';
  const char *name_end = strrchr(text, ')');
  return name_end && name_end[1] ? name_end[2] : 'X';
}

bool gone(pid_t process, pid_t thread) {
  char state = state_of(process, thread);
  return state == 'X' || state == 'Z';
}

/* Whether a thread sleeps in a system call. The letter alone is not enough: a thread that was woken sets it
 * again for a moment before it looks at what woke it. The file `syscall` answers once it is off the processor. */
bool asleep(pid_t process, pid_t thread) {
  char text[128];
  if (state_of(process, thread) != 'S') return false;
  if (read_of(process, thread, "syscall", text, sizeof text) > 0 && (text[0] < '0' || text[0] > '9')) return false;
  return state_of(process, thread) == 'S';
}
