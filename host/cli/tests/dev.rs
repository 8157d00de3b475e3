//! Commands against the cluster of `isthmus dev`: a Kubernetes API, an OpenStack and the operator in one process.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the modules that `cargo xtask plugins` has built.
fn modules() -> PathBuf {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/modules");
    std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, PathBuf::from)
}

/// Runs a shell script with the example's world around it; `isthmus` is on its PATH.
fn on_dev(folder: &Path, script: &str) -> Output {
    let isthmus = Path::new(env!("CARGO_BIN_EXE_isthmus"));
    let path = format!("{}:{}", isthmus.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(isthmus);
    command.args(["dev", "--http", "127.0.0.1:0", "--folder"]).arg(folder.join("dev"));
    command.arg("--modules").arg(modules()).args(["--", "bash", "-euo", "pipefail", "-c", script]);
    command.env("MODULES", modules()).env("PATH", path).env("ISTHMUS_LOG", "warn").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a script prints that ends well.
fn printed(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = on_dev(folder.path(), script);
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn an_object_is_found_by_every_name_that_kubectl_prints() {
    let said = printed(
        r#"
        for object in po/web-0 pods.v1./web-1 route.route.openshift.io/web routes/cart; do isthmus tree $object -n shop; done
        # In the operator's namespace, whatever -n says.
        isthmus tree policymodule.isthmus.dev/route-l7policy -n shop
        isthmus tree pmod/route-l7policy
        # A namespace's is in the namespace itself.
        isthmus tree ns/office
        isthmus why namespace/office
        isthmus tree svc/front -n shop
        isthmus why po/web-0 -n shop
        isthmus why route.route.openshift.io/web -n shop
        isthmus why pmod/route-l7policy
        isthmus why pmod/networkpolicy-securitygroup
        isthmus why netpol/cart -n shop
        fails() { if isthmus "$@" 2>&1; then exit 1; fi; }
        fails tree pod/web-0
        fails tree ns/shop
        fails tree poodle/web-0
        fails why poodle/web-0
        fails why netpol/web -n shop
        fails why pod/nobody -n shop
        # Its files are in use.
        fails dev --empty --modules "$MODULES" --folder "$(dirname "$KUBECONFIG")"
        "#,
    );
    for object in ["Pod/web-0", "Pod/web-1", "Route/web", "Route/cart", "Namespace/office", "Service/front"] {
        assert!(said.contains(&format!("{object} (CloudMapping ")), "tree of {object}: {said}");
    }
    for object in ["Pod shop/web-0", "Route shop/web", "PolicyModule route-l7policy", "Namespace office"] {
        assert!(said.contains(&format!("{object}\n├─ mapped by ")), "why of {object}: {said}");
    }
    assert_eq!(said.matches("PolicyModule/route-l7policy (CloudMapping ").count(), 2, "{said}");
    for refused in [
        "pod/web-0 in namespace default has no CloudMapping",
        "ns/shop has no CloudMapping",
        "the API server serves nothing that is called poodle",
        "there is no netpol/web in namespace shop",
        "there is no pod/nobody in namespace shop",
        "another `isthmus dev` runs with the folder ",
    ] {
        assert!(said.contains(&format!("isthmus: {refused}")), "{refused}: {said}");
    }
}

#[test]
fn doctor_looks_at_what_the_modules_need() {
    // As the operator, whose credential may bind ports.
    let said = printed(
        "OS_CLOUD=isthmus isthmus doctor; OS_CLOUD=isthmus isthmus doctor --kubeconfig /nowhere || true",
    );
    let lines = |start: &str| said.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let rights = lines("ok    rights: all ");
    assert!(
        rights.len() == 1 && rights.iter().all(|line| line.ends_with(" that the operator needs")),
        "{said}"
    );
    let known = "ok    Neutron: 32 extensions; nothing mapped needs what it lacks: dns-integration, qos";
    assert_eq!(lines("ok    Neutron"), [known], "{said}");
    let unknown = "warn  Neutron: it lacks dns-integration, qos: whether modules need that is not known";
    assert_eq!(lines("warn  Neutron"), [unknown], "{said}");
}
