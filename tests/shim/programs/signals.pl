# Signals in Perl, one line per thing seen. Run as: perl signals.pl
use strict; use warnings; use POSIX qw(:signal_h :sys_wait_h pause); use Config; use Time::HiRes qw(ualarm setitimer ITIMER_REAL);
$| = 1;
sub status { my $s = shift; sprintf "exit %d signal %d core %d", $s >> 8, $s & 127, ($s & 128) ? 1 : 0 }
sub words { open my $f, '<', '/proc/self/status' or die; join ' ', map { /^(Sig(?:Blk|Ign|Cgt)):\s+(\w+)/ ? "$1=$2" : () } <$f> }

print "--- names\n$Config{sig_name}\n$Config{sig_num}\n";
print "--- a handler, nested, by name and by reference\n";
$SIG{USR1} = sub { print "USR1: $_[0]\n"; kill USR2 => $$; print "USR1 ends\n" };
$SIG{USR2} = 'by_name'; sub by_name { print "USR2: $_[0]\n" }
kill USR1 => $$; print words(), "\n";
print "--- read-back\n";
print ref $SIG{USR1}, " $SIG{USR2} ", defined $SIG{HUP} ? $SIG{HUP} : 'undef', "\n";
$SIG{HUP} = 'IGNORE'; print "$SIG{HUP}\n"; kill HUP => $$; print "ignored\n";
{ local $SIG{HUP} = sub { print "local HUP\n" }; kill HUP => $$; print words(), "\n" }
print "$SIG{HUP} ", words(), "\n"; kill HUP => $$;
$SIG{HUP} = 'DEFAULT'; $SIG{USR1} = 'DEFAULT'; delete $SIG{USR2}; print words(), "\n";

print "--- alarm and die\n";
for my $round (1 .. 3) {
    my $outcome = eval { local $SIG{ALRM} = sub { die "timeout $round\n" }; ualarm 5_000; 1 while 1; } ? 'finished' : $@;
    print $outcome, defined $SIG{ALRM} ? "set\n" : "unset\n";
}
my $interrupted = eval { local $SIG{ALRM} = sub { die "out of a read\n" }; ualarm 20_000; pipe my $r, my $w; <$r>; 1 } ? 'read' : $@;
print $interrupted; ualarm 0;

