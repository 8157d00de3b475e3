//! `isthmus crds`.

use isthmus_cli::global::Output;

use crate::args::CrdsArgs;
use crate::output;

pub(crate) fn run(_: &CrdsArgs, output: Output) -> anyhow::Result<()> {
    output::objects(&isthmus_kubernetes::crd::crds(), output)
}
