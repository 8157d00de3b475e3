//! The processes that we start: each leads a process group of its own, so that what it started in turn ends with it, at its
//! limit, on an error of ours, and when we are interrupted. A terminal's Ctrl-C reaches us alone; we pass it on.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::lab;
use crate::step::say;

/// How long what was interrupted may take to end by itself: an operator gives its lease back.
const GRACE: Duration = Duration::from_secs(10);

/// What runs now.
static RUNNING: Mutex<Running> = Mutex::new(Running { groups: Vec::new(), interrupted: false });

struct Running {
    groups: Vec<Pid>,
    /// Nothing more is started.
    interrupted: bool,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process, and the group that it leads. Killed when dropped before its end.
pub(crate) struct Started {
    /// The leader.
    pub(crate) child: Child,
    group: Pid,
}

impl Started {
    /// Starts a command.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let mut running = running();
        if running.interrupted {
            bail!("interrupted");
        }
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let group = Pid::from_child(&child);
        running.groups.push(group);
        Ok(Self { child, group })
    }

    /// The leader's end, if it has come. What it left behind in its group may still run.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks the leader's group to end. Not twice: an operator takes the second time for an order to drop everything.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        if interrupted() { Ok(()) } else { self.signal(Signal::TERM) }
    }

    /// Ends the leader's group at once.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Not once the leader has been waited for: its number may be another's then.
    fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none() {
            kill_process_group(self.group, signal)?;
        }
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.kill().is_ok() {
            let _ = self.child.wait();
        }
        running().groups.retain(|group| *group != self.group);
    }
}

/// Whether we were, and all that runs has been asked to end.
pub(crate) fn interrupted() -> bool {
    running().interrupted
}

/// From now on an interrupt ends what runs, and then us.
pub(crate) fn end_on_interrupt() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("handling signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let groups = {
                let mut running = running();
                running.interrupted = true;
                running.groups.clone()
            };
            if !groups.is_empty() {
                say("interrupted", "stopping what was started");
                end(&groups, GRACE, || signals.pending().next().is_some());
            }
            // as a shell does
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Asks groups to end, and kills what has not in time, or once `hurry` says so.
fn end(groups: &[Pid], grace: Duration, mut hurry: impl FnMut() -> bool) {
    let asked = Instant::now();
    for group in groups {
        let _ = kill_process_group(*group, Signal::TERM);
    }
    let alive = |group: &&Pid| {
        u32::try_from(group.as_raw_nonzero().get()).is_ok_and(|pid| lab::started(pid).is_some())
    };
    while groups.iter().any(|group| alive(&group)) && asked.elapsed() < grace && !hurry() {
        thread::sleep(Duration::from_millis(50));
    }
    for group in groups.iter().filter(alive) {
        let _ = kill_process_group(*group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Started {
        Started::spawn(Command::new("sh").args(["-c", script])).unwrap()
    }

    /// One that ignores SIGTERM, as soon as it is here: the shell's trap is not there from the start.
    fn deaf() -> Started {
        let started = shell("trap '' TERM; sleep 60; sleep 60");
        let status = format!("/proc/{}/status", started.child.id());
        let ignores = |status: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (Signal::TERM.as_raw() - 1) != 0
        };
        let began = Instant::now();
        while !ignores(&std::fs::read_to_string(&status).unwrap()) {
            assert!(began.elapsed() < Duration::from_secs(20), "no trap");
            thread::yield_now();
        }
        started
    }

    #[test]
    fn dropped_before_its_end_it_is_killed() {
        let started = shell("exec sleep 60");
        let pid = started.child.id();
        assert!(running().groups.contains(&started.group));
        let group = started.group;
        drop(started);
        assert!(lab::started(pid).is_none() && !running().groups.contains(&group));
    }

    #[test]
    fn who_does_not_listen_is_killed() {
        let (mut deaf, mut polite) = (deaf(), shell("exec sleep 60"));
        let began = Instant::now();
        end(&[deaf.group, polite.group], Duration::from_millis(500), || false);
        assert!(deaf.child.wait().unwrap().code().is_none() && polite.child.wait().unwrap().code().is_none());
        assert!((500..20_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let mut other = self::deaf();
        end(&[other.group], Duration::from_secs(60), || true);
        assert!(other.child.wait().unwrap().code().is_none());
    }
}
