//! Random objects of each kind.

use serde_json::{Map, Value, json};

use crate::random::Random;

/// A kind that requests are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// v1
    ConfigMap,
    /// v1
    Pod,
    /// v1
    Service,
    /// v1; the stream has some of its own.
    Namespace,
    /// coordination.k8s.io/v1
    Lease,
    /// isthmus.dev/v1alpha1
    CloudMapping,
    /// isthmus.dev/v1alpha1
    PolicyModule,
    /// The test's: everything that a schema can say.
    Widget,
    /// The test's: anything goes; no subresource `status`.
    Gadget,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::ConfigMap,
        Self::Pod,
        Self::Service,
        Self::Namespace,
        Self::Lease,
        Self::CloudMapping,
        Self::PolicyModule,
        Self::Widget,
        Self::Gadget,
    ];

    /// Group and version, kind, plural.
    pub fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ConfigMap => ("v1", "ConfigMap", "configmaps"),
            Self::Pod => ("v1", "Pod", "pods"),
            Self::Service => ("v1", "Service", "services"),
            Self::Namespace => ("v1", "Namespace", "namespaces"),
            Self::Lease => ("coordination.k8s.io/v1", "Lease", "leases"),
            Self::CloudMapping => ("isthmus.dev/v1alpha1", "CloudMapping", "cloudmappings"),
            Self::PolicyModule => ("isthmus.dev/v1alpha1", "PolicyModule", "policymodules"),
            Self::Widget => ("conformance.isthmus.dev/v1", "Widget", "widgets"),
            Self::Gadget => ("conformance.isthmus.dev/v1alpha1", "Gadget", "gadgets"),
        }
    }

    /// Whether it lives in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::PolicyModule | Self::Gadget)
    }

    /// Whether a CRD makes it.
    pub fn custom(self) -> bool {
        matches!(self, Self::CloudMapping | Self::PolicyModule | Self::Widget | Self::Gadget)
    }

    /// Whether it has a status of its own.
    pub fn status(self) -> bool {
        matches!(self, Self::Pod | Self::Service | Self::CloudMapping | Self::PolicyModule | Self::Widget)
    }

    /// A whole object.
    pub fn object(self, random: &mut Random, name: &str) -> Value {
        let (version, kind, _) = self.names();
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata(random, name)});
        merge(&mut object, self.content(random));
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            // Whether an empty map is a change of a custom resource hangs on the second that it is written in.
            metadata.retain(|_, value| *value != json!({}));
            if self == Self::Pod {
                // The garbage collector of Pods takes away, at any of its looks every 20 s, one that goes and is on no
                // node. PUT and apply make one that goes from its first moment.
                metadata.remove("finalizers");
                metadata.remove("deletionTimestamp");
            }
            if self == Self::Namespace {
                // one that seems to go is emptied, sooner or later
                metadata.remove("deletionTimestamp");
            }
        }
        object
    }

    /// What is beside the metadata, all or much of it.
    pub fn content(self, random: &mut Random) -> Value {
        match self {
            Self::ConfigMap => config_map(random),
            Self::Pod => json!({"spec": pod_spec(random)}),
            Self::Service => json!({"spec": service_spec(random)}),
            Self::Namespace => json!({}),
            Self::Lease => json!({"spec": lease_spec(random)}),
            Self::CloudMapping => json!({"spec": {"subject": subject(random)}}),
            Self::PolicyModule => json!({"spec": module_spec(random)}),
            Self::Widget => json!({"spec": widget_spec(random)}),
            Self::Gadget => gadget(random),
        }
    }

    /// A status.
    pub fn status_content(self, random: &mut Random) -> Value {
        match self {
            Self::Pod => json!({
                "phase": random.of(&["Pending", "Running", "Succeeded"]),
                "message": random.of(&["", "m"]),
                "conditions": conditions(random),
            }),
            Self::Service => match random.one_in(2) {
                true => json!({"conditions": full_conditions(random)}),
                false => json!({"loadBalancer": {}}),
            },
            Self::CloudMapping => json!({
                "ips": random.of(&[json!("10.0.0.1"), Value::Null]),
                "resourceCount": random.of(&[json!(1), json!(2), Value::Null]),
                "conditions": full_conditions(random),
                "resources": random.of(&[
                    json!([]),
                    json!([{"kind": "port", "name": "a", "state": "Ready"}]),
                    json!([{"kind": "port", "name": "a", "state": "Pending", "addresses": ["10.0.0.1"]},
                           {"kind": "port", "name": "b", "state": "Ready", "references": [{"id": "x", "entry": "a"}]}]),
                    json!([{"kind": "Port!", "name": "a", "state": "Gone"}]),
                ]),
            }),
            Self::PolicyModule => {
                json!({"conditions": full_conditions(random), "version": random.of(&["1.0.0", "1.0.1"])})
            }
            _ => json!({
                "phase": random.of(&["New", "Old"]),
                "seen": random.of(&[json!(1), json!(2), json!("three")]),
                "conditions": conditions(random),
            }),
        }
    }
}

