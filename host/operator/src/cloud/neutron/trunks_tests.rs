//! Trunks in the hands of several, with a service that does what it is told.

use std::sync::Arc;

use isthmus_openstack::{Error, ErrorKind};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;

fn sub(port: &str, id: u16) -> SubPort {
    SubPort { port_id: port.into(), segmentation_type: "vlan".into(), segmentation_id: id }
}

fn refused(class: RetryClass, fault: &str) -> Error {
    let mut error = Error { class, kind: ErrorKind::Status, context: Box::default() };
    error.context.fault = Some(fault.into());
    error
}

/// A trunk `t` and another one, and what was called.
struct Service {
    trunk: Mutex<Trunk>,
    other: Mutex<Trunk>,
    /// How many ports each call was about.
    adds: Mutex<Vec<usize>>,
    removes: Mutex<Vec<usize>>,
    /// Somebody else takes the id first that the next call asks for.
    raced: Mutex<bool>,
    /// It is away.
    away: Mutex<bool>,
    /// A look at the trunk takes one.
    looks: Semaphore,
}

impl Service {
    fn named(&self, trunk: &str) -> &Mutex<Trunk> {
        if trunk == "t" { &self.trunk } else { &self.other }
    }
}

/// A port that can't be on a trunk.
const BAD: &str = "bad";

impl Calls for Arc<Service> {
    fn get<'a>(&'a self, trunk: &'a str) -> BoxFuture<'a, Answered<Trunk>> {
        async move {
            self.looks.acquire().await.expect("it is never closed").forget();
            Ok(self.named(trunk).lock().clone())
        }
        .boxed()
    }

    fn add<'a>(&'a self, trunk: &'a str, subports: &'a [SubPort]) -> BoxFuture<'a, Answered<Trunk>> {
        async move {
            self.adds.lock().push(subports.len());
            let mut trunk = self.named(trunk).lock();
            if *self.away.lock() {
                return Err(refused(RetryClass::Transient, "ServiceUnavailable"));
            }
            if std::mem::take(&mut *self.raced.lock()) {
                trunk.sub_ports.push(sub("somebody's", subports[0].segmentation_id));
            }
            if subports.iter().any(|new| new.port_id == BAD) {
                return Err(refused(RetryClass::Conflict, "PortInUse"));
            }
            let is_taken = |id: u16| trunk.sub_ports.iter().any(|held| held.segmentation_id == id);
            if subports.iter().any(|new| is_taken(new.segmentation_id)) {
                return Err(refused(RetryClass::Conflict, "DuplicateSubPort"));
            }
            trunk.sub_ports.extend_from_slice(subports);
            Ok(trunk.clone())
        }
        .boxed()
    }

    fn remove<'a>(&'a self, trunk: &'a str, ports: &'a [&'a str]) -> BoxFuture<'a, Answered<Trunk>> {
        async move {
            self.removes.lock().push(ports.len());
            let mut trunk = self.named(trunk).lock();
            trunk.sub_ports.retain(|held| !ports.contains(&held.port_id.as_str()));
            Ok(trunk.clone())
        }
        .boxed()
    }
}

/// `looks`: so many looks at the trunk are answered.
fn service(looks: usize) -> (Arc<Trunks>, Arc<Service>) {
    let service = Arc::new(Service {
        trunk: Mutex::default(),
        other: Mutex::default(),
        adds: Mutex::default(),
        removes: Mutex::default(),
        raced: Mutex::default(),
        away: Mutex::default(),
        looks: Semaphore::new(looks),
    });
    (Arc::new(Trunks::new(Box::new(service.clone()), Parking::default())), service)
}

/// Each of these wants on the trunk, in this order, before the first look at it is answered: that one goes alone, and then the others
/// together.
async fn put_together((trunks, service): &(Arc<Trunks>, Arc<Service>), ports: &[&str]) -> Vec<Result<u16>> {
    let all = futures::future::join_all(ports.iter().map(|port| trunks.put("t", port)));
    let looks = async { service.looks.add_permits(2 * ports.len()) };
    tokio::join!(all, looks).0
}

