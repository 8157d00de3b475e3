//! Whether the agent is well. STATUS and /ready say whether Pods can be attached, /alive whether a new start would help.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent::Agent;
use crate::netlink::netns;
use crate::source::VifSource;

/// ADDs in a row that may fail by the node's own fault: a kernel or disk that refuses, not a port that is late.
const MOST_FAULTS: i64 = 10;
/// Of so many Pods at least: what is wrong with one Pod, a new start does not mend.
const FAULTY_PODS: usize = 3;
/// Capabilities that links, and other network namespaces, need (linux/capability.h).
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Where an agent looks to tell whether it is well.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Folder of its cgroup.
    pub cgroup: PathBuf,
    /// Folder in which runtimes keep the network namespaces of Pods.
    pub namespaces: PathBuf,
}

impl Default for Paths {
    /// Where they are on every node.
    fn default() -> Self {
        Self { cgroup: "/sys/fs/cgroup".into(), namespaces: "/run/netns".into() }
    }
}

impl Paths {
    /// Where there was no Pod yet, the runtime has not made the folder of the namespaces: it is made as the runtime would. In a
    /// container that lacks the mount of the host's and may not write there is nowhere to make it, and the agent is not ready.
    pub(crate) fn prepare(&self) {
        if let Err(error) = fs::create_dir(&self.namespaces)
            && !self.namespaces.is_dir()
        {
            tracing::warn!(folder = %self.namespaces.display(), %error, "no folder of the network namespaces of Pods");
        }
    }

    /// Whether the namespaces of Pods can be seen.
    fn namespaces(&self) -> Result<(), String> {
        fs::read_dir(&self.namespaces).map(drop).map_err(|e| {
            let folder = self.namespaces.display();
            format!("the agent does not see the network namespaces of Pods: {folder}: {e}")
        })
    }
}

/// Memory of a cgroup, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the kernel cannot take back.
    pub used: u64,
    /// Where it begins to kill; `None`: nowhere.
    pub limit: Option<u64>,
}

impl Memory {
    /// That of the cgroup (version 2, or 1) below `root`; `None`: it has none of its own.
    pub fn read(root: &Path) -> Option<Self> {
        let files = [
            (root.to_owned(), "memory.current", "memory.max", "inactive_file"),
            (root.join("memory"), "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
        ];
        files.into_iter().find_map(|(folder, used, limit, cache)| {
            let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cached = stat.lines().find_map(|l| l.strip_prefix(cache)?.trim().parse::<u64>().ok());
            // Version 1 has a limit of nearly 2^63 where there is none.
            let limit = number(limit).filter(|bytes| *bytes < 1 << 60);
            Some(Self { used: number(used)?.saturating_sub(cached.unwrap_or(0)), limit })
        })
    }

    /// # Errors
    /// It is nearly used up: better to end in order than to be killed.
    pub fn enough(self) -> Result<(), String> {
        match self.limit {
            Some(limit) if self.used > limit / 100 * 95 => {
                Err(format!("{} of {limit} bytes of memory are used", self.used))
            }
            _ => Ok(()),
        }
    }
}

/// # Errors
/// The first one that is missing.
fn capabilities() -> Result<(), String> {
    let status = fs::read_to_string("/proc/thread-self/status").map_err(|e| format!("/proc: {e}"))?;
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    match CAPABILITIES.into_iter().find(|(bit, _)| effective & (1 << bit) == 0) {
        Some((_, name)) => Err(format!("the agent lacks {name}")),
        None => Ok(()),
    }
}

impl<S: VifSource> Agent<S> {
    /// # Errors
    /// Why no Pod can be attached.
    pub async fn ready(&self) -> Result<(), String> {
        capabilities()?;
        netns::may_enter().map_err(|e| format!("the agent may not enter a network namespace: {e}"))?;
        self.paths().namespaces()?;
        // The others are those of single VIFs: each says so itself when it is asked for.
        let (name, driver) = self.default_driver().map_err(|e| e.to_string())?;
        driver.usable().await.map_err(|e| format!("binding driver {name} cannot be used: {e}"))?;
        let why = "no new Pod can be told, those that are known can be attached";
        self.source().usable().map_err(|e| format!("{e}: {why}"))
    }

    /// # Errors
    /// Why it should be started anew.
    pub fn alive(&self) -> Result<(), String> {
        let faults = self.metrics().add_faults.get();
        if faults >= MOST_FAULTS && self.faulty() >= FAULTY_PODS {
            return Err(format!(
                "{faults} ADDs of {} Pods in a row failed by this node's own fault",
                self.faulty()
            ));
        }
        Memory::read(&self.paths().cgroup).map_or(Ok(()), Memory::enough)
    }

    /// Brings the numbers up to date that are looked at, not counted.
    pub fn measure(&self) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let all = self.attachments().list();
        let live = all.iter().filter(|a| self.attachments().is_live(a)).count();
        self.metrics().attachments.set(number(live));
        let due = all.iter().filter(|a| !a.begun && !self.attachments().is_live(a)).count();
        self.metrics().unhook_due.set(number(due));
        let memory = Memory::read(&self.paths().cgroup);
        self.metrics().memory.set(memory.and_then(|m| i64::try_from(m.used).ok()).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(files: &[(&str, &str)]) -> Option<Memory> {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Memory::read(root.path())
    }

    #[test]
    fn memory_is_read_from_either_version() {
        let stat = "anon 5\ninactive_file 300\n";
        let two = cgroup(&[("memory.current", "1000\n"), ("memory.max", "max\n"), ("memory.stat", stat)]);
        assert_eq!(two, Some(Memory { used: 700, limit: None }));
        let one = cgroup(&[
            ("memory/memory.usage_in_bytes", "1000\n"),
            ("memory/memory.limit_in_bytes", "1024\n"),
            ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 10\n"),
        ]);
        assert_eq!(one, Some(Memory { used: 990, limit: Some(1024) }));
        assert!(one.unwrap().enough().unwrap_err().contains("990 of 1024"));
        let none = cgroup(&[
            ("memory/memory.usage_in_bytes", "5"),
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
        ]);
        assert_eq!(none, Some(Memory { used: 5, limit: None }));
        assert_eq!(cgroup(&[]), None);
    }
}
