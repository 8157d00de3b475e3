use super::*;

fn attachment(container: &str) -> Attachment {
    Attachment {
        format: PLAIN,
        attached: Attached { container: container.into(), interface: "eth0".into() },
        network: "pods".into(),
        netns: "/run/netns/x".into(),
        pod: PodReference {
            namespace: "shop".into(),
            name: "web".into(),
            uid: Some(format!("u-{container}")),
        },
        boot: boot().unwrap(),
        links: Vec::new(),
        result: AddResult::default(),
        unhook: false,
        begun: false,
    }
}

#[tokio::test]
async fn what_is_stored_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let attachments = Attachments::open(folder.path()).unwrap();
    let mut changes = attachments.changes();
    for container in ["a", "b"] {
        attachments.put(attachment(container)).await.unwrap();
    }
    attachments.remove(&attachment("a").attached).await.unwrap();
    attachments.remove(&attachment("a").attached).await.unwrap();
    assert_eq!(*changes.borrow_and_update(), 3, "what is not there is no change");
    std::fs::write(folder.path().join("c@eth0.new"), "{\"format\"").unwrap();
    std::fs::write(folder.path().join("somebody's"), "").unwrap();
    let again = Attachments::open(folder.path()).unwrap();
    assert_eq!(again.list(), [Arc::new(attachment("b"))]);
    assert_eq!(again.pods(), BTreeSet::from(["u-b".to_owned()]));
    assert!(!folder.path().join("c@eth0.new").exists(), "its ADD was never answered");
}

/// A full disk, when a DEL says that it is to be unhooked still: after a restart that has to be known.
#[tokio::test]
async fn a_write_that_fails_leaves_what_was_written_before() {
    let folder = tempfile::tempdir().unwrap();
    let all = Attachments::open(folder.path()).unwrap();
    all.put(attachment("a")).await.unwrap();
    std::fs::create_dir(folder.path().join("a@eth0.new")).unwrap();
    let error = all.put(Attachment { unhook: true, ..attachment("a") }).await.unwrap_err();
    assert_eq!(error.code, Code::Io, "{error}");
    std::fs::remove_dir(folder.path().join("a@eth0.new")).unwrap();
    let again = Attachments::open(folder.path()).unwrap();
    assert_eq!(again.list(), [Arc::new(attachment("a"))]);
}

/// A file is written beside the links; until both are there, nobody is told.
#[tokio::test]
async fn what_is_only_written_is_known_after_a_crash_alone() {
    let folder = tempfile::tempdir().unwrap();
    let all = Attachments::open(folder.path()).unwrap();
    let changes = all.changes();
    all.write(&attachment("a")).await.unwrap();
    assert!(all.list().is_empty() && all.pods().is_empty() && !changes.has_changed().unwrap());
    let again = Attachments::open(folder.path()).unwrap();
    assert_eq!(again.list(), [Arc::new(attachment("a"))], "its links are looked at by the next ADD or DEL");
    all.know(attachment("a"));
    assert!(all.get(&attachment("a").attached).is_some() && changes.has_changed().unwrap());
    all.remove(&attachment("a").attached).await.unwrap();
    all.write(&attachment("b")).await.unwrap();
    all.remove(&attachment("b").attached).await.unwrap();
    assert!(Attachments::open(folder.path()).unwrap().list().is_empty(), "also of one that nobody knew");
}

#[tokio::test]
async fn an_add_that_has_not_answered_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let all = Attachments::open(folder.path()).unwrap();
    let begun = Attachment { unhook: true, begun: true, ..attachment("b") };
    for one in [attachment("a"), begun, attachment("c")] {
        all.put(one).await.unwrap();
    }
    let network = attachment("a").network;
    let names = |valid: &[Attached], network: &str| {
        let forgotten = all.forgotten(network, valid).into_iter();
        forgotten.map(|a| a.attached.container.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[], &network), ["a", "c"]);
    assert_eq!(names(&[attachment("a").attached], &network), ["c"]);
    assert!(names(&[], "another").is_empty());
}

/// An agent that knows none would forget them.
#[test]
fn nested_links_and_devices_are_of_a_newer_format_than_others() {
    let pod = PodReference { namespace: "shop".into(), name: "web".into(), uid: None };
    let add = isthmus_cni::protocol::Add {
        attached: attachment("a").attached,
        netns: "/run/netns/a".into(),
        network: "pods".into(),
        pod,
    };
    let vif = serde_json::json!({"interface": "eth0", "port_id": "p", "mac": "fa:16:3e:00:00:01", "addresses": [],
        "gateways": [], "mtu": null, "default_route": true, "routes": [], "binding": null});
    let socket = || Some(Device::Socket("/run/eth0.sock".into()));
    for (nested, device, format) in
        [(false, None, 2), (true, None, 3), (false, socket(), 4), (true, socket(), 4)]
    {
        let vif = serde_json::from_value(vif.clone()).unwrap();
        let link =
            Link { driver: "d".into(), host: "im".into(), interface: "eth0".into(), nested, device, vif };
        let stored = Attachment::new(&add, "u".into(), vec![link], AddResult::default()).unwrap();
        assert_eq!(stored.format, format);
    }
}