/// Puts the fields of one object into another.
pub(super) fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn some<T: Into<Value>>(random: &mut Random, map: &mut Map<String, Value>, key: &str, value: T) {
    if random.one_in(2) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Labels, of which some fit the selectors.
pub(super) fn labels(random: &mut Random) -> Value {
    let mut labels = Map::new();
    let (a, b) = (random.of(&["x", "y", ""]), random.of(&["1", "2", "10"]));
    some(random, &mut labels, "app", a);
    some(random, &mut labels, "tier", b);
    if random.one_in(40) {
        let bad = random.of(&[
            ("bad key", "x"),
            ("ok", "bad value"),
            ("-x", "y"),
            ("a/b/c", "d"),
            ("Not_DNS/x", "y"),
        ]);
        labels.insert(bad.0.to_owned(), bad.1.into());
    }
    Value::Object(labels)
}

fn metadata(random: &mut Random, name: &str) -> Value {
    let mut metadata = Map::from_iter([("name".to_owned(), name.into())]);
    let labels = labels(random);
    some(random, &mut metadata, "labels", labels);
    let annotation = random.of(&["p", "q"]);
    some(random, &mut metadata, "annotations", json!({"note": annotation}));
    if random.one_in(6) {
        metadata
            .insert("finalizers".to_owned(), random.of(&[json!(["t.dev/a"]), json!(["t.dev/a", "t.dev/b"])]));
    }
    if random.one_in(60) {
        metadata.insert("finalizers".to_owned(), json!(["a b"]));
    }
    if random.one_in(25) {
        metadata.insert("generation".to_owned(), json!(7));
        metadata.insert("creationTimestamp".to_owned(), json!("2020-01-01T00:00:00Z"));
    }
    if random.one_in(40) {
        metadata.insert("deletionTimestamp".to_owned(), json!("2020-01-01T00:00:00Z"));
    }
    Value::Object(metadata)
}

fn config_map(random: &mut Random) -> Value {
    let mut map = Map::new();
    let mut data = Map::new();
    for key in ["a", "b", "c"] {
        let value = random.of(&["1", "2", ""]);
        some(random, &mut data, key, value);
    }
    if random.one_in(30) {
        data.insert("not a key".to_owned(), "x".into());
    }
    some(random, &mut map, "data", Value::Object(data));
    if random.one_in(8) {
        map.insert("binaryData".to_owned(), json!({"bin": "AAEC"}));
    }
    if random.one_in(20) {
        map.insert("immutable".to_owned(), random.one_in(2).into());
    }
    Value::Object(map)
}

/// The spec of a Pod that nobody takes up.
fn pod_spec(random: &mut Random) -> Value {
    let mut containers = Vec::new();
    for name in ["one", "two"] {
        if containers.is_empty() || random.one_in(3) {
            let mut container = Map::from_iter([("name".to_owned(), name.into())]);
            container.insert(
                "image".to_owned(),
                random
                    .of(&[
                        "i",
                        "i:1",
                        "r.io/p/i:latest",
                        "i@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                    ])
                    .into(),
            );
            let ports = random.of(&[
                json!([{"containerPort": 80}]),
                json!([{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]),
                json!([{"containerPort": 0}]),
            ]);
            // the same port in two containers gives a warning, which the model does not
            if name == "one" {
                some(random, &mut container, "ports", ports);
            }
            let env = random.of(&[
                json!([{"name": "A", "value": "1"}]),
                json!([{"name": "A"}, {"name": "B", "value": "2"}]),
            ]);
            some(random, &mut container, "env", env);
            let resources = random.of(&[
                json!({}),
                json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
                json!({"requests": {"cpu": "100m"}}),
            ]);
            some(random, &mut container, "resources", resources);
            containers.push(Value::Object(container));
        }
    }
    let mut spec = json!({
        "schedulerName": "nobody", "automountServiceAccountToken": false, "containers": containers,
    });
    if random.one_in(20) {
        let bad = random.of(&[
            json!({"containers": []}),
            json!({"containers": [{"name": "No", "image": "i"}]}),
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}),
            json!({"restartPolicy": "Sometimes"}),
        ]);
        merge(&mut spec, bad);
    }
    if let Some(map) = spec.as_object_mut() {
        let policy = random.of(&["Always", "Never", "OnFailure"]);
        if !map.contains_key("restartPolicy") {
            some(random, map, "restartPolicy", policy);
        }
        some(random, map, "terminationGracePeriodSeconds", 0);
        let volumes = random.of(&[
            json!([{"name": "v", "emptyDir": {}}]),
            json!([{"name": "c", "configMap": {"name": "c"}}, {"name": "w"}]),
        ]);
        if random.one_in(4) {
            map.insert("volumes".to_owned(), volumes);
        }
        if random.one_in(6) {
            map.insert("hostNetwork".to_owned(), random.one_in(2).into());
        }
    }
    spec
}

fn service_spec(random: &mut Random) -> Value {
    let ports = random.of(&[
        json!([{"port": 80}]),
        json!([{"port": 80, "targetPort": 8080, "name": "http"}]),
        json!([{"port": 80, "name": "http", "targetPort": "web"}, {"port": 53, "protocol": "UDP", "name": "dns"}]),
        json!([{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]),
    ]);
    let mut spec = Map::from_iter([("ports".to_owned(), ports)]);
    let selector = random.of(&[json!({"app": "x"}), json!({"app": "y", "tier": "1"})]);
    some(random, &mut spec, "selector", selector);
    if random.one_in(8) {
        // without a selector it may be of any family, which a cluster of one family refuses at the next update
        spec.insert("clusterIP".to_owned(), "None".into());
        spec.insert("selector".to_owned(), json!({"app": "x"}));
    }
    if random.one_in(8) && !spec.contains_key("clusterIP") {
        spec.insert("sessionAffinity".to_owned(), random.of(&["ClientIP", "None"]).into());
    }
    if random.one_in(20) {
        let (key, value) = random.of(&[
            ("ports", json!([])),
            ("ports", json!([{"port": 0}])),
            ("ports", json!([{"port": 80}, {"port": 81}])),
            ("ports", json!([{"port": 80, "protocol": "ICMP"}])),
            ("type", json!("Nothing")),
            ("sessionAffinity", json!("Some")),
        ]);
        spec.insert(key.to_owned(), value);
    }
    Value::Object(spec)
}

fn lease_spec(random: &mut Random) -> Value {
    let mut spec = Map::new();
    let (holder, seconds, count) = (random.of(&["me", "you"]), random.of(&[15, 30]), random.of(&[0, 1, 2]));
    some(random, &mut spec, "holderIdentity", holder);
    some(random, &mut spec, "leaseDurationSeconds", seconds);
    some(random, &mut spec, "leaseTransitions", count);
    some(random, &mut spec, "renewTime", "2026-01-01T00:00:00.000000Z");
    if random.one_in(25) {
        let (key, value) = random.of(&[
            ("leaseDurationSeconds", json!(0)),
            ("leaseTransitions", json!(-1)),
            ("holderIdentity", json!("")),
        ]);
        spec.insert(key.to_owned(), value);
    }
    Value::Object(spec)
}

fn subject(random: &mut Random) -> Value {
    let mut subject = json!({"apiVersion": "v1", "kind": "Pod", "name": random.of(&["p", "q"]), "uid": "u"});
    if let Some(map) = subject.as_object_mut() {
        let namespace = random.of(&[json!("n"), Value::Null]);
        some(random, map, "namespace", namespace);
        if random.one_in(25) {
            let (key, value) = random.of(&[("name", json!("")), ("kind", json!(5)), ("uid", Value::Null)]);
            map.insert(key.to_owned(), value);
        }
    }
    subject
}

fn module_spec(random: &mut Random) -> Value {
    let mut spec = Map::new();
    let source = random.of(&[
        json!({"configMaps": [{"name": "a"}]}),
        json!({"configMaps": [{"name": "a"}, {"name": "b"}], "key": "module"}),
        json!({"configMaps": [{"name": "a"}], "key": null}),
        json!({"configMaps": []}),
    ]);
    if !random.one_in(10) {
        spec.insert("source".to_owned(), source);
    }
    let limits = random.of(&[
        json!({}),
        json!({"deadlineMs": 100}),
        json!({"deadlineMs": 0}),
        json!({"memoryMiB": 1}),
        json!({"memoryMiB": "much"}),
    ]);
    some(random, &mut spec, "limits", limits);
    let policy = random.of(&["KeepLastGood", "FailClosed", "Other"]);
    some(random, &mut spec, "failurePolicy", policy);
    let config = random.of(&[json!({}), json!({"a": {"b": [1, null, "x"]}})]);
    some(random, &mut spec, "config", config);
    Value::Object(spec)
}

fn widget_spec(random: &mut Random) -> Value {
    let mut spec = Map::from_iter([("size".to_owned(), json!(random.below(10) + 1))]);
    let fields: [(&str, &[Value]); 13] = [
        ("ratio", &[json!(1.5), json!(2)]),
        ("mode", &[json!("Fast"), json!("Slow")]),
        ("label", &[json!("abc"), json!("zz")]),
        ("port", &[json!(80), json!("http")]),
        ("on", &[json!(true), json!(false), Value::Null]),
        ("note", &[json!("n"), Value::Null]),
        ("free", &[json!({}), json!({"x": {"y": [1, {"z": null}]}})]),
        ("tags", &[json!(["a"]), json!(["a", "b"]), json!(["b", "c"])]),
        ("plain", &[json!([]), json!([1, 2, 2])]),
        ("map", &[json!({}), json!({"k": "v"}), json!({"k": "w", "l": "m"})]),
        ("atom", &[json!({"k": "v"}), json!({"l": "w"})]),
        (
            "parts",
            &[
                json!([{"name": "a"}]),
                json!([{"name": "a", "count": 2}, {"name": "b", "text": "t"}]),
                json!([{"name": "b"}, {"name": "a"}]),
            ],
        ),
        ("extra", &[json!(1)]),
    ];
    for (key, values) in fields {
        if random.one_in(3) {
            spec.insert(key.to_owned(), random.of(values));
        }
    }
    if random.one_in(12) {
        // of two things that do not fit the real server has no order
        spec.remove("extra");
        let (key, value) = random.of(&[
            ("size", json!(0)),
            ("size", json!(11)),
            ("size", json!("big")),
            ("size", Value::Null),
            ("ratio", json!(0.5)),
            ("mode", json!("Medium")),
            ("label", json!("a")),
            ("label", json!("ABCDEFG")),
            ("port", json!(true)),
            ("tags", json!(["a", "b", "c", "d"])),
            ("map", json!({"a": 1})),
            ("map", json!({"a": "1", "b": "2", "c": "3", "d": "4"})),
            ("parts", json!([{"count": 1}])),
            ("on", json!("yes")),
            ("plain", json!([1, "x"])),
            ("free", json!([])),
        ]);
        spec.insert(key.to_owned(), value);
    }
    Value::Object(spec)
}

fn gadget(random: &mut Random) -> Value {
    random.of(&[
        json!({"spec": {"a": 1}}),
        json!({"spec": {"a": 2, "list": [1, 2]}, "status": {"x": 1}}),
        json!({"other": {"b": {"c": null}}}),
        json!({"spec": {"a": {"b": "c"}}, "extra": [{"name": "x"}]}),
    ])
}

fn conditions(random: &mut Random) -> Value {
    random.of(&[
        json!([]),
        json!([{"type": "Ready", "status": "True"}]),
        json!([{"type": "Ready", "status": "False", "reason": "Why"}, {"type": "Seen", "status": "True"}]),
    ])
}

fn full_conditions(random: &mut Random) -> Value {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Because", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    random.of(&[
        json!([]),
        json!([condition("Ready", "True")]),
        json!([condition("Mapped", "True"), condition("Ready", "False")]),
    ])
}
