use std::collections::BTreeMap;

use isthmus_model::projection::Mask;
use isthmus_model::snapshot::Read;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn kind() -> Arc<Gvk> {
    Arc::new(Gvk::new("", "v1", "Pod"))
}

/// With what an object is listed by whose host is called like its uid.
fn labels(app: &str, uid: &str) -> Labels {
    let mask = Mask::new([]).unwrap().listed_by(["spec.host"]).unwrap();
    mask.labels(&json!({"spec": {"host": uid}}), [("app".to_owned(), app.to_owned())].into())
}

fn object(namespace: &str, name: &str, uid: &str, app: &str) -> Stored {
    Stored {
        key: ObjectKey::new(kind(), Some(namespace), name),
        uid: uid.into(),
        labels: labels(app, uid),
        deleting: false,
        text: format!("{namespace}/{name} of {uid}").into(),
    }
}

#[test]
fn only_a_difference_is_a_change() {
    let mut store = Store::new();
    let first = store.apply(&kind(), object("a", "x", "1", "web")).unwrap();
    assert!(first.old.is_none() && first.new.is_some());
    assert!(store.apply(&kind(), object("a", "x", "1", "web")).is_none());
    let relabelled = store.apply(&kind(), object("a", "x", "1", "api")).unwrap();
    assert_eq!(relabelled.old.unwrap().labels["app"], "web");
    let reborn = store.apply(&kind(), object("a", "x", "2", "api")).unwrap();
    assert_eq!((&*reborn.old.unwrap().uid, &*reborn.new.unwrap().uid), ("1", "2"));
    let key = ObjectKey::new(kind(), Some("a"), "x");
    assert!(store.remove(&key).unwrap().new.is_none());
    assert!(store.remove(&key).is_none());
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let mut store = Store::new();
    store.apply(&kind(), object("a", "x", "1", "web"));
    let before = store.snapshot();
    store.apply(&kind(), object("a", "x", "2", "web"));
    store.apply(&kind(), object("b", "y", "3", "web"));
    assert!(store.set_cloud(CloudFacts { has_key_manager: true, ..CloudFacts::default() }));
    assert!(!store.set_cloud(CloudFacts { has_key_manager: true, ..CloudFacts::default() }));
    assert_eq!(before.count(&kind()), 1);
    assert_eq!(&*before.get(&ObjectKey::new(kind(), Some("a"), "x")).unwrap(), "a/x of 1");
    assert!(!before.cloud().has_key_manager && store.snapshot().cloud().has_key_manager);
}

