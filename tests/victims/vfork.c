/* vfork(2) cannot be called from Rust: it returns twice into one stack frame. */
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Calls `f(argument)` in a vfork child, which ends with what it returns; the wait status, or -1. */
int victim_vfork(int (*f)(void *), void *argument)
{
	int status = -1;
	pid_t child = vfork();

	if (child == 0)
		_exit(f(argument));
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return status;
}

/* Changes the action of the signal that `argument` points to, as CPython and shells do before exec. */
int victim_sigactions(void *argument)
{
	int signal_number = *(int *)argument;
	struct sigaction action = { .sa_handler = SIG_IGN }, seen;

	if (sigaction(signal_number, &action, 0) != 0)
		return 1;
	if (sigaction(signal_number, 0, &seen) != 0 || seen.sa_handler != SIG_IGN)
		return 2;
	if (raise(signal_number) != 0)
		return 3;
	action.sa_handler = SIG_DFL;
	return sigaction(signal_number, &action, 0) == 0 ? 0 : 4;
}
