# Signals of Tcl with Tclx. Run as: tclsh tclx.tcl
if {[catch {package require Tclx}]} { puts "no Tclx"; exit }
set seen {}
signal trap {USR1 USR2} {lappend seen %S}
foreach number {1 2 3} { kill USR1 [pid]; kill USR2 [pid] }
puts $seen
puts [signal get {USR1 USR2 HUP}]
signal block USR1
kill USR1 [pid]; kill USR1 [pid]
puts "blocked: [llength $seen]"
signal unblock USR1
puts "unblocked: [llength $seen]"
signal error ALRM
puts "[catch {alarm 0.01; while 1 {}} output options] $output [lrange [dict get $options -errorcode] 0 1]"
set child [fork]
if {$child == 0} { signal default USR1; kill USR1 [pid]; sleep 100 }
puts [lrange [wait $child] 1 end]
signal default {USR1 USR2 ALRM}
kill TERM [pid]
puts "not reached"
