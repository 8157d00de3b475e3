//! Runs a command as a step that a person can follow: a line with the reason before it, a sign of life while it
//! is silent, its last lines when it fails. Several steps may run side by side; each line names its step.
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::children::Started;
use crate::workspace::Workspace;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Whether what is said goes to standard error.
static ASIDE: AtomicBool = AtomicBool::new(false);
/// A step that has said nothing for so long gives a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a dead command's children may hold its output open before they are left alone.
const GRACE: Duration = Duration::from_secs(2);
/// Lines that are shown of a step that failed.
const TAIL: usize = 60;

/// Starts the clock that every line shows.
pub(crate) fn start_clock() {
    LazyLock::force(&START);
}

/// From now on standard output is for a program, and what is said to a person goes to standard error.
pub(crate) fn say_aside() {
    ASIDE.store(true, Ordering::Relaxed);
}

/// Prints one line of a step with the seconds since we started.
pub(crate) fn say(step: &str, text: &str) {
    let line = format!("[{:>6.1} s] {step}: {text}", START.elapsed().as_secs_f64());
    if ASIDE.load(Ordering::Relaxed) { eprintln!("{line}") } else { println!("{line}") }
}

/// A command with what is said about it.
pub(crate) struct Step<'a> {
    /// Short name; also the log file's.
    pub(crate) name: &'a str,
    /// What it does and why it takes a while; printed before it starts. Empty: nothing is said.
    pub(crate) reason: &'a str,
    /// Whether its standard output is for the person (a script that tells what it does) or for the log.
    pub(crate) echo: bool,
    /// It is killed after that, with all that it started.
    pub(crate) limit: Duration,
    /// After so long in silence it is said that it goes on.
    pub(crate) heartbeat: Duration,
}

/// How a command ended.
pub(crate) struct Done {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) seconds: f64,
    tail: String,
}

impl Done {
    /// The step's result, or an error that holds its last lines.
    pub(crate) fn ok(self, name: &str) -> Result<Self> {
        if !self.success {
            bail!("{name} failed; its last lines:\n{}", self.tail);
        }
        Ok(self)
    }

    /// Prints the last lines of a step that failed.
    pub(crate) fn complain(&self, name: &str) {
        if !self.success {
            say(name, &format!("FAILED; its last lines:\n{}", self.tail));
        }
    }
}

struct Line {
    text: String,
    is_stdout: bool,
}

impl Line {
    /// Messages of cargo, rows of a bench: whoever reads them takes them from `Done::stdout`, and no person wants to.
    fn is_for_programs(&self) -> bool {
        self.is_stdout && self.text.starts_with("{\"")
    }
}