/// As agents of those days wrote them: an upgrade forgets no Pod, and says the same of it.
#[test]
fn files_of_older_formats_are_read() {
    let files = [
        include_str!("../tests/attachments/format-1.json"),
        include_str!("../tests/attachments/format-2.json"),
    ];
    for (format, file) in (1..).zip(files) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("c1@eth0.json"), file).unwrap();
        let all = Attachments::open(folder.path()).unwrap();
        let which = Attached { container: "c1".into(), interface: "eth0".into() };
        let known = all.get(&which).expect("it is read");
        assert!(!all.lost() && !known.begun && known.format == format);
        assert_eq!((known.pod.uid.as_deref(), known.network.as_str()), (Some("u-1"), "isthmus"));
        assert_eq!(known.unhook, format == 2);
        let [link] = &*known.links else { panic!("{:?}", known.links) };
        assert!(!link.nested && link.device.is_none() && link.is_in_kernel() && link.driver == "ovs");
        assert!(all.owns("im0123456789abc"), "else it would be swept");
        let vif = &link.vif;
        assert_eq!(
            (&*vif.port_id, vif.mtu, &*vif.network),
            ("p-1", Some(1442), if format == 1 { "" } else { "n-1" })
        );
        assert_eq!((vif.addresses.len(), vif.gateways.len(), vif.all_routes().len()), (2, 2, 3));
        assert_eq!((vif.segmentation_id, vif.trusted, vif.unprotected), (None, false, false));
        assert_eq!(known.result.ips[0].gateway.as_deref(), Some("10.1.0.1"));
        // Written again it keeps what it is of, so that the agent before this one understands it too.
        let written: serde_json::Value = serde_json::to_value(&*known).unwrap();
        assert_eq!(written["format"], format);
    }
}

#[test]
fn a_file_of_a_newer_format_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a@eth0.json");
    let newer = Attachment { format: 5, ..attachment("a") };
    std::fs::write(&path, serde_json::to_string(&newer).unwrap()).unwrap();
    let error = Attachments::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("it has format 5") && error.contains("a@eth0.json"), "{error}");
}

#[tokio::test]
async fn one_file_that_cannot_be_read_stops_no_other_pod() {
    let folder = tempfile::tempdir().unwrap();
    Attachments::open(folder.path()).unwrap().put(attachment("b")).await.unwrap();
    std::fs::write(folder.path().join("a@eth0.json"), "{").unwrap();
    let all = Attachments::open(folder.path()).unwrap();
    assert_eq!(all.list(), [Arc::new(attachment("b"))]);
    let aside = folder.path().join("a@eth0.unreadable");
    assert!(aside.exists(), "for people to look at");
    // Whose link it is nobody knows now: nothing may be swept, at the next start neither.
    assert!(all.lost() && Attachments::open(folder.path()).unwrap().lost());
    all.remove(&attachment("a").attached).await.unwrap();
    assert!(!aside.exists(), "DEL leaves nothing");
    all.set_lost(false).await.unwrap();
    assert!(!Attachments::open(folder.path()).unwrap().lost());
}

#[tokio::test]
async fn one_that_is_not_known_has_its_file_removed_too() {
    let folder = tempfile::tempdir().unwrap();
    let all = Attachments::open(folder.path()).unwrap();
    let left = folder.path().join("a@eth0.json");
    std::fs::write(&left, "{").unwrap();
    all.remove(&attachment("a").attached).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn what_another_boot_or_a_del_left_is_not_live() {
    let folder = tempfile::tempdir().unwrap();
    let all = Attachments::open(folder.path()).unwrap();
    let before = Attachment { boot: "before".into(), ..attachment("a") };
    let deleted = Attachment { unhook: true, ..attachment("b") };
    let begun = Attachment { unhook: true, begun: true, ..attachment("d") };
    for one in [&before, &deleted, &begun] {
        all.put(one.clone()).await.unwrap();
        assert!(!all.is_live(one));
    }
    assert!(all.is_live(&attachment("c")));
    assert_eq!(all.pods(), BTreeSet::from(["u-b".to_owned()]), "not detached until it is unhooked");
    assert_eq!(Attachments::open(folder.path()).unwrap().list().len(), 3, "all are stored");
}