#[test]
fn lists_by_namespace_and_label_in_order() {
    let mut store = Store::new();
    for (namespace, name, app) in
        [("b", "z", "web"), ("a", "y", "api"), ("a", "x", "web"), ("ab", "w", "web")]
    {
        store.apply(&kind(), object(namespace, name, "1", app));
    }
    let list = |namespace, selector: &str| -> Vec<String> {
        let found = store.snapshot().list(&kind(), namespace, &selector.parse().unwrap());
        found.iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(list(None, ""), ["a/x", "a/y", "ab/w", "b/z"]);
    assert_eq!(list(Some("a"), ""), ["a/x", "a/y"]);
    assert_eq!(list(Some("a"), "app=web"), ["a/x"]);
    assert_eq!(list(None, "app!=web"), ["a/y"]);
    assert!(list(Some("c"), "").is_empty());
    assert!(store.snapshot().list(&Gvk::new("", "v1", "Node"), None, &Selector::default()).is_empty());
}

#[test]
fn names_are_shared() {
    let mut store = Store::new();
    store.apply(&kind(), object("a", "x", "1", "web"));
    store.apply(&kind(), object("a", "y", "2", "web"));
    let snapshot = store.snapshot();
    let keys: Vec<_> = snapshot.iter(&kind()).map(|stored| stored.key.clone()).collect();
    assert!(Arc::ptr_eq(&keys[0].kind, &keys[1].kind));
    assert!(Arc::ptr_eq(keys[0].namespace.as_ref().unwrap(), keys[1].namespace.as_ref().unwrap()));
}

#[test]
fn forgetting_a_kind_changes_nothing_else() {
    let mut store = Store::new();
    store.apply(&kind(), object("a", "x", "1", "web"));
    store.forget(&kind());
    assert_eq!(store.snapshot().count(&kind()), 0);
    assert!(store.apply(&kind(), object("a", "x", "1", "web")).unwrap().old.is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Apply(u8, u8),
    Remove(u8),
    Relist(Vec<(u8, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    let (name, uid) = (0u8..6, 0u8..3);
    prop_oneof![
        (name.clone(), uid.clone()).prop_map(|(n, u)| Step::Apply(n, u)),
        name.clone().prop_map(Step::Remove),
        prop::collection::vec((name, uid), 0..6).prop_map(Step::Relist),
    ]
}

proptest! {
    /// Whoever applies the changes has what the store has: none is missing, none is too many, each begins where the last
    /// one ended. A list by a value has all that have it, in order.
    #[test]
    fn changes_tell_the_whole_story(steps in prop::collection::vec(step(), 1..40)) {
        let (mut store, mut story) = (Store::new(), BTreeMap::<ObjectKey, Arc<Stored>>::new());
        let namespace = |name: u8| if name.is_multiple_of(2) { "a" } else { "b" };
        let make = |name: u8, uid: u8| object(namespace(name), &name.to_string(), &uid.to_string(), "web");
        for step in steps {
            let changes: Vec<Change> = match step {
                Step::Apply(name, uid) => store.apply(&kind(), make(name, uid)).into_iter().collect(),
                Step::Remove(name) => {
                    store.remove(&ObjectKey::new(kind(), Some(namespace(name)), &name.to_string())).into_iter().collect()
                }
                Step::Relist(listed) => {
                    let listed: BTreeMap<u8, u8> = listed.into_iter().collect();
                    store.replace_all(&kind(), listed.into_iter().map(|(n, u)| make(n, u)).collect())
                }
            };
            for change in changes {
                prop_assert_eq!(story.get(&change.key), change.old.as_ref());
                prop_assert_ne!(&change.old, &change.new);
                match change.new {
                    Some(new) => story.insert(change.key, new),
                    None => story.remove(&change.key),
                };
            }
            let snapshot = store.snapshot();
            prop_assert!(snapshot.iter(&kind()).eq(story.values()));
            for (uid, namespace) in ["0", "1", "2"].into_iter().flat_map(|uid| [(uid, None), (uid, Some("a"))]) {
                let chosen = |object: &&Arc<Stored>| {
                    &*object.uid == uid && namespace.is_none_or(|name| object.key.namespace.as_deref() == Some(name))
                };
                let expected: Vec<_> = story.values().filter(chosen).map(|object| object.text.clone()).collect();
                let selector = Selector::of_field("spec.host", uid).unwrap();
                prop_assert_eq!(snapshot.list(&kind(), namespace, &selector), expected);
            }
        }
    }
}

#[test]
fn a_read_differs_where_its_answer_does() {
    let mut store = Store::new();
    store.apply(&kind(), object("a", "x", "1", "web"));
    let before = store.snapshot();
    let get = |name: &str| Read::Get(ObjectKey::new(kind(), Some("a"), name));
    let list =
        |selector: &str| Read::List { kind: kind(), namespace: None, selector: selector.parse().unwrap() };
    let reads = [get("x"), get("y"), list("app=web"), list("app=api"), Read::Cloud];
    let differing = |now: &StoreSnapshot| reads.clone().map(|read| read.differs(&before, now));
    assert_eq!(differing(&store.snapshot()), [false; 5]);
    store.apply(&kind(), object("a", "y", "2", "api"));
    assert_eq!(differing(&store.snapshot()), [false, true, false, true, false]);
    store.apply(&kind(), object("a", "x", "3", "web"));
    store.set_cloud(CloudFacts { has_key_manager: true, ..CloudFacts::default() });
    assert_eq!(differing(&store.snapshot()), [true; 5]);
}
