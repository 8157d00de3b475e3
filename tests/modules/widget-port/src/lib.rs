//! Maps `example.org/v1 Widget` to a port on the network that it names.

use isthmus_sdk::objects::{ObjectMeta, Text};
use isthmus_sdk::prelude::*;
use serde::Deserialize;

struct WidgetPort;

#[derive(Deserialize)]
struct Widget<'a> {
    #[serde(borrow)]
    metadata: ObjectMeta<'a>,
    #[serde(borrow, default)]
    spec: WidgetSpec<'a>,
}

#[derive(Default, Deserialize)]
struct WidgetSpec<'a> {
    #[serde(borrow)]
    network: Option<Text<'a>>,
}

impl Module for WidgetPort {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Manifest::new("widget-port", env!("CARGO_PKG_VERSION"), "A Neutron port for every Widget")
            .maps(Kind::new("example.org", "v1", "Widget"), ["spec.network"])
    }
}

impl Mapper for WidgetPort {
    fn map(subject: &str, _: NoConfig) -> Result<Vec<Desired>, Outcome> {
        let widget: Widget<'_> = parse_subject(subject)?;
        let network = widget.spec.network.or_invalid("a Widget names its network", "spec.network")?;
        let description = format!("of Widget {}", &*widget.metadata.name);
        Ok(vec![Port::new(existing(&network)).named("port").description(description)])
    }
}

isthmus_sdk::export_mapper!(WidgetPort);
