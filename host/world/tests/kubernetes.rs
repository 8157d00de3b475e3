//! The Kubernetes half as clients see it: kube-rs over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use isthmus_world::kubernetes::{ApiServer, Controllers, Options};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Status};
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(10);

async fn start(options: Options) -> (ApiServer, Client) {
    let server = ApiServer::start(options).await.unwrap();
    let client = Client::try_from(Config::new(server.url().parse().unwrap())).unwrap();
    (server, client)
}

/// Asks again until it is so.
async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    tokio::time::timeout(LIMIT, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap()
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}})).unwrap()
}

fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> Status {
    match answer.unwrap_err() {
        kube::Error::Api(status) => *status,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_streamed_list_is_followed_by_changes() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    maps.create(&PostParams::default(), &config_map("first")).await.unwrap();
    let config = watcher::Config::default().streaming_lists();
    let mut events = watcher(maps.clone(), config).boxed();
    let mut seen = Vec::new();
    let mut made = false;
    while let Some(event) = tokio::time::timeout(LIMIT, events.try_next()).await.unwrap().unwrap() {
        match event {
            watcher::Event::Init => seen.push("init".to_owned()),
            watcher::Event::InitApply(map) => seen.push(format!("there {}", map.name_any())),
            watcher::Event::InitDone => seen.push("done".to_owned()),
            watcher::Event::Apply(map) => seen.push(format!("applied {}", map.name_any())),
            watcher::Event::Delete(map) => {
                seen.push(format!("deleted {}", map.name_any()));
                break;
            }
        }
        if seen.last().is_some_and(|s| s == "done") && !made {
            made = true;
            maps.create(&PostParams::default(), &config_map("second")).await.unwrap();
            maps.delete("first", &DeleteParams::default()).await.unwrap();
        }
    }
    assert_eq!(seen, ["init", "there first", "done", "applied second", "deleted first"]);
}

#[tokio::test]
async fn who_is_too_far_behind_is_told() {
    let (_server, client) = start(Options { history: 2, ..Options::default() }).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let first = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    for name in ["b", "c", "d"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    let version = first.resource_version().unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    match tokio::time::timeout(LIMIT, events.try_next()).await.unwrap().unwrap() {
        Some(WatchEvent::Error(status)) => assert_eq!((status.code, &*status.reason), (410, "Expired")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_for_its_watch() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut map = config_map("a");
    map.labels_mut().insert("x".to_owned(), "y".to_owned());
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": null}}}));
    maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    let selected = WatchParams::default().labels("x=y");
    let mut events = maps.watch(&selected, &made.resource_version().unwrap()).await.unwrap().boxed();
    let event = tokio::time::timeout(LIMIT, events.try_next()).await.unwrap().unwrap();
    assert!(matches!(event, Some(WatchEvent::Deleted(_))), "{event:?}");
}

#[tokio::test]
async fn applied_fields_belong_to_who_applied_them() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let apply = |manager: &'static str, data: serde_json::Value, force: bool| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
        let parameters = PatchParams { force, ..PatchParams::apply(manager) };
        let maps = maps.clone();
        async move { maps.patch("a", &parameters, &Patch::Apply(&body)).await }
    };
    apply("one", json!({"x": "1", "y": "1"}), false).await.unwrap();
    let status = refused(apply("two", json!({"x": "2"}), false).await);
    assert_eq!(status.code, 409);
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.x");
    apply("two", json!({"x": "2"}), true).await.unwrap();
    // `y` was applied by `one` alone and is not any more; `x` is of `two`
    let map = apply("one", json!({}), false).await.unwrap();
    assert_eq!(json!(map.data), json!({"x": "2"}));
}

#[tokio::test]
async fn a_namespace_goes_when_its_content_is_gone() {
    let (_server, client) = start(Options::default()).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let named = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces.create(&PostParams::default(), &named).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, "n");
    let mut map = config_map("held");
    map.finalizers_mut().push("test.dev/hold".to_owned());
    maps.create(&PostParams::default(), &map).await.unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    until(|| async { maps.get("held").await.unwrap().metadata.deletion_timestamp }).await;
    let status = refused(maps.create(&PostParams::default(), &config_map("late")).await);
    assert_eq!(status.code, 403);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    until(|| async { namespaces.get_opt("n").await.unwrap().is_none().then_some(()) }).await;
}

#[tokio::test]
async fn a_service_has_the_addresses_of_its_pods() {
    let (_server, client) = start(Options::default()).await;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }))
    .unwrap();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": {"app": "web"}, "annotations": {"world.isthmus.dev/pod-ip": "10.1.2.3"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]},
    }))
    .unwrap();
    let parameters = PostParams::default();
    Api::<Service>::namespaced(client.clone(), "default").create(&parameters, &service).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.create(&parameters, &pod).await.unwrap();
    let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
    let selected = ListParams::default().labels("kubernetes.io/service-name=web");
    let slice = until(|| async {
        let all = slices.list(&selected).await.unwrap().items;
        all.into_iter().find(|s| s.endpoints.iter().flatten().count() == 1)
    })
    .await;
    assert_eq!(json!(slice.endpoints)[0]["addresses"], json!(["10.1.2.3"]));
    assert_eq!(json!(slice.ports)[0]["port"], 8080);
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    until(|| async {
        let all = slices.list(&selected).await.unwrap().items;
        all.iter().all(|s| s.endpoints.iter().flatten().count() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dependents_go_with_their_owner() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let owner = maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let mut dependent = config_map("dependent");
    dependent.metadata.owner_references = Some(
        serde_json::from_value(
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()}]),
        )
        .unwrap(),
    );
    maps.create(&PostParams::default(), &dependent).await.unwrap();
    maps.delete("owner", &DeleteParams::default()).await.unwrap();
    until(|| async { maps.get_opt("dependent").await.unwrap().is_none().then_some(()) }).await;
}

