//! `isthmus crds`.

use crate::args::{CrdsArgs, Output};
use crate::output;

pub(crate) fn run(_: &CrdsArgs, output: Output) -> anyhow::Result<()> {
    output::objects(&isthmus_kubernetes::crd::crds(), output)
}
