//! PostgreSQL under the shim: a cluster's life, from initdb through crashes to its shutdowns.
//!
//! Issue, what must be shown, 2: "PostgreSQL through initdb, pgbench, crash and recovery". PostgreSQL
//! refuses to be root: as root, the test gives all processes to a user of the system.

use sigplane_tests::{Suite, output_of, skip};
use sigplane_tests_shim::program::{Daemon, Scratch, alike, find, kill, until, without_numbers};
use sigplane_tests_shim::{Mode, library};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{File, read_to_string};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The folder of the programs, those of the server included, which distributions keep out of `PATH`.
fn programs() -> PathBuf {
    let versions = ["/usr/lib/postgresql", "/usr"].map(std::fs::read_dir).into_iter().flatten();
    let versioned = versions.flatten().flatten().map(|version| version.path().join("bin"));
    let in_path = find("initdb").and_then(|file| Some(file.parent()?.to_owned()));
    let has_all = |folder: &PathBuf| {
        ["initdb", "pg_ctl", "pgbench", "postgres", "psql"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    let mut found: Vec<PathBuf> = versioned.chain(in_path).filter(has_all).collect();
    found.sort();
    found.pop().unwrap_or_else(|| skip("postgresql is not installed"))
}

/// A user that is not root, when the test is.
fn somebody() -> Option<(u32, u32)> {
    // SAFETY: no memory is passed.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let user = ["postgres", "nobody"].into_iter().find_map(|name| {
        let name = CString::new(name).expect("a name");
        // SAFETY: a string; the test has one thread.
        let entry = unsafe { libc::getpwnam(name.as_ptr()) };
        // SAFETY: null, or an entry that is valid until the next call.
        unsafe { entry.as_ref() }.map(|entry| (entry.pw_uid, entry.pw_gid))
    });
    Some(user.unwrap_or_else(|| skip("root, and no user to run postgresql as")))
}

struct Cluster {
    mode: Mode,
    programs: PathBuf,
    scratch: Scratch,
    user: Option<(u32, u32)>,
    /// Where the user can read it.
    library: PathBuf,
    seen: String,
}

impl Cluster {
    fn new(mode: Mode) -> Self {
        let (scratch, user) = (Scratch::new("postgres"), somebody());
        let copy = scratch.path().join("libsigplane_compat.so");
        std::fs::copy(library(), &copy).expect("a folder of ours");
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&copy, readable).expect("a file of ours");
        if let Some((user, group)) = user {
            chown(scratch.path(), Some(user), Some(group)).expect("root may");
        }
        let (programs, seen) = (programs(), String::new());
        let cluster = Self { mode, programs, scratch, user, library: copy, seen };
        let arguments = ["-N", "-A", "trust", "-U", "tester", "--locale=C", "-E", "UTF8"];
        let (exit, output) = output_of(cluster.command("initdb", &arguments));
        assert!(exit.success(), "{mode:?}: {exit:?} {output}");
        cluster
    }

    /// A program of the distribution on this cluster, in this mode.
    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(name));
        self.mode.apply(&mut command);
        if self.mode != Mode::Bare {
            command.env("LD_PRELOAD", &self.library);
        }
        let folder = self.scratch.path();
        command.args(arguments).current_dir(folder).env("LC_ALL", "C").env("TZ", "UTC");
        command.env("PGDATA", folder.join("data")).env("PGHOST", folder).env("PGUSER", "tester");
        command.env("PGDATABASE", "postgres").env("PGPORT", "5432").env("HOME", folder);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.process_group(0);
        command
    }

    fn start(&self) -> Daemon {
        let options = [
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=16MB",
            "-c",
            "log_line_prefix=",
            "-c",
            "restart_after_crash=on",
            "-c",
            "max_wal_size=64MB",
            "-c",
            "logging_collector=off",
            "-c",
            "deadlock_timeout=50ms",
            "-c",
            "min_parallel_table_scan_size=0",
            "-c",
            "parallel_setup_cost=0",
        ];
        let mut command = self.command("postgres", &options);
        command.arg("-k").arg(self.scratch.path());
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let server = Daemon::start_as_it_is(command);
        self.until_it_answers();
        server
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    fn log(&self) -> String {
        read_to_string(self.log_file()).unwrap_or_default()
    }

    fn until_it_answers(&self) {
        until("the server answers", || {
            let (exit, _) = output_of(self.command("psql", &["-XAtqc", "select 1"]));
            exit.success()
        });
    }

    /// Runs statements with psql; what they print belongs to what is compared.
    fn tell(&mut self, statements: &str) -> String {
        let (exit, output) = output_of(self.command("psql", &["-XAtqc", statements]));
        let (words, _) =
            output.split_once(" from server process with PID").unwrap_or((&output, ""));
        self.seen += &format!("{statements}\n{}\n{exit:?}\n", words.trim_end());
        output.trim().to_owned()
    }

    /// One value, which is not compared.
    fn ask(&self, query: &str) -> String {
        output_of(self.command("psql", &["-XAtqc", query])).1.trim().to_owned()
    }

    /// A backend that sleeps in a query of its own: the client and the backend's process id.
    fn sleeper(&self) -> (Daemon, i32) {
        let mut command = self.command("psql", &["-XAtqc", "select 'sleeper', pg_sleep(1000)"]);
        let output = File::create(self.scratch.path().join("sleeper")).expect("a folder of ours");
        command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
        let client = Daemon::start_as_it_is(command);
        let query = "select pid from pg_stat_activity where query like 'select ''sleeper''%' \
                     and state = 'active' and wait_event = 'PgSleep'";
        let mut pid = None;
        until("a sleeping backend", || {
            pid = self.ask(query).parse().ok();
            pid.is_some()
        });
        (client, pid.expect("seen"))
    }

    /// The sleeper's last words and end.
    fn end_of(&mut self, mut client: Daemon) {
        let end = client.end();
        let words = read_to_string(self.scratch.path().join("sleeper")).expect("its output");
        self.seen += &format!("{words}{end:?}\n");
    }

    /// What the server has said of signals, ends and recoveries; concurrent processes have no order.
    fn messages(&self) -> String {
        let parts = [
            "received",
            "terminat",
            "crash",
            "shut down",
            "cancel",
            "reload",
            "parameter",
            "interrupted",
            "automatic recovery",
            "exit",
            "database system is ready",
        ];
        let log = self.log();
        let lines = log.lines().filter(|line| parts.iter().any(|part| line.contains(part)));
        // Its helpers may be told to end before they have begun.
        let lines = lines.filter(|line| !line.contains("background worker"));
        let without_times = lines.map(|line| line.split(" at 2").next().unwrap_or_default());
        let unique: BTreeSet<String> =
            without_times.map(|line| without_numbers(line, 3) + "\n").collect();
        unique.into_iter().collect()
    }
}