/// Of a dependent that has another owner yet, only the reference goes.
#[tokio::test]
async fn a_dependent_of_two_goes_with_the_last_one() {
    let (_server, client) = start(Options::default()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let mut owners = Vec::new();
    for name in ["one", "two"] {
        let owner = maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
        owners.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.uid()}));
    }
    let mut dependent = config_map("dependent");
    dependent.metadata.owner_references = Some(serde_json::from_value(json!(owners)).unwrap());
    maps.create(&PostParams::default(), &dependent).await.unwrap();
    maps.delete("one", &DeleteParams::foreground()).await.unwrap();
    until(|| async { maps.get_opt("one").await.unwrap().is_none().then_some(()) }).await;
    let left = maps.get("dependent").await.unwrap();
    assert_eq!(left.owner_references().iter().map(|owner| &*owner.name).collect::<Vec<_>>(), ["two"]);
    maps.delete("two", &DeleteParams::foreground()).await.unwrap();
    until(|| async { maps.get_opt("dependent").await.unwrap().is_none().then_some(()) }).await;
}

#[tokio::test]
async fn further_pages_are_of_the_version_of_the_first() {
    let (_server, client) = start(Options { history: 3, ..Options::default() }).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    for name in ["a", "b", "c", "d"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    let page = ListParams::default().limit(1);
    let first = maps.list(&page).await.unwrap();
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    let next = page.clone().continue_token(&first.metadata.continue_.unwrap());
    let second = maps.list(&next).await.unwrap();
    assert_eq!(second.items[0].name_any(), "b");
    let old = second.metadata.resource_version.unwrap();

    for name in ["e", "f", "g", "h"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    let status = refused(maps.list(&next).await);
    assert_eq!((status.code, &*status.reason), (410, "Expired"));
    let on = status.metadata.and_then(|metadata| metadata.continue_).unwrap();
    let third = maps.list(&page.clone().continue_token(&on)).await.unwrap();
    assert_eq!(third.items[0].name_any(), "c", "after the first page, by now");
    let exact = page.at(&old).matching(kube::api::VersionMatch::Exact);
    assert_eq!(refused(maps.list(&exact).await).code, 410);
}

fn definition(fields: serde_json::Value) -> CustomResourceDefinition {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}});
    serde_json::from_value(json!({
        "metadata": {"name": "things.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn a_definition_with_a_field_that_has_no_type_is_refused() {
    let (_server, client) = start(Options::default()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let wrong = definition(json!({"size": {}}));
    let status = refused(crds.create(&PostParams::default(), &wrong).await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    let place = "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[size].type";
    assert!(status.message.contains(place), "{}", status.message);
}

/// It is wrong, which is another thing than that this server lacks it.
#[tokio::test]
async fn what_no_schema_of_a_definition_may_have_is_refused_as_wrong() {
    let (_server, client) = start(Options::default()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let list = json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true});
    for (field, why) in [
        (json!({"type": "object", "$ref": "#/definitions/a"}), "$ref is not supported"),
        (list, "uniqueItems cannot be set to true"),
    ] {
        let wrong = definition(json!({"a": field}));
        let status = refused(crds.create(&PostParams::default(), &wrong).await);
        assert_eq!((status.code, &*status.reason), (422, "Invalid"), "{}", status.message);
        assert!(status.message.contains(why), "{}", status.message);
    }
}

/// kubectl sends `0` for the `0.0` of a file: who applies the same is in nobody's way, and changes nothing.
#[tokio::test]
async fn a_whole_number_is_the_same_with_a_fraction_and_without() {
    let (_server, client) = start(Options::default()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let with = |least: serde_json::Value| {
        let mut body = serde_json::to_value(definition(json!({"size": {"type": "integer"}}))).unwrap();
        for (key, value) in [("apiVersion", "apiextensions.k8s.io/v1"), ("kind", "CustomResourceDefinition")]
        {
            body[key] = value.into();
        }
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size";
        body.pointer_mut(spec).unwrap()["minimum"] = least;
        body
    };
    let apply = async |manager: &str, least: serde_json::Value| {
        let patch = Patch::Apply(with(least));
        crds.patch("things.test.dev", &PatchParams::apply(manager), &patch).await
    };
    apply("one", json!(0.0)).await.unwrap();
    let both = apply("two", json!(0)).await.unwrap();
    let again = apply("one", json!(0.0)).await.unwrap();
    assert_eq!(again.resource_version(), both.resource_version(), "nothing changed");
    let status = refused(apply("two", json!(0.5)).await);
    assert_eq!(status.code, 409, "{}", status.message);
}

/// What a schema does not have any more is not shown, and what it has now is.
#[tokio::test]
async fn objects_follow_their_definition() {
    let (_server, client) = start(Options::default()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let one = definition(json!({"size": {"type": "integer"}}));
    crds.create(&PostParams::default(), &one).await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("test.dev", "v1", "Thing"));
    let things: Api<DynamicObject> = Api::namespaced_with(client, "default", &kind);
    let thing = DynamicObject::new("a", &kind).data(json!({"spec": {"size": 1, "colour": "red"}}));
    let made = things.create(&PostParams::default(), &thing).await.unwrap();
    assert_eq!(made.data, json!({"spec": {"size": 1}}));
    let colour = json!({"colour": {"type": "string", "default": "blue"}});
    crds.patch("things.test.dev", &PatchParams::default(), &Patch::Merge(definition(colour))).await.unwrap();
    assert_eq!(things.get("a").await.unwrap().data, json!({"spec": {"colour": "blue"}}));
    crds.delete("things.test.dev", &DeleteParams::default()).await.unwrap();
    until(|| async { crds.get_opt("things.test.dev").await.unwrap().is_none().then_some(()) }).await;
    crds.create(&PostParams::default(), &one).await.unwrap();
    assert!(things.list(&ListParams::default()).await.unwrap().items.is_empty(), "they went with it");
}

#[tokio::test]
async fn without_controllers_only_clients_write() {
    let (server, client) = start(Options { controllers: Controllers::none(), ..Options::default() }).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    assert_eq!((server.writes(), server.requests("POST", "configmaps")), (1, 1));
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let (_server, client) = start(Options::default()).await;
    let request = http::Request::get("/apis/apps/v1/deployments").body(Vec::new()).unwrap();
    let status = refused(client.request::<serde_json::Value>(request).await);
    assert_eq!(status.code, 501);
    assert!(status.message.contains("deployments of apps/v1"), "{}", status.message);
}

#[tokio::test]
async fn a_definition_with_what_is_not_modelled_is_refused_by_its_name() {
    let (_server, client) = start(Options::default()).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let rule =
        json!({"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}});
    let name = "does not have the CEL rule \"self.startsWith('a')\": `startsWith` in it \
                (spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a])";
    let status = refused(definitions.create(&PostParams::default(), &definition(rule.clone())).await);
    assert_eq!(status.code, 501);
    assert!(status.message.contains(name), "{}", status.message);
    assert!(definitions.get_opt("things.test.dev").await.unwrap().is_none());

    // By a change too, whichever way it comes.
    let plain = definition(json!({"a": {"type": "string"}}));
    definitions.create(&PostParams::default(), &plain).await.unwrap();
    let mut body = serde_json::to_value(definition(rule)).unwrap();
    for (key, value) in [("apiVersion", "apiextensions.k8s.io/v1"), ("kind", "CustomResourceDefinition")] {
        body[key] = value.into();
    }
    let apply = PatchParams::apply("test").force();
    for (parameters, patch) in [(apply, Patch::Apply(&body)), (PatchParams::default(), Patch::Merge(&body))] {
        let status = refused(definitions.patch("things.test.dev", &parameters, &patch).await);
        assert_eq!(status.code, 501, "{}", status.message);
    }
}

#[tokio::test]
async fn what_is_modelled_of_a_definition_is_looked_at() {
    let (_server, client) = start(Options::default()).await;
    let rules = json!([{"rule": "self.least <= self.most", "message": "least is most at most"}]);
    let bounds = json!({"type": "object", "properties": {"least": {"type": "integer"}, "most": {"type": "integer"}},
                        "x-kubernetes-validations": rules});
    let kept = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let spec = json!({
        "bounds": bounds, "kept": kept, "at": {"type": "string", "format": "date-time"},
        "small": {"type": "integer", "format": "int32"},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "parts": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition(spec)).await.unwrap();
    let kind = GroupVersionKind::gvk("test.dev", "v1", "Thing");
    let resource = ApiResource::from_gvk_with_plural(&kind, "things");
    let things: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
    let thing = |spec: serde_json::Value| DynamicObject::new("a", &resource).data(json!({"spec": spec}));
    let parameters = PostParams::default();
    for (spec, why) in [
        (json!({"bounds": {"least": 2, "most": 1}}), "spec.bounds: Invalid value: least is most at most"),
        (
            json!({"bounds": {"least": 2}}),
            "spec.bounds: Invalid value: no such key: most evaluating rule: least is most at most",
        ),
        (json!({"at": "today"}), "spec.at in body must be of type date-time: \"today\""),
        (json!({"at": "2026-02-30T00:00:00Z"}), "must be of type date-time"),
        (json!({"at": "2026-02-03T24:00:00Z"}), "must be of type date-time"),
        (json!({"at": "2026-02-03T00:00:00"}), "must be of type date-time"),
        (json!({"small": 3_000_000_000_i64}), "must be of type integer with format int32 in spec.small"),
        (json!({"tags": ["a", "b", "a"]}), "spec.tags[2]: Duplicate value: \"a\""),
        (
            json!({"parts": [{"name": "a"}, {"name": "a"}]}),
            "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
        ),
    ] {
        let status = refused(things.create(&parameters, &thing(spec)).await);
        assert_eq!(status.code, 422, "{}", status.message);
        assert!(status.message.contains(why), "{why}: {}", status.message);
    }
    let fine = json!({"bounds": {"least": 1, "most": 1}, "kept": "a", "at": "2026-02-03T04:05:06.789+01:00",
                      "small": 1, "tags": ["a", "b"], "parts": [{"name": "a"}, {"name": "b"}]});
    things.create(&parameters, &thing(fine)).await.unwrap();
    let change = Patch::Merge(json!({"spec": {"kept": "b"}}));
    let status = refused(things.patch("a", &PatchParams::default(), &change).await);
    assert!(
        status.message.contains("spec.kept: Invalid value: \"b\": failed rule: self == oldSelf"),
        "{}",
        status.message
    );
}