print "--- POSIX::sigaction\n";
my $log = '';
my $action = POSIX::SigAction->new(sub { $log .= "usr1($_[1]{signo},$_[1]{code},", ($_[1]{pid} // -1) == $$ ? 'self' : 'other', ') ' },
    POSIX::SigSet->new(SIGUSR2, SIGHUP), SA_SIGINFO | SA_RESTART | SA_NODEFER);
sigaction(SIGUSR1, $action) or die; my $old = POSIX::SigAction->new; sigaction(SIGUSR1, undef, $old) or die;
printf "flags %x mask %s safe %s\n", $old->flags, join(',', map { $old->mask->ismember($_) ? $_ : () } 1 .. 64), $old->safe ? 1 : 0;
kill USR1 => $$ for 1 .. 3; print "log: ", length $log ? 'some' : 'none', "\n";
{
    # A real handler, within the kernel's frame: the mask is what was asked for.
    my $inside = '';
    my $unsafe = POSIX::SigAction->new(sub { my $now = POSIX::SigSet->new; sigprocmask(SIG_BLOCK, POSIX::SigSet->new, $now);
        $inside = join ',', map { $now->ismember($_) ? $_ : () } 1 .. 64 }, POSIX::SigSet->new(SIGUSR2, SIGHUP, SIGRTMIN + 3), 0);
    $unsafe->safe(0); sigaction(SIGUSR1, $unsafe); kill USR1 => $$; print "mask inside: $inside\n";
    my $after = POSIX::SigSet->new; sigprocmask(SIG_BLOCK, POSIX::SigSet->new, $after);
    print "mask after: ", join(',', map { $after->ismember($_) ? $_ : () } 1 .. 64), "\n";
    my $jump = POSIX::SigAction->new(sub { die "out of the handler\n" }, POSIX::SigSet->new, SA_NODEFER); $jump->safe(0);
    sigaction(SIGUSR1, $jump); for (1 .. 3) { eval { kill USR1 => $$; 1 } or print $@ }
}
print sigaction(SIGKILL, $action) ? "KILL can be caught\n" : "KILL: $!\n";
print eval { sigaction(9999, $action) } ? "9999 exists\n" : "9999: $! $@\n";

print "--- once\n";
sigaction(SIGUSR2, POSIX::SigAction->new(sub { print "once\n" }, POSIX::SigSet->new, SA_RESETHAND)); kill USR2 => $$; print words(), "\n";

print "--- blocked, pending, delivered in order of number\n";
my @order; $SIG{$_} = sub { push @order, $_[0] } for qw(HUP USR1 USR2 TERM);
my $set = POSIX::SigSet->new(SIGHUP, SIGUSR1, SIGUSR2, SIGTERM); my $before = POSIX::SigSet->new; sigprocmask(SIG_BLOCK, $set, $before);
kill $_ => $$ for qw(TERM USR2 USR1 HUP HUP); my $pending = POSIX::SigSet->new; sigpending($pending);
print "pending ", join(',', map { $pending->ismember($_) ? $_ : () } 1 .. 64), "\n";
sigprocmask(SIG_SETMASK, $before); print "@order\n"; @order = ();
sigprocmask(SIG_BLOCK, $set); kill USR1 => $$; my $result = sigsuspend(POSIX::SigSet->new(SIGHUP));
print defined $result ? $result : "sigsuspend: $!", " @order\n"; sigprocmask(SIG_SETMASK, $before);

print "--- children\n";
my $ended = 0; $SIG{CHLD} = sub { while ((my $pid = waitpid -1, WNOHANG) > 0) { $ended++ } };
for my $code (0 .. 9) { defined(my $pid = fork) or die; POSIX::_exit($code) unless $pid }
select undef, undef, undef, 0.01 until $ended == 10; print "reaped $ended\n"; $SIG{CHLD} = 'DEFAULT';
for my $signal (qw(HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM XCPU SYS RTMIN RTMAX)) {
    defined(my $pid = fork) or die; unless ($pid) { $SIG{$_} = 'DEFAULT' for qw(HUP USR1 USR2 TERM); kill $signal => $$; POSIX::_exit(1) }
    waitpid $pid, 0; my $how = status($?); $how =~ s/ core \d//; print "$signal: $how\n";
}
print "system: ", status(system 'kill -TERM $$'), "\n", "backticks: ", `kill -USR1 \$\$; echo not`, status($?), "\n";
{ local $SIG{INT} = sub { print "never\n" }; print "system ignores INT: ", status(system 'kill -INT $PPID; exit 5'), "\n" }
$SIG{CHLD} = 'IGNORE'; defined(my $pid = fork) or die; POSIX::_exit(3) unless $pid; print "no zombie: ", waitpid($pid, 0), " $!\n"; $SIG{CHLD} = 'DEFAULT';
$SIG{TERM} = 'IGNORE'; print `grep -E '^Sig(Ign|Cgt|Blk)' /proc/self/status`; $SIG{TERM} = 'DEFAULT';

print "--- interrupted and restarted calls\n";
for my $flags (0, SA_RESTART) {
    pipe my $r, my $w; my $runs = 0;
    my $action = POSIX::SigAction->new(sub { $runs++; syswrite $w, 'x' if $flags }, POSIX::SigSet->new, $flags);
    $action->safe(0); sigaction(SIGALRM, $action);
    ualarm 20_000; my $count = sysread $r, my $byte, 1; print defined $count ? "read $count" : "read: $!", ", runs $runs\n";
}
print "--- a storm of safe signals\n";
my %seen; $SIG{USR1} = sub { $seen{USR1}++ }; $SIG{USR2} = sub { $seen{USR2}++; die "out\n" if $seen{USR2} % 10 == 0 };
for (1 .. 500) { kill USR1 => $$; eval { kill USR2 => $$; 1 } or $seen{out}++ } print join(' ', map { "$_=$seen{$_}" } sort keys %seen), "\n";
print "--- __WARN__ and __DIE__, PIPE\n";
$SIG{__WARN__} = sub { print "warned: $_[0]" }; warn "careful\n"; local $SIG{__DIE__} = sub { print "dying: $_[0]" }; eval { die "inner\n" };
{ pipe my $r, my $w; close $r; local $SIG{PIPE} = sub { print "PIPE\n" }; defined syswrite($w, 'x') or print "write: $!\n" }
END { print "END block\n" }
$SIG{TERM} = sub { print "TERM\n"; exit 17 }; kill TERM => $$; print "not reached\n";