fn ports(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn class(answer: &Result<u16>) -> Option<RetryClass> {
    answer.as_ref().err().map(CloudError::class)
}

#[tokio::test]
async fn who_waits_is_taken_along_in_one_call() {
    let both = service(0);
    let ids: Vec<u16> =
        put_together(&both, &["a", "b", "c", "d"]).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(BTreeSet::from_iter(&ids).len(), 4);
    assert_eq!(*both.1.adds.lock(), [1, 3]);
    // Nobody is put on it twice, and each keeps its id.
    let again: Vec<u16> =
        put_together(&both, &["a", "b", "c", "d"]).await.into_iter().map(Result::unwrap).collect();
    assert_eq!((again, both.1.adds.lock().len()), (ids, 2));
}

#[tokio::test]
async fn those_that_go_make_room_in_one_call() {
    let (trunks, service) = service(0);
    service.trunk.lock().sub_ports = ["a", "b", "c"].into_iter().zip(1..).map(|(p, id)| sub(p, id)).collect();
    let all = ["a", "b", "c", "never there"].map(|port| trunks.take("t", port));
    let looks = async { service.looks.add_permits(8) };
    let (gone, ()) = tokio::join!(futures::future::join_all(all), looks);
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    assert!(service.trunk.lock().sub_ports.is_empty());
    assert_eq!(*service.removes.lock(), [1, 2], "what is not there is not asked for");
}

#[tokio::test]
async fn an_id_that_somebody_else_took_is_chosen_anew() {
    let (trunks, service) = service(8);
    *service.raced.lock() = true;
    let own = trunks.put("t", "a").await.unwrap();
    let held = service.trunk.lock().sub_ports.clone();
    let theirs = held.iter().find(|held| held.port_id == "somebody's").unwrap();
    assert_ne!(own, theirs.segmentation_id);
    assert_eq!(*service.adds.lock(), [1, 1]);
}

/// A VLAN id is a trunk's: each has all of them.
#[tokio::test]
async fn what_is_taken_on_one_trunk_is_free_on_another() {
    let (trunks, service) = service(8);
    let id = trunks.put("t", "a").await.unwrap();
    assert_eq!(trunks.put("u", "a").await.unwrap(), id, "the first choice of this port on both");
    service.trunk.lock().sub_ports = IDS.map(|id| sub("somebody's", id)).collect();
    assert!(matches!(trunks.put("t", "b").await, Err(CloudError::TrunkFull { .. })));
    trunks.put("u", "b").await.unwrap();
    trunks.take("t", "a").await.unwrap();
    let left = service.other.lock().sub_ports.clone();
    assert_eq!(left.iter().map(|sub| &*sub.port_id).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn one_that_is_refused_spoils_no_other() {
    let both = service(0);
    let answers = put_together(&both, &["a", "b", BAD, "c"]).await;
    let classes: Vec<_> = answers.iter().map(class).collect();
    assert_eq!(classes, [None, None, Some(RetryClass::Conflict), None]);
    assert_eq!(both.1.trunk.lock().sub_ports.len(), 3);
    assert_eq!(*both.1.adds.lock(), [1, 3, 1, 1, 1]);
}

/// As many time-outs one after the other would hold up the trunk for minutes.
#[tokio::test]
async fn a_service_that_is_away_is_asked_once() {
    let both = service(0);
    *both.1.away.lock() = true;
    let answers = put_together(&both, &["a", "b", "c", "d"]).await;
    assert!(answers.iter().all(|answer| class(answer) == Some(RetryClass::Transient)), "{answers:?}");
    assert_eq!(*both.1.adds.lock(), [1, 3]);
}

#[tokio::test]
async fn a_trunk_without_a_free_id_says_so_until_there_is_one() {
    let (trunks, service) = service(8);
    service.trunk.lock().sub_ports = IDS.map(|id| sub(&format!("port-{id}"), id)).collect();
    assert_eq!(class(&trunks.put("t", "a").await), Some(RetryClass::Quota));
    trunks.take("t", "port-7").await.unwrap();
    assert_eq!(trunks.put("t", "a").await.unwrap(), 7);
}

/// Who did it for others was given up under way: it may be done, and the others are not held up.
#[tokio::test]
async fn who_is_given_up_holds_up_nobody() {
    let (trunks, service) = service(0);
    let put = |port: &'static str| {
        let trunks = trunks.clone();
        tokio::spawn(async move { trunks.put("t", port).await })
    };
    let waiting = async |count: usize| {
        while trunks.0.waiting("t") != count {
            tokio::task::yield_now().await;
        }
    };
    let first = put("first");
    tokio::task::yield_now().await;
    let (leader, follower) = (put("leader"), put("follower"));
    tokio::task::yield_now().await;
    waiting(2).await;
    service.looks.add_permits(1);
    first.await.unwrap().unwrap();
    // The second of them takes the third one along.
    waiting(0).await;
    leader.abort();
    assert_eq!(class(&follower.await.unwrap()), Some(RetryClass::Unknown));
    service.looks.add_permits(1);
    put("follower").await.unwrap().unwrap();
}

#[test]
fn a_port_comes_back_to_its_own_id() {
    let (_, first) = chosen(&[], &ports(&["a"]));
    let (_, again) = chosen(&[sub("b", first[0].segmentation_id + 1)], &ports(&["a"]));
    assert_eq!(first, again);
    // Where that is taken, it is the next one; what is there stays.
    let (ids, moved) = chosen(&[sub("b", first[0].segmentation_id)], &ports(&["a", "b"]));
    assert_eq!(ids, BTreeMap::from([("b".to_owned(), first[0].segmentation_id)]));
    assert_ne!(moved[0].segmentation_id, first[0].segmentation_id);
}

#[test]
fn every_id_is_given_once() {
    let names: Vec<String> = (0..4200).map(|n| format!("port-{n}")).collect();
    let (ids, new) = chosen(&[], &names.into_iter().collect());
    assert!(ids.is_empty());
    let given: BTreeSet<u16> = new.iter().map(|sub| sub.segmentation_id).collect();
    assert_eq!((new.len(), given.len()), (4094, 4094));
    assert!(given.iter().all(|id| IDS.contains(id)));
}
