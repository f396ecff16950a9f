"""CPython's subprocess (vfork and posix_spawn, restore_signals) while signals arrive: the parent's
dispositions and mask stay what they are, and its handlers go on working. Prints what is the same in every run."""

import ctypes
import os
import signal
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)


class Action(ctypes.Structure):
    """The kernel's struct sigaction."""

    _fields_ = [("handler", ctypes.c_void_p), ("flags", ctypes.c_ulong), ("restorer", ctypes.c_void_p), ("mask", ctypes.c_ulong)]


def actions():
    """Every disposition, as sigaction(2) answers; and what is ignored and blocked, as the kernel says in /proc."""
    seen = []
    for number in [*range(1, 32), *range(34, 65)]:  # libc uses 32 and 33 itself
        action = Action()
        libc.syscall(13, number, None, ctypes.byref(action), 8)
        seen.append((number, action.handler, action.flags, action.restorer, action.mask))
    return seen, status("self", "SigIgn", "SigBlk")


def status(pid, *fields):
    with open(f"/proc/{pid}/status") as lines:
        return [line.strip() for line in lines if line.split(":")[0] in fields]


seen = {signal.SIGUSR1: 0, signal.SIGUSR2: 0, signal.SIGRTMIN: 0}


def handle(number, frame):
    seen[number] += 1


for number in seen:
    signal.signal(number, handle)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
# libc takes one of its own signals with the first thread.
threading.Thread(target=lambda: None).start()
before = actions()

# A storm from another process, until it is told to stop. It starts a program in each round: without a pause
# queued signals may come faster than any handler returns, and this program would make no step any more.
storm = "while kill -USR1 $0 && kill -USR2 $0 && kill -RTMIN $0; do env true; done 2>/dev/null"
sender = subprocess.Popen(["sh", "-c", storm, str(os.getpid())])
found = set()
show = ["grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status"]
rounds = int(sys.argv[1])


def run(restore, closing):
    # Without closing descriptors subprocess uses posix_spawn, where it may; else vfork.
    done = subprocess.run(show, restore_signals=restore, close_fds=closing, stdout=subprocess.PIPE, text=True)
    found.add((restore, closing, done.returncode, done.stdout.replace("\t", "").replace("\n", " ")))


def on_a_thread():
    for turn in range(rounds):
        run(turn % 2 == 0, True)


thread = threading.Thread(target=on_a_thread)
thread.start()
for turn in range(rounds):
    run(turn % 2 == 0, turn % 3 != 0)
    failed = subprocess.run(["sh", "-c", "kill -USR1 $$"]).returncode
    found.add(("died of", failed))
thread.join()
while min(seen.values()) == 0:
    signal.pause()
sender.kill()
sender.wait()
for line in sorted(map(str, found)):
    print(line)
print("unchanged:", actions() == before)
for number in seen:
    count = seen[number]
    signal.raise_signal(number)
    print(number, "handled:", seen[number] > count)
