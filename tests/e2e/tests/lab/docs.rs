//! `docs/`: the commands as a reader types them, on the lab.

#[path = "../../../../host/cli/tests/snippets/mod.rs"]
mod snippets;

use std::path::Path;

use anyhow::{Error, Result, ensure};
use isthmus_e2e::{DEPLOY, Lab, dev_tools, node, on_lab};

/// Follows a page with an operator running, and takes away what the page made.
async fn follow(lab: &Lab, page: &str) -> Result<()> {
    let _operator = lab.operator(&[]).await?;
    let isthmus = std::env::var("ISTHMUS_BIN")?;
    let words = ["run", "lab", "real"];
    let (isthmus, modules) = (Path::new(&isthmus), snippets::modules());
    // The Pods of a page are bound to the node that is there.
    let followed = snippets::follow(page, &words, isthmus, &modules, &[("NODE", node())]).map_err(Error::msg);
    let cleared = clear(lab).await;
    followed.and(cleared)
}

/// What the pages make, and no other test.
async fn clear(lab: &Lab) -> Result<()> {
    lab.kubectl(&["delete", "-f", &format!("{DEPLOY}/admission.yaml"), "--ignore-not-found"]).await?;
    lab.kubectl(&["delete", "crd", "widgets.example.com", "--ignore-not-found"]).await?;
    lab.kubectl(&["delete", "pods", "--all", "-n", "shop", "--force", "--grace-period=0"]).await?;
    // Until it is gone: the next page makes one of that name, and its mappings go while the operator runs.
    lab.kubectl(&["delete", "namespace", "shop", "--ignore-not-found", "--timeout=120s"]).await?;
    Ok(())
}

#[tokio::test]
async fn the_operators_guide_works() -> Result<()> {
    on_lab("docs-operator", async |lab| follow(lab, "operator.md").await).await
}

#[tokio::test]
async fn the_authors_guide_works() -> Result<()> {
    on_lab("docs-author", async |lab| follow(lab, "module-author.md").await).await
}

/// From the first command to the last, in the shell that `isthmus dev` opens.
#[test]
fn the_authors_guide_works_on_dev() -> Result<()> {
    let tools = dev_tools()?;
    snippets::follow_on_dev("module-author.md", &tools.isthmus, &tools.modules).map_err(Error::msg)
}

#[tokio::test]
async fn manifests_are_taken() -> Result<()> {
    on_lab("docs-manifests", async |lab| {
        for file in ["rbac.yaml", "admission.yaml", "operator.yaml", "node.yaml", "agent.yaml"] {
            let path = format!("{DEPLOY}/{file}");
            let said = lab.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &path]).await?;
            ensure!(said.contains("(server dry run)"), "{file}: {said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn objects_of_the_pages_are_taken() -> Result<()> {
    on_lab("docs-objects", async |lab| {
        let folder = tempfile::tempdir()?;
        let mut seen = 0;
        for (place, text) in ["operator.md", "module-author.md"].into_iter().flat_map(snippets::objects) {
            let file = folder.path().join(format!("{seen}.yaml"));
            std::fs::write(&file, text)?;
            let taken = lab.kubectl(&["apply", "--dry-run=server", "-f", &file.display().to_string()]).await;
            taken.map_err(|error| error.context(place))?;
            seen += 1;
        }
        ensure!(seen >= 2, "{seen} objects");
        Ok(())
    })
    .await
}
