# Traps of bash, one line per thing seen. Run as: bash traps.bash
trap 'echo exit trap, status $?' EXIT
trap 'echo INT' INT
trap 'echo "TERM in $BASHPID" | sed "s/[0-9][0-9]*/N/"' TERM
trap 'echo USR1; kill -USR2 $$; echo USR1 ends' USR1
trap 'echo USR2' USR2
kill -INT $$
kill -TERM $$
kill -USR1 $$
echo "--- trap -p"
trap -p
echo "--- subshells inherit ignored signals and no handlers"
trap '' HUP
trap 'echo never' QUIT
(trap -p; kill -HUP $BASHPID; echo alive after HUP)
(kill -QUIT $BASHPID; echo not reached) 2>/dev/null; echo "QUIT: $?"
ignored() { sed -n 's/^SigIgn:\t//p;s/^SigCgt:\t//p;s/^SigBlk:\t//p' /proc/self/status; }
ignored
bash -c 'trap "echo cannot be trapped" HUP; kill -HUP $$; trap -p; echo child of an ignorer lives'
trap - HUP QUIT
ignored
echo "--- a sleeping wait is interrupted, the child is not"
sleep 1000 & sleeper=$!
seen=no
trap 'seen=yes' ALRM
(while kill -ALRM $$; do sleep 0.01; done) & sender=$!
wait $sleeper; echo "wait: $?, trap: $seen"
trap '' ALRM
{ kill -KILL $sender; wait $sender; } 2>/dev/null
trap - ALRM
kill -0 $sleeper && echo sleeper lives
kill -KILL $sleeper; wait $sleeper 2>/dev/null; echo "sleeper: $?"
wait
echo "--- CHLD, one child at a time"
set -o monitor
trap 'echo CHLD' CHLD
(exit 3) & wait $!; echo "status $?"
(kill -SEGV $BASHPID) 2>/dev/null & wait $! 2>/dev/null; echo "status $?"
trap - CHLD
set +o monitor
echo "--- statuses of children that died of a signal"
for signal in HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM XCPU VTALRM PROF SYS 34 50 64; do
    bash -c "ulimit -c 0; kill -$signal \$\$; echo survived" 2>/dev/null; echo "$signal: $?"
done 2>/dev/null
echo "--- DEBUG, ERR, RETURN"
count=0
trap 'count=$((count + 1))' DEBUG
true; true
trap - DEBUG
echo "DEBUG ran $count times"
trap 'echo "ERR $?"' ERR
false
(exit 9)
trap - ERR
function f { trap 'echo RETURN' RETURN; echo in f; trap - DEBUG; }; f; trap - RETURN
echo "--- kill -l"
kill -l
kill -l 130 TERM 9 RTMIN RTMAX-1
kill -99 $$ || echo "status $?"
kill -0 999999999 || echo "status $?"
echo "--- a trap inside a pipeline, a read and a command substitution"
echo piped | { trap 'echo inner USR1' USR1; kill -USR1 $BASHPID; read line; echo "$line"; }
echo "$(trap 'echo substituted' EXIT; echo x)"
(trap 'echo subshell exits' EXIT; exit 5); echo "status $?"
yes 2>/dev/null | head -n 1; echo "${PIPESTATUS[@]}"
echo "--- storm: as many runs as the trap was entered for"
seen=0
trap 'seen=$((seen + 1))' USR2
for i in {1..200}; do kill -USR2 $$; done
echo "seen $seen"
echo "--- nohup and timeout"
nohup bash -c 'kill -HUP $$; echo not hung up' 2>/dev/null
timeout 0.05 sleep 1000; echo "status $?"
{ timeout --preserve-status -s KILL 0.05 sleep 1000; } 2>/dev/null; echo "status $?"
trap 'echo last words; exit 42' TERM
kill -TERM $$
echo not reached
