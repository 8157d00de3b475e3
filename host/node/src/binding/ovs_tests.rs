//! Whatever a database answers, in whatever order: an error, or taken.

use proptest::prelude::*;
use proptest::{collection, sample};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::ovsdb::Frames;

const KEYS: [&str; 16] = [
    "rows",
    "_uuid",
    "name",
    "external_ids",
    "datapath_type",
    "count",
    "error",
    "details",
    "Interface",
    "Port",
    "new",
    "old",
    "id",
    "method",
    "params",
    "result",
];

/// What is nearly an answer: the protocol's words in any place.
fn value() -> impl Strategy<Value = Value> {
    let words =
        ["map", "set", "uuid", "named-uuid", "im1", "iface-id", "isthmus", "vhostuser", "netdev", "true"];
    let leaf = prop_oneof![
        2 => Just(Value::Null),
        2 => sample::select(vec![0u64, 1, 2, u64::MAX]).prop_map(Value::from),
        4 => sample::select(words.to_vec()).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => Just(json!(["set", []])),
        1 => Just(json!(["uuid", "36bef046-7da7-43a5-905a-c17899216fcb"])),
        1 => Just(json!(["map", [["iface-id", "p1"], ["isthmus", "pod"]]])),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(sample::select(KEYS.to_vec()), inner, 0..5).prop_map(|all| all
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// The results of a transaction: as they should be but for what is in the rows, or anything.
fn results() -> impl Strategy<Value = Value> {
    let row = (value(), value(), value())
        .prop_map(|(name, ids, uuid)| json!({"name": name, "external_ids": ids, "_uuid": uuid}));
    let right = json!({"name": "im2", "external_ids": ["map", [["iface-id", "p1"], ["isthmus", "pod"]]], "datapath_type": "netdev",
        "_uuid": ["uuid", "36bef046-7da7-43a5-905a-c17899216fcb"]});
    let row = prop_oneof![2 => Just(right), 1 => row, 1 => value()];
    let result = prop_oneof![
        6 => collection::vec(row, 0..3).prop_map(|rows| json!({"rows": rows})),
        2 => Just(json!({"count": 1})),
        1 => Just(json!({"error": "constraint violation", "details": "no"})),
        1 => value(),
    ];
    prop_oneof![5 => collection::vec(result, 2..7).prop_map(Value::from), 1 => value()]
}

/// One frame: the answer to what was asked, or whatever.
#[derive(Clone, Debug)]
enum Said {
    Result(Value),
    Error(Value),
    Frame(Value),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        8 => results().prop_map(Said::Result),
        1 => value().prop_map(Said::Error),
        1 => value().prop_map(Said::Frame),
        1 => value().prop_map(|params| Said::Frame(json!({"method": "update", "params": ["isthmus", params]}))),
        1 => value().prop_map(|id| Said::Frame(json!({"method": "echo", "id": id, "params": []}))),
    ]
}

/// Answers each call by what is next, with all that comes before an answer; hangs up when there is nothing more to say.
async fn serve(mut stream: UnixStream, said: &mut impl Iterator<Item = Said>) -> std::io::Result<()> {
    let (mut frames, mut buffer) = (Frames::default(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        frames.feed(&buffer[..read])?;
        while let Some(call) = frames.next()? {
            if call.get("method").is_none() {
                continue;
            }
            loop {
                let (frame, is_answer) = match said.next() {
                    None => return Ok(()),
                    Some(Said::Result(result)) => {
                        (json!({"id": call["id"], "error": null, "result": result}), true)
                    }
                    Some(Said::Error(error)) => {
                        (json!({"id": call["id"], "error": error, "result": null}), true)
                    }
                    Some(Said::Frame(frame)) => (frame, false),
                };
                stream.write_all(frame.to_string().as_bytes()).await?;
                if is_answer {
                    break;
                }
            }
        }
    }
}

/// All that is asked of a database, once.
async fn ask_all(ovs: &Ovs) {
    let vif = json!({"interface": "eth0", "port_id": "p1", "mac": "fa:16:3e:00:00:01", "addresses": [], "gateways": [],
        "mtu": null, "default_route": true, "routes": [], "binding": null});
    let vif = serde_json::from_value(vif).unwrap();
    let (driver, host, interface) = ("ovs".into(), "im1".into(), "eth0".into());
    let link = Link { driver, host, interface, nested: false, device: None, vif };
    let _ = ovs.join(&link, (MARK, "pod"), Map::new()).await;
    let _ = ovs.is_port(&link).await;
    let _ = ovs.hooked().await;
    // Nothing says when, so it may wait for ever.
    let _ = tokio::time::timeout(std::time::Duration::ZERO, ovs.installed(&link)).await;
    let _ = ovs.remove("im1").await;
    let _ = ovs.usable().await;
}

#[test]
fn whatever_the_database_says_is_an_error_or_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let host = Host::new().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(crate::many(2048));
    let checked = runner.run(&collection::vec(said(), 0..16), |said| {
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("db.sock");
            let listener = UnixListener::bind(&socket).unwrap();
            let ovs = Ovs::new(host.clone(), &socket, "br-int");
            let served = async {
                let mut said = said.into_iter().peekable();
                while said.peek().is_some() {
                    let (stream, _) = listener.accept().await.unwrap();
                    // It may be cut by what it said itself.
                    let _ = serve(stream, &mut said).await;
                }
                drop(listener);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = ask_all(&ovs) => {}
                () = served => {}
            }
        });
        Ok(())
    });
    checked.unwrap();
}
