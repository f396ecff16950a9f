/* The interpreter's process: a server that forks for every program, a fresh start for one program, or the
 * executed report. Requests and answers are on standard input and output, the log is in shared memory. */
#include "victim.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

const char *self_path;

static bool get(int fd, void *into, size_t length) {
  char *at = into;
  while (length) {
    ssize_t got = read(fd, at, length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    length -= got;
  }
  return true;
}

static void put(const void *from, size_t length) {
  const char *at = from;
  while (length) {
    ssize_t done = write(1, at, length);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) _exit(3);
    at += done;
    length -= done;
  }
}

/* words: contexts used, procedures, then for each: operations, whether jumps restore the mask, operations */
static void load(const int32_t *words, unsigned count) {
  uses_contexts = words[0];
  procedure_count = words[1];
  procedures = calloc(procedure_count, sizeof *procedures);
  unsigned at = 2;
  for (unsigned which = 0; which < procedure_count; which++) {
    procedures[which] = (struct procedure){words[at], words[at + 1], (const struct op *)&words[at + 2]};
    at += 2 + words[at] * (sizeof(struct op) / sizeof(int32_t));
    if (at > count) _exit(4);
  }
}

static void start(void) {
  program = getpid();
  new_thread("main");
  let_watch();
  struct sigaction action = {.sa_handler = released};
  sigaction(RELEASE, &action, NULL);
  run(0);
  sigset_t mask;
  sigemptyset(&mask);
  sigprocmask(SIG_BLOCK, NULL, &mask);
  say("end mask %lx", bits(&mask));
  for (int signal = 0; signal <= 65; signal++)
    if (signal != SIGKILL && signal != SIGSTOP && signal != RELEASE && signal != 32 && signal != 33) {
      struct sigaction old;
      char text[24];
      if (sigaction(signal, NULL, &old) == 0 && (old.sa_handler != SIG_DFL || old.sa_flags))
        say("end %d %s %x %lx", signal, name_of((void *)old.sa_handler, text), old.sa_flags, bits(&old.sa_mask));
    }
  op_pending();
  _exit(0);
}

static void map_log(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, LOG_FD, 0);
  if (shared == MAP_FAILED) _exit(5);
  madvise(shared, sizeof *shared, MADV_DONTDUMP);
}

/* The child of the server: the program's process. */
static void program_process(const int32_t *words, unsigned count, bool fresh) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!fresh) {
    load(words, count);
    start();
  }
  int fd = memfd_create("program", 0);
  if (write(fd, words, count * 4) != (ssize_t)(count * 4)) _exit(6);
  dup2(fd, PROGRAM_FD);
  char *arguments[] = {(char *)self_path, "--fresh", NULL};
  execv(self_path, arguments);
  _exit(7);
}

/* Core dumps are asked for, since the status says whether one was made; a collector is not bothered. */
static void limit_cores(void) {
  char first = 0;
  int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
  if (fd < 0 || read(fd, &first, 1) != 1) first = '|';
  close(fd);
  rlim_t size = first == '|' ? 1 : 64 << 20;
  setrlimit(RLIMIT_CORE, &(struct rlimit){size, size});
}

static void remove_core(pid_t process) {
  char name[32];
  snprintf(name, sizeof name, "core.%d", process);
  unlink(name);
  unlink("core");
}

static void serve(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  limit_cores();
  int fd = memfd_create("log", 0);
  if (fd < 0 || ftruncate(fd, sizeof *shared) || dup2(fd, LOG_FD) < 0) _exit(8);
  close(fd);
  map_log();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  uint32_t header[2];
  while (get(0, header, sizeof header)) {
    int32_t *words = malloc(header[0] * 4);
    if (!get(0, words, header[0] * 4)) return;
    shared->used = shared->flags_used = 0;
    memset(shared->flags, 0, sizeof shared->flags);
    pid_t child = fork();
    if (child == 0) program_process(words, header[0], header[1]);
    setpgid(child, child);
    int32_t answer = child, status = 0;
    put(&answer, 4);
    while (waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status)) kill(child, SIGCONT);
    kill(-child, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) {}
    if (WIFSIGNALED(status)) remove_core(child);
    uint32_t used = shared->used > LOG_SIZE ? LOG_SIZE : shared->used;
    put(&status, 4);
    put(&used, 4);
    put(shared->text, used);
    free(words);
  }
}

int main(int count, char **arguments) {
  static char path[4096];
  if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) return 1;
  self_path = path;
  if (count == 3 && !strcmp(arguments[1], "--report")) {
    map_log();
    report(arguments[2]);
    return 7;
  }
  if (count == 2 && !strcmp(arguments[1], "--fresh")) {
    map_log();
    off_t length = lseek(PROGRAM_FD, 0, SEEK_END);
    int32_t *words = malloc(length);
    if (pread(PROGRAM_FD, words, length, 0) != length) return 2;
    close(PROGRAM_FD);
    load(words, length / 4);
    start();
  }
  serve();
  return 0;
}
