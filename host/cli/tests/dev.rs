//! Commands against the cluster of `isthmus dev`: a Kubernetes API, an OpenStack and the operator in one process.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The user and group `nobody`, by the number that they have everywhere.
const NOBODY: u32 = 65534;

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

/// Puts a file where everybody may read it.
fn share(from: &Path, into: &Path) {
    let to = into.join(from.file_name().unwrap());
    fs::hard_link(from, &to).or_else(|_| fs::copy(from, &to).map(drop)).unwrap();
}

/// What is read by everybody, and in it a home of this user's own. The build may lie where only its owner looks.
fn shared(user: u32) -> tempfile::TempDir {
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [home, wasm] = ["home", "modules"].map(|name| shared.path().join(name));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&wasm).unwrap();
    chown(&home, Some(user), None).unwrap();
    share(Path::new(env!("CARGO_BIN_EXE_isthmus")), shared.path());
    for file in fs::read_dir(modules()).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "wasm") {
            share(&file, &wasm);
        }
    }
    shared
}

/// By `nobody`, where the tests run as root, with nothing in its environment. How long it takes is the machine's and the build's.
#[test]
fn it_needs_no_root_no_cluster_and_no_cloud() {
    let ours = fs::metadata("/proc/self").unwrap().uid();
    let user = if ours == 0 { NOBODY } else { ours };
    let shared = shared(user);
    let (program, home) = (shared.path().join("isthmus"), shared.path().join("home"));
    let mut command = match ours {
        0 => {
            let id = NOBODY.to_string();
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs", "--"])
                .arg(program);
            command
        }
        _ => Command::new(program),
    };
    command.args(["dev", "--output", "json", "--http", "127.0.0.1:0"]).current_dir(&home);
    // PATH: where `setpriv` is looked for. Few lines: nobody reads them meanwhile.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &home);
    command.env("ISTHMUS_LOG", "warn");
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = serde_json::Deserializer::from_reader(running.stdout.take().unwrap()).into_iter::<Value>();
    let said = said.next();
    // It may have ended by itself: what it says of that is shown below.
    let _ = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().unwrap();
    let output = running.wait_with_output().unwrap();
    let Some(Ok(said)) = said else { panic!("{}", text(&output.stderr)) };
    assert!(output.status.success(), "{}", text(&output.stderr));
    println!("ready in {} ms", said.get("readyMs").unwrap());
    for file in ["kubeconfig", "clouds"] {
        let path = Path::new(said.get(file).unwrap().as_str().unwrap());
        assert!(path.starts_with(&home), "{said}");
        assert_eq!(fs::metadata(path).unwrap().uid(), user);
    }
}
