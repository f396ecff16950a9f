//! The default action, when nobody handled: what the parent sees is what it would have seen
//! without sigplane. Acceptance line 5 of the issue, and BRIEF §5 and §7, "Default actions".

use sigplane::{Signal, Verdict, send, subscribe};
use sigplane_tests::observer::{WAYS, numbers, observer, say, send_as_told};
use sigplane_tests::{Exit, Running, Suite, skip, victim};
use std::os::unix::process::CommandExt;

/// What a victim does once it has been told how.
fn told() -> String {
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("told");
    line.trim_end().to_owned()
}

/// Reads until it ends; only there in case it is not killed.
fn wait_to_be_killed() -> ! {
    while std::io::stdin().read_line(&mut String::new()).is_ok_and(|read| read > 0) {}
    println!("survived");
    std::process::exit(3)
}

fn start(name: &str) -> Running {
    let mut child = Running::start(victim(name));
    child.expect("ready");
    child
}

const BY_TERM: Exit = Exit::Signal { number: libc::SIGTERM, core: false };

// Issue line 5: SIGTERM subscribed, dropped, sent: the process dies by SIGTERM. For each context.
fn a_dropped_subscription_leaves_the_default() {
    for context in ["dispatcher", "thread", "inbox", "immediate"] {
        for (way, _) in WAYS {
            let mut child = start("dropped");
            child.tell(context);
            child.expect("dropped");
            send_as_told(child.pid(), child.pid(), Signal::TERM, way);
            assert_eq!(child.finish(), (BY_TERM, String::new()), "{context}, {way}");
        }
    }
}

fn dropped() {
    let term = || subscribe(Signal::TERM);
    match &told()[..] {
        "dispatcher" => drop(term().dispatcher(|_| ()).unwrap()),
        "thread" => drop(term().thread(|_| ()).unwrap()),
        "inbox" => drop(term().inbox().unwrap()),
        // SAFETY: the handler does nothing.
        _ => drop(unsafe { term().immediate(|_| Verdict::Handled) }.unwrap()),
    }
    println!("dropped");
    wait_to_be_killed()
}

// Issue line 5: an observer on a default SIGTERM observes, and the process dies by SIGTERM; sent from
// outside and by itself, in every way.
fn an_observer_does_not_keep_it_alive() {
    for (way, code) in WAYS {
        for by_itself in [false, true] {
            let mut child = start("observed");
            child.tell(if by_itself { way } else { "from outside" });
            child.expect("waits");
            if !by_itself {
                send_as_told(child.pid(), child.pid(), Signal::TERM, way);
            }
            let sender = if by_itself { child.pid() } else { std::process::id() as i32 };
            let (exit, output) = child.finish();
            assert_eq!(exit, BY_TERM, "{way}: {output}");
            let value = if code == libc::SI_QUEUE { 77 } else { 0 };
            let expected: [i64; 4] = [15, code.into(), sender.into(), value];
            assert_eq!(numbers(output.trim_end())[..4], expected, "{way}, by itself: {by_itself}");
        }
    }
}

fn observed() {
    let _sub = observer(Signal::TERM);
    let way = told();
    println!("waits");
    if way != "from outside" {
        let pid = std::process::id() as i32;
        send_as_told(pid, pid, Signal::TERM, &way);
    }
    wait_to_be_killed()
}

// The same where the signal does not strike in a handler of the main thread: at the end of a deferral,
// and on threads with and without a record.
fn wherever_it_strikes() {
    for place in ["deferral", "unattached thread", "attached thread", "thread in a deferral"] {
        let mut child = start("elsewhere");
        child.tell(place);
        let (exit, output) = child.finish();
        assert_eq!(exit, BY_TERM, "{place}: {output}");
        assert_eq!(numbers(output.trim_end())[1], libc::SI_TKILL.into(), "{place}: {output}");
    }
}

