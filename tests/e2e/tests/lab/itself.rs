//! The lab itself, as who looks around in it has it.

use anyhow::{Context, Result, ensure};
use isthmus_e2e::xtask_lab;
use serde_json::Value;

/// Each part with its process.
async fn parts() -> Result<Vec<(Value, Value)>> {
    let parts: Vec<Value> = serde_json::from_str(&xtask_lab(&["status", "-o", "json"]).await?)?;
    ensure!(parts.iter().all(|part| part.get("running") == Some(&true.into())), "{parts:?}");
    let of = |part: &Value, field: &str| part.get(field).cloned().with_context(|| format!("{field}: {part}"));
    parts.iter().map(|part| Ok((of(part, "part")?, of(part, "pid")?))).collect()
}

#[tokio::test]
async fn up_changes_nothing_of_one_that_runs_and_its_shell_has_the_clients() -> Result<()> {
    let before = parts().await?;
    ensure!(before.len() > 10, "{before:?}");
    xtask_lab(&["up", "--octavia"]).await?;
    ensure!(parts().await? == before, "another process");
    let version: Value =
        serde_json::from_str(&xtask_lab(&["shell", "kubectl", "version", "-o", "json"]).await?)?;
    ensure!(version.pointer("/serverVersion/major") == Some(&"1".into()), "{version}");
    let networks = xtask_lab(&["shell", "openstack", "network", "list", "-f", "value", "-c", "Name"]).await?;
    ensure!(networks.lines().any(|name| name == "pods"), "{networks}");
    Ok(())
}
