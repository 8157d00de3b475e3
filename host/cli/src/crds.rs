//! `isthmus crds`.

use crate::args::CrdsArgs;
use crate::output;

pub(crate) fn run(_: &CrdsArgs) -> anyhow::Result<()> {
    for crd in isthmus_kubernetes::crd::crds() {
        output::text_out(&format!("---\n{}", output::yaml(&crd)?))?;
    }
    Ok(())
}
