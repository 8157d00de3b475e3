//! The parts of the lab as processes, and what they keep.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::lab::{LAB_NAME, Lab, run, suffix, variable};

/// Where etcd serves its JSON gateway.
const ETCD: &str = "http://127.0.0.1:2379";

const BREAK: &str =
    "update load_balancer set provisioning_status = 'ERROR' where provisioning_status = 'ACTIVE'";

/// What names the lab that the tests run in, in its folders.
fn lab() -> String {
    match &*suffix() {
        "" => "isthmus-lab".into(),
        name => format!("isthmus-lab-{name}"),
    }
}

/// Configuration and work files of OpenStack's services.
fn services() -> PathBuf {
    Path::new("/run").join(lab()).join("openstack")
}

/// What etcd keeps.
fn etcd() -> PathBuf {
    Path::new("/dev/shm").join(lab()).join("etcd")
}

/// What `cargo xtask lab` prints.
///
/// # Errors
/// It fails.
pub async fn xtask_lab(arguments: &[&str]) -> Result<String> {
    xtask_lab_of(&suffix(), arguments).await
}

/// As [`xtask_lab`], of the lab of this name.
///
/// # Errors
/// It fails.
pub async fn xtask_lab_of(name: &str, arguments: &[&str]) -> Result<String> {
    let mut xtask = Command::new(variable("ISTHMUS_XTASK")?);
    run(xtask.arg("lab").args(arguments).env(LAB_NAME, name).stdin(Stdio::null())).await
}

pub(crate) async fn part_of_lab(verb: &str, part: &str, flags: &[&str]) -> Result<()> {
    xtask_lab(&[&[verb, part], flags].concat()).await.map(drop)
}

impl Lab {
    /// Kills a part of the lab.
    ///
    /// # Errors
    /// It can't be.
    pub async fn kill_part(&self, part: &str) -> Result<()> {
        part_of_lab("stop", part, &["--kill"]).await
    }

    /// Starts a part of the lab, and waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn start_part(&self, part: &str) -> Result<()> {
        part_of_lab("start", part, &[]).await
    }

    /// Takes from etcd all history before now: a watch can't be resumed from what was.
    ///
    /// # Errors
    /// etcd's.
    pub async fn compact_etcd(&self) -> Result<()> {
        let system = Api::<Namespace>::all(self.kube.clone()).list(&ListParams::default()).await?;
        let revision = system.metadata.resource_version.context("a list has a version")?;
        let body = json!({"revision": revision, "physical": true}).to_string();
        let url = format!("{ETCD}/v3/kv/compaction");
        run(Command::new("curl").args(["-sfm", "10", "-X", "POST", "-d", &body, &url])).await.map(drop)
    }

    /// Changes Octavia's database: what only a fault of its own does.
    ///
    /// # Errors
    /// The database's.
    pub async fn octavia_sql(&self, statement: &str) -> Result<()> {
        run(Command::new("mysql").args([
            "-S",
            &format!("{}/mariadb.sock", services().display()),
            "octavia",
            "-e",
            statement,
        ]))
        .await
        .map(drop)
    }

    /// Makes every load balancer there is one in ERROR. (Those that are deleted stay in the table for a time.)
    ///
    /// # Errors
    /// The database's.
    pub async fn break_balancers(&self) -> Result<()> {
        self.octavia_sql(BREAK).await
    }

    /// Stops etcd and what talks to it, and copies what it holds. Both run again afterwards.
    ///
    /// # Errors
    /// A part does not stop or start, or the copy's.
    pub async fn back_up_etcd(&self) -> Result<TempDir> {
        let copy = tempfile::tempdir()?;
        self.without_etcd(async || {
            let into = copy.path().join("etcd");
            run(Command::new("cp").arg("-a").arg(etcd()).arg(into)).await.map(drop)
        })
        .await?;
        Ok(copy)
    }

    /// Makes etcd hold again what it held then, as after a disaster: the revision is an earlier one too. Kubernetes' own
    /// controllers are started again, as etcd's guide to a restore has it: they may wait for events of revisions to come.
    ///
    /// # Errors
    /// As [`Lab::back_up_etcd`].
    pub async fn restore_etcd(&self, copy: &TempDir) -> Result<()> {
        self.without_etcd(async || {
            std::fs::remove_dir_all(etcd())?;
            run(Command::new("cp").arg("-a").arg(copy.path().join("etcd")).arg(etcd())).await.map(drop)
        })
        .await?;
        self.restarted_part("controllers").await?;
        self.restarted_part("scheduler").await
    }

    /// Starts its parts again whatever became of the work.
    async fn without_etcd(&self, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let done = async {
            for part in ["apiserver", "etcd"] {
                part_of_lab("stop", part, &[]).await?;
            }
            work().await
        };
        let done = done.await;
        let started = async {
            self.start_part("etcd").await?;
            self.start_part("apiserver").await
        };
        done.and(started.await)
    }

    /// Runs with tokens that Keystone gives for so many seconds, then with those of before.
    ///
    /// # Errors
    /// Those of the run, and of the change.
    pub async fn with_tokens_of(&self, seconds: u32, run: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let path = services().join("etc/keystone.conf");
        let whole = std::fs::read_to_string(&path)?;
        let lines = whole.lines().map(|line| match line.starts_with("expiration") {
            true => format!("expiration = {seconds}\n"),
            false => format!("{line}\n"),
        });
        let ran = async {
            std::fs::write(&path, lines.collect::<String>())?;
            self.restarted_part("keystone").await?;
            run().await
        };
        let ran = ran.await;
        let restored = async {
            std::fs::write(&path, whole)?;
            self.restarted_part("keystone").await
        };
        ran.and(restored.await)
    }

    async fn restarted_part(&self, part: &str) -> Result<()> {
        self.kill_part(part).await?;
        self.start_part(part).await
    }
}
