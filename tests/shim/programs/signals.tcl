# Signals as Tcl sees them: how children end, and, with Expect, its own. Run as: tclsh signals.tcl
proc how {script} {
    if {![catch {exec sh -c $script 2>@1} output options]} { return "fine: $output" }
    set code [dict get $options -errorcode]
    # CHILDKILLED pid SIGNAME message, CHILDSTATUS pid code
    return "[lindex $code 0] [lrange $code 2 end]: $output"
}
foreach signal {HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM XCPU SYS 34 64} {
    puts "$signal: [how "ulimit -c 0; kill -$signal \$\$; echo survived"]"
}
puts [how {exit 7}]
puts [how {grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status}]
# A pipeline: each member's end is reported.
catch {exec sh -c {kill -TERM $$} | sh -c {cat; exit 3} | cat} output
puts $output
# Children in the background; the event loop and its timers go on.
set channel [open {|sh -c {echo one; echo two; kill -USR1 $$}} r]
fileevent $channel readable {
    if {[gets $channel line] < 0} { set ended [catch {close $channel} output options]
        puts "closed: $ended [lindex [dict get $options -errorcode] 0] [lrange [dict get $options -errorcode] 2 end]" } else { puts $line }
}
after 10 {set ticked 1}
vwait ended
if {![info exists ticked]} { vwait ticked }
puts timer
after 20 {set late 1}
vwait late

puts "--- expect"
if {[catch {package require Expect}]} { puts "no Expect" } else {
    log_user 0
    set seen {}
    trap {lappend seen [trap -name]} {USR1 USR2 HUP}
    foreach signal {USR1 USR2 HUP USR1} { exec kill -$signal [pid]; after 1 {set wake 1}; vwait wake }
    puts $seen
    puts [list [trap USR1] [trap TERM]]
    trap SIG_IGN HUP
    exec kill -HUP [pid]
    puts "ignored: [exec sed -n {s/^SigIgn:.//p} /proc/self/status]"
    trap SIG_DFL {HUP USR1 USR2}
    # A child in a terminal of its own, its interrupt key, its end.
    spawn sh -c {stty -echo; trap 'echo child INT; exit 5' INT; echo ready; while :; do :; done}
    expect "ready\r\n"
    send "\003"
    expect "child INT\r\n"
    expect eof
    puts [lrange [wait] 2 end]
    spawn -ignore HUP sh -c {ulimit -c 0; kill -HUP $$; echo lives; kill -SEGV $$}
    expect "lives\r\n"
    expect eof
    puts [lrange [wait] 2 end]
}
flush stdout
exec kill -TERM [pid]
after 10000
puts "not reached"