fn forward(stream: impl Read + Send + 'static, is_stdout: bool, to: Sender<Line>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if to.send(Line { text, is_stdout }).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

impl<'a> Step<'a> {
    /// A step whose output goes to the log, with a limit of ten minutes.
    pub(crate) fn new(name: &'a str, reason: &'a str) -> Self {
        Self { name, reason, echo: false, limit: Duration::from_secs(600), heartbeat: HEARTBEAT }
    }

    /// A step that speaks for itself, with a limit of half an hour (Kubernetes may have to be built).
    pub(crate) fn script(name: &'a str) -> Self {
        Self { echo: true, limit: Duration::from_secs(1800), ..Self::new(name, "") }
    }

    /// Runs the command to its end. An error is one of ours (it cannot be started, its log cannot be written);
    /// a command that fails is a `Done` that says so.
    pub(crate) fn run(&self, workspace: &Workspace, command: Command) -> Result<Done> {
        self.run_and_tell(workspace, command, |text| say(self.name, text))
    }

    /// As [`Self::run`]; what is to be said goes to `tell`.
    fn run_and_tell(
        &self,
        workspace: &Workspace,
        mut command: Command,
        mut tell: impl FnMut(&str),
    ) -> Result<Done> {
        if !self.reason.is_empty() {
            tell(self.reason);
        }
        let started = Instant::now();
        let logs = workspace.target.join("xtask");
        fs::create_dir_all(&logs)?;
        let mut log = fs::File::create(logs.join(format!("{}.log", self.name.replace([' ', '/'], "-"))))?;
        let mut process =
            Started::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let (sender, lines) = channel();
        if let Some(stdout) = process.child.stdout.take() {
            forward(stdout, true, sender.clone());
        }
        if let Some(stderr) = process.child.stderr.take() {
            forward(stderr, false, sender);
        }
        let (mut stdout, mut all) = (String::new(), Vec::new());
        let (mut spoke, mut ended) = (started, None);
        let mut on_time = true;
        let status = loop {
            match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => {
                    writeln!(log, "{}", line.text)?;
                    if line.is_stdout && self.echo {
                        tell(&line.text);
                        spoke = Instant::now();
                    }
                    if line.is_stdout {
                        stdout.push_str(&line.text);
                        stdout.push('\n');
                    }
                    if !line.is_for_programs() {
                        all.push(line.text);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // it has closed its output, and ends in a moment, or goes on in silence up to its limit
                Err(RecvTimeoutError::Disconnected) => match process.ended()? {
                    Some(status) => break status,
                    None => thread::sleep(Duration::from_millis(5)),
                },
            }
            if ended.is_none() {
                ended = process.ended()?.map(|status| (status, Instant::now()));
            }
            if let Some((status, at)) = ended
                && at.elapsed() > GRACE
            {
                break status;
            }
            if spoke.elapsed() > self.heartbeat {
                let last: String = all.last().map_or("", |l| l.trim()).chars().take(90).collect();
                tell(&format!("still at it after {} s: {last}", started.elapsed().as_secs()));
                spoke = Instant::now();
            }
            if on_time && started.elapsed() > self.limit {
                on_time = false;
                all.push(format!("killed: it took longer than {} s", self.limit.as_secs()));
                process.kill()?;
            }
        };
        let tail = all.split_off(all.len().saturating_sub(TAIL)).join("\n");
        Ok(Done {
            success: status.success() && on_time,
            stdout,
            seconds: started.elapsed().as_secs_f64(),
            tail,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{Done, Step};
    use crate::workspace::Workspace;

    fn run(name: &str, limit: Duration, script: &str) -> Done {
        told(&Step { limit, ..Step::new(name, "") }, script).0
    }

    /// How it ended, and what was said.
    fn told(step: &Step<'_>, script: &str) -> (Done, Vec<String>) {
        let target = std::env::temp_dir().join(format!("xtask-step-{}", std::process::id()));
        let workspace = Workspace { root: PathBuf::new(), target };
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut said = Vec::new();
        let done = step.run_and_tell(&workspace, command, |text| said.push(text.to_owned())).unwrap();
        (done, said)
    }

    /// Nobody has to ask what takes so long.
    #[test]
    fn a_long_step_gives_its_reason_and_says_that_it_goes_on() {
        let reason = "building Kubernetes, ~7 min the first time";
        let step = Step { heartbeat: Duration::from_millis(100), ..Step::new("long", reason) };
        let (done, said) = told(&step, "echo compiling etcd; sleep 2");
        let [first, beats @ ..] = said.as_slice() else { panic!("nothing was said") };
        assert!(done.success && first == reason, "{said:?}");
        assert!(beats.iter().all(|line| line.starts_with("still at it after ")), "{said:?}");
        // Of the output the last line.
        assert!(beats.last().is_some_and(|line| line.ends_with(" s: compiling etcd")), "{said:?}");
        // One that speaks for itself is told word by word, and is not interrupted.
        let (_, said) = told(&Step::script("speaks"), "echo one; echo two; echo aside >&2");
        assert_eq!(said, ["one", "two"]);
    }

    #[test]
    fn output_and_failure_are_told_apart() {
        let done = run("fails", Duration::from_secs(60), "echo out; echo err >&2; exit 3");
        assert!(!done.success);
        assert_eq!(done.stdout, "out\n");
        let error = done.ok("it").err().unwrap().to_string();
        assert!(error.contains("out") && error.contains("err"), "{error}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_all_that_it_started() {
        let started = Instant::now();
        let done = run("slow", Duration::from_millis(300), "sleep 60 & echo $!; wait");
        assert!(!done.success && started.elapsed() < Duration::from_secs(30));
        let child: u32 = done.stdout.trim().parse().unwrap();
        // killed, but not yet waited for by whoever inherited it
        while crate::lab::started(child).is_some() && started.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(crate::lab::started(child), None);
    }

    #[test]
    fn the_limit_holds_for_what_has_closed_its_output_too() {
        let started = Instant::now();
        let done = run("silent", Duration::from_millis(300), "exec >&- 2>&-; sleep 60");
        assert!(!done.success && started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_programs_say_to_programs_is_not_for_the_person() {
        let script = r#"echo '{"reason":"compiler-artifact"}'; echo 'Compiling us' >&2; exit 1"#;
        let done = run("machine", Duration::from_secs(60), script);
        assert_eq!(done.stdout, "{\"reason\":\"compiler-artifact\"}\n");
        let error = done.ok("it").err().unwrap().to_string();
        assert!(error.contains("Compiling us") && !error.contains("reason"), "{error}");
    }

    #[test]
    fn a_child_that_is_left_behind_does_not_hold_the_step() {
        let started = Instant::now();
        let done = run("leaves", Duration::from_secs(60), "sleep 20 & echo done");
        assert!(done.success && started.elapsed() < Duration::from_secs(15));
        assert_eq!(done.stdout, "done\n");
    }
}