/// Work, then every signal that PostgreSQL knows: HUP reloads, INT cancels, TERM ends a backend, ALRM is
/// every timeout, USR1 parallel workers and notifications; KILL and SEGV of a backend make the server end
/// all others, recover, and serve the same data again; smart, fast and immediate shutdown; a second
/// recovery.
fn life(mode: Mode) -> String {
    let mut cluster = Cluster::new(mode);
    let mut server = cluster.start();
    let (exit, output) = output_of(cluster.command("pgbench", &["-i", "-s", "1", "-q"]));
    assert!(exit.success(), "{output}");
    let load = ["-c", "4", "-j", "2", "-t", "100", "-n"];
    let (exit, output) = output_of(cluster.command("pgbench", &load));
    let processed = output.lines().find(|line| line.contains("actually processed"));
    cluster.seen += &format!("{processed:?} {exit:?}\n");
    cluster.tell("select count(*) from pgbench_history");
    cluster.tell("select sum(abalance) is not null from pgbench_accounts");

    cluster.tell("alter system set work_mem = '5MB'");
    let (exit, output) = output_of(cluster.command("pg_ctl", &["reload"]));
    cluster.seen += &format!("{output}{exit:?}\n");
    until("the reload", || cluster.ask("show work_mem") == "5MB");

    cluster.tell("set statement_timeout = 30; select pg_sleep(1000)");
    cluster.tell("set lock_timeout = 30; begin; lock pgbench_tellers; rollback");
    cluster.tell("listen news; notify news, 'payload'");
    let (client, _) = cluster.sleeper();
    client.signal(libc::SIGINT);
    cluster.end_of(client);
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let (client, backend) = cluster.sleeper();
        let done = cluster.ask(&format!("select {function}({backend})"));
        cluster.seen += &format!("{function} {done}\n");
        cluster.end_of(client);
    }
    for signal in [libc::SIGKILL, libc::SIGSEGV] {
        cluster.tell(&format!("create table t{signal} as select generate_series(1, 1000) as n"));
        let (client, backend) = cluster.sleeper();
        let recoveries = cluster.log().matches("ready to accept connections").count();
        kill(backend, signal);
        cluster.end_of(client);
        until("the recovery", || {
            cluster.log().matches("ready to accept connections").count() > recoveries
        });
        cluster.until_it_answers();
        cluster.tell(&format!("select sum(n) from t{signal}"));
    }
    for way in ["smart", "fast", "immediate"] {
        let (exit, output) = output_of(cluster.command("pg_ctl", &["stop", "-m", way]));
        let kept = output.lines().last().unwrap_or_default();
        cluster.seen += &format!("{way}: {kept} {exit:?} {:?}\n", server.end());
        server = cluster.start();
        cluster.tell("select sum(n) from t9");
    }
    server.signal(libc::SIGQUIT);
    cluster.seen += &format!("{:?}\n", server.end());
    format!("{}{}", cluster.seen, cluster.messages())
}

/// The same words, ends and data in every mode.
fn cluster() {
    programs();
    let seen = alike(life);
    for expected in [
        "400/400",
        "canceling statement due to user request",
        "canceling statement due to statement timeout",
        "terminating connection due to administrator command",
        "was terminated by signal 9: Killed",
        "was terminated by signal 11: Segmentation fault",
        "select sum(n) from t11\n500500\n",
        "received immediate shutdown request",
    ] {
        assert!(seen.contains(expected), "{expected:?} in {seen}");
    }
}

fn main() {
    Suite { tests: &[("cluster", cluster)], victims: &[] }.main()
}