fn elsewhere() {
    let _sub = observer(Signal::TERM);
    let (place, raise) = (told(), || send::raise(Signal::TERM).unwrap());
    let in_deferral = move || {
        let guard = sigplane::defer();
        raise();
        drop(guard);
        println!("survived");
    };
    match &place[..] {
        "deferral" => in_deferral(),
        "thread in a deferral" => drop(std::thread::spawn(in_deferral).join()),
        "attached thread" => {
            drop(std::thread::spawn(move || (sigplane::thread::current(), raise())).join())
        }
        _ => drop(std::thread::spawn(raise).join()),
    }
    wait_to_be_killed()
}

fn wait_status(pid: i32, options: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, options) }, pid);
    status
}

// Issue line 5, BRIEF §7: SIGTSTP default: the parent sees a stop by SIGTSTP, not by SIGSTOP; after
// SIGCONT the process goes on and the subscription still works; twice; and for TTIN and TTOU as well;
// from outside and by itself.
fn a_stop_has_the_true_number() {
    let mut command = victim("stops");
    // A group whose leader's parent is of another group of the session is not orphaned.
    command.process_group(0);
    let mut child = Running::start(command);
    child.expect("ready");
    let pid = child.pid();
    for signal in [Signal::TSTP, Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        for by_itself in [false, true] {
            if by_itself {
                child.tell(&signal.number().to_string());
            } else {
                send::to_process(pid, signal).unwrap();
            }
            let status = wait_status(pid, libc::WUNTRACED);
            assert!(libc::WIFSTOPPED(status), "{signal}: {status:#x}");
            assert_eq!(libc::WSTOPSIG(status), signal.number());
            send::to_process(pid, Signal::CONT).unwrap();
            assert!(libc::WIFCONTINUED(wait_status(pid, libc::WCONTINUED)));
            let line = child.line().expect("it goes on");
            let sender = if by_itself { i64::from(pid) } else { std::process::id().into() };
            assert_eq!((numbers(&line)[0], numbers(&line)[2]), (signal.number().into(), sender));
            if by_itself {
                child.expect("went on");
            }
        }
    }
    assert_eq!(child.finish().0, Exit::Code(0));
}

fn stops() {
    let _subs = [Signal::TSTP, Signal::TTIN, Signal::TTOU].map(observer);
    println!("ready");
    for line in std::io::stdin().lines() {
        let signal = Signal::try_from(line.unwrap().parse::<i32>().unwrap()).unwrap();
        send::raise(signal).unwrap();
        println!("went on");
    }
    let table = sigplane::table();
    assert!(table.rows.iter().filter(|row| !row.entries.is_empty()).all(|row| row.ours));
}

// BRIEF §7: an orphaned process group does not stop, an observer or not.
fn an_orphaned_group_does_not_stop() {
    let mut child = start("orphan");
    for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        send::to_process(child.pid(), signal).unwrap();
        assert_eq!(numbers(&child.line().expect("it observes"))[0], signal.number().into());
        child.tell(&signal.number().to_string());
        assert_eq!(numbers(&child.line().expect("it observes"))[0], signal.number().into());
        child.expect("went on");
    }
    assert_eq!(child.finish().0, Exit::Code(0));
}

fn orphan() {
    // SAFETY: takes no argument. Its group is now the only one of a new session.
    if unsafe { libc::setsid() } < 0 {
        panic!("{}", std::io::Error::last_os_error());
    }
    stops();
}

// BRIEF §4: what is ignored by default stays so with an observer, and CONT too.
fn ignored_by_default() {
    for signal in [Signal::CHLD, Signal::URG, Signal::WINCH, Signal::CONT] {
        let inbox = subscribe(signal).observe().inbox().unwrap();
        for _ in 0..3 {
            send::raise(signal).unwrap();
            assert_eq!(inbox.recv().signal(), signal);
        }
        let table = sigplane::table();
        let row = table.row(signal).unwrap();
        assert_eq!((row.handled, row.passed), (0, 3), "{signal}");
    }
    let inbox = subscribe(Signal::CHLD).observe().inbox().unwrap();
    let child = std::process::Command::new("/bin/sh").args(["-c", "exit 9"]).status().unwrap();
    assert_eq!(child.code(), Some(9), "a child is still reaped by its parent");
    let event = inbox.recv();
    assert_eq!(event.child().map(|child| child.status), Some(sigplane::ChildStatus::Exited(9)));
}

