# Traps of a plain POSIX shell, one line per thing seen. Run as: dash traps.sh
trap 'echo exit trap $?' EXIT
trap 'echo INT' INT
trap 'echo USR1; kill -USR2 $$; echo USR1 ends' USR1
trap 'echo USR2' USR2
kill -INT $$
kill -USR1 $$
trap
trap '' HUP
sh -c 'trap "echo never" HUP; kill -HUP $$; echo lives'
grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status
trap - HUP
grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status
(trap; kill -INT "$(exec sh -c 'echo $PPID')"; echo not reached) ; echo "subshell: $?"
sleep 1000 & sleeper=$!
seen_alarm=no
trap 'seen_alarm=yes' ALRM
(while kill -ALRM $$; do sleep 0.01; done) & sender=$!
wait $sleeper; echo "wait: $?, trap: $seen_alarm"
trap '' ALRM
{ kill -KILL $sender; wait $sender; } 2>/dev/null
trap - ALRM
{ kill -TERM $sleeper; wait $sleeper; } 2>/dev/null; echo "sleeper: $?"
wait
for signal in HUP INT QUIT ILL ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM; do
    (ulimit -c 0; exec sh -c "kill -$signal \$\$; echo survived") 2>/dev/null; echo "$signal: $?"
done
kill -l 130
kill -l
seen=0
trap 'seen=$((seen + 1))' USR2
i=0
while [ $i -lt 200 ]; do kill -USR2 $$; i=$((i + 1)); done
echo "seen $seen"
trap 'echo last words; exit 42' TERM
kill -TERM $$
echo not reached