// An observer does not come in the way of abort(3), and is called once.
fn abort_with_an_observer() {
    let (exit, output) = start("aborts").finish();
    assert_eq!(exit.signal(), Some(libc::SIGABRT), "{output}");
    assert_eq!(output.lines().map(|line| numbers(line)[0]).collect::<Vec<_>>(), [6]);
}

fn aborts() {
    let _sub = observer(Signal::ABRT);
    println!("ready");
    std::process::abort();
}

// Issue line 5, BRIEF §7: process 1 of a pid namespace ends, though the kernel drops what such a process
// sends itself with a default action: with status 128 + n, or, where the default dumps core, by the
// trapping instruction's SIGILL.
fn process_one_ends() {
    let status = |signal: Signal| {
        let mut command = victim("process_one");
        command.env("SIGNAL", signal.number().to_string());
        let (exit, output) = Running::start(command).finish();
        match output.lines().last() {
            Some("refused") => skip("unshare(CLONE_NEWUSER | CLONE_NEWPID) is refused here"),
            Some(line) if exit.success() => {
                let numbers = numbers(line);
                assert_eq!(numbers[0], 1, "{output}");
                let saw = output.lines().find(|line| line.starts_with("saw")).expect("observed");
                assert_eq!(saw.split(' ').nth(1), Some(&signal.number().to_string()[..]));
                numbers[1] as i32
            }
            _ => panic!("{exit:?}: {output}"),
        }
    };
    for signal in [Signal::TERM, Signal::HUP, Signal::USR1, Signal::rt(0).unwrap()] {
        let status = status(signal);
        assert!(libc::WIFEXITED(status), "{signal}: {status:#x}");
        assert_eq!(libc::WEXITSTATUS(status), 128 + signal.number());
    }
    for signal in [Signal::QUIT, Signal::ABRT] {
        let status = status(signal);
        assert!(libc::WIFSIGNALED(status), "{signal}: {status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGILL);
    }
}

fn process_one() {
    let signal =
        Signal::try_from(std::env::var("SIGNAL").unwrap().parse::<i32>().unwrap()).unwrap();
    // SAFETY: this process has one thread, so its child may do anything.
    let child = unsafe {
        if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) != 0 {
            println!("refused");
            return;
        }
        libc::fork()
    };
    if child == 0 {
        // SAFETY: takes no argument.
        if unsafe { libc::getpid() } != 1 {
            std::process::exit(4);
        }
        let _sub = observer(signal);
        send::raise(signal).unwrap();
        println!("survived");
        std::process::exit(5);
    }
    say("ended", &[1, wait_status(child, 0).into()]);
}

fn main() {
    Suite {
        tests: &[
            (
                "a_dropped_subscription_leaves_the_default",
                a_dropped_subscription_leaves_the_default,
            ),
            ("an_observer_does_not_keep_it_alive", an_observer_does_not_keep_it_alive),
            ("wherever_it_strikes", wherever_it_strikes),
            ("a_stop_has_the_true_number", a_stop_has_the_true_number),
            ("an_orphaned_group_does_not_stop", an_orphaned_group_does_not_stop),
            ("ignored_by_default", ignored_by_default),
            ("abort_with_an_observer", abort_with_an_observer),
            ("process_one_ends", process_one_ends),
        ],
        victims: &[
            ("dropped", dropped),
            ("observed", observed),
            ("elsewhere", elsewhere),
            ("stops", stops),
            ("orphan", orphan),
            ("aborts", aborts),
            ("process_one", process_one),
        ],
    }
    .main()
}
