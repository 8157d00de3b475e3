//! The command line: what each command prints, and what it says of wrong input.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use isthmus_e2e::{Lab, node, on_lab, port_id};
use isthmus_openstack::config::{AuthMethod, Domain, Project, Scope, User};
use isthmus_openstack::{CloudConfig, Sources};
use serde_json::{Value, json};

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, uid: 11111111-2222-3333-4444-555555555555}
spec: {nodeName: node1, containers: [{name: c, image: none}]}
"#;
const NAMESPACE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: blue}}
"#;

fn file(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path.to_str().context("UTF-8")?.to_owned())
}

async fn json_of(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&lab.isthmus(&[arguments, &["-o", "json"]].concat()).await?)?)
}

fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value> {
    value.pointer(pointer).with_context(|| format!("no {pointer} in {value}"))
}

/// The command fails, and says this.
async fn fails(lab: &Lab, arguments: &[&str], parts: &[&str]) -> Result<()> {
    let said = match lab.isthmus(arguments).await {
        Ok(output) => bail!("{arguments:?} is fine? {output}"),
        Err(error) => format!("{error:#}"),
    };
    for part in parts {
        ensure!(said.contains(part), "{arguments:?} does not say {part:?}: {said}");
    }
    Ok(())
}

/// What our reading of the environment and of clouds.yaml comes to, in the words of `openstack configuration show`.
fn as_shown(config: &CloudConfig) -> Result<Value> {
    let domain = |of: &str, domain: &Domain| match domain {
        Domain::Id(id) => (format!("auth.{of}_domain_id"), json!(id)),
        Domain::Name(name) => (format!("auth.{of}_domain_name"), json!(name)),
    };
    let auth = |key: &str, value: &str| (format!("auth.{key}"), json!(value));
    let mut shown = vec![
        auth("auth_url", &config.auth.auth_url),
        // The client says so where there is none.
        ("region_name".to_owned(), json!(config.region.as_deref().unwrap_or_default())),
        ("interface".to_owned(), json!(format!("{:?}", config.interface).to_lowercase())),
        ("cacert".to_owned(), json!(config.tls.cacert)),
        ("cert".to_owned(), json!(config.tls.cert)),
        ("key".to_owned(), json!(config.tls.key)),
    ];
    match &config.auth.method {
        AuthMethod::Password { user: User::Name(user, of), password } => {
            shown.extend([auth("username", user), auth("password", password.expose()), domain("user", of)]);
        }
        AuthMethod::ApplicationCredential { id, secret } => shown.extend([
            ("auth_type".to_owned(), json!("v3applicationcredential")),
            auth("application_credential_id", id),
            auth("application_credential_secret", secret.expose()),
        ]),
        AuthMethod::Token { token } => {
            shown.extend([("auth_type".to_owned(), json!("v3token")), auth("token", token.expose())]);
        }
        other => bail!("{other:?}"),
    }
    match &config.auth.scope {
        Scope::Project(Project::Id(id)) => shown.push(auth("project_id", id)),
        Scope::Project(Project::Name(name, of)) => {
            shown.extend([auth("project_name", name), domain("project", of)]);
        }
        // An application credential brings its own.
        Scope::None => {}
        other => bail!("{other:?}"),
    }
    Ok(Value::Object(shown.into_iter().collect()))
}

/// What `openstack configuration show` says with these variables alone.
async fn shown_by_the_client(folder: &Path, variables: &[(&str, &str)]) -> Result<Value> {
    let path = std::env::var("PATH")?;
    let mut client = tokio::process::Command::new("openstack");
    client.args(["configuration", "show", "--unmask", "-f", "json"]).env_clear().env("PATH", path);
    let output = client.envs(variables.iter().copied()).current_dir(folder).output().await?;
    ensure!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the client shows of a setting. One of a variable may stand beside `auth`, in which it has it when it signs in; and where
/// nothing is said of a domain it is the default one then.
fn told<'a>(shown: &'a Value, key: &str) -> &'a Value {
    let found = |key: &str| shown.get(key).or_else(|| shown.get(key.strip_prefix("auth.")?));
    let default = || {
        let of = key.strip_suffix("_domain_id")?;
        if found(&format!("{of}_domain_name")).is_some() { None } else { shown.get("default_domain") }
    };
    found(key).or_else(default).unwrap_or(&Value::Null)
}

/// The client shows more than it uses: of what we use nothing may differ.
#[tokio::test]
async fn a_cloud_is_configured_as_the_openstack_client_has_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let auth =
        "auth_url: http://k/v3, username: u, project_name: p, user_domain_name: Users, project_domain_id: d";
    let credential =
        "auth_type: v3applicationcredential, auth: {auth_url: http://k/v3, application_credential_id: c}";
    let clouds = format!(
        "clouds: {{one: {{region_name: North, interface: internal, cacert: /ca.pem, auth: {{{auth}}}}}, two: {{regions: [A, B], auth: {{{auth}, password: two}}}},
          credential: {{{credential}}},
          token: {{auth_type: v3token, auth: {{auth_url: http://k/v3, token: t, project_name: p, project_domain_name: Projects}}}}}}"
    );
    let clouds = file(folder.path(), "clouds.yaml", &clouds)?;
    let secure = "clouds: {one: {auth: {password: of-secure}}, credential: {auth: {application_credential_secret: of-secure}}}";
    let secure = file(folder.path(), "secure.yaml", secure)?;
    let table: [&[(&str, &str)]; 11] = [
        &[("OS_CLOUD", "one")],
        &[("OS_CLOUD", "one"), ("OS_PROJECT_NAME", "other"), ("OS_PROJECT_DOMAIN_NAME", "Others")],
        &[("OS_CLOUD", "one"), ("OS_PROJECT_ID", "i"), ("OS_USERNAME", "x"), ("OS_PASSWORD", "x")],
        &[
            ("OS_CLOUD", "one"),
            ("OS_CACERT", "/a"),
            ("OS_CERT", "/b"),
            ("OS_KEY", "/c"),
            ("OS_INTERFACE", "admin"),
        ],
        &[
            ("OS_CLOUD", "two"),
            ("OS_REGION_NAME", "B"),
            ("OS_TENANT_NAME", "old"),
            ("OS_AUTH_URL", "http://x"),
        ],
        &[("OS_CLOUD", "credential")],
        &[("OS_CLOUD", "token")],
        // No OS_CLOUD: the variables alone, though there are clouds in the file.
        &[
            ("OS_AUTH_URL", "http://v/v3"),
            ("OS_USERNAME", "v"),
            ("OS_PASSWORD", "w"),
            ("OS_PROJECT_NAME", "p"),
            ("OS_USER_DOMAIN_NAME", "Users"),
            ("OS_PROJECT_DOMAIN_ID", "d"),
            ("OS_REGION_NAME", "South"),
            ("OS_INTERFACE", "internal"),
        ],
        &[
            ("OS_AUTH_URL", "http://v/v3"),
            ("OS_USERNAME", "v"),
            ("OS_PASSWORD", "w"),
            ("OS_PROJECT_ID", "i"),
            ("OS_CACERT", "/a"),
        ],
        &[
            ("OS_AUTH_TYPE", "v3applicationcredential"),
            ("OS_AUTH_URL", "http://v/v3"),
            ("OS_APPLICATION_CREDENTIAL_ID", "c"),
            ("OS_APPLICATION_CREDENTIAL_SECRET", "s"),
        ],
        &[
            ("OS_AUTH_TYPE", "v3token"),
            ("OS_AUTH_URL", "http://v/v3"),
            ("OS_TOKEN", "t"),
            ("OS_PROJECT_ID", "i"),
        ],
    ];
    let home = folder.path().display().to_string();
    let fixed = [("HOME", &*home), ("OS_CLIENT_CONFIG_FILE", &clouds), ("OS_CLIENT_SECURE_FILE", &secure)];
    for said in table {
        let all = [&fixed, said].concat();
        let shown = shown_by_the_client(folder.path(), &all).await?;
        let variables = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let own = as_shown(&CloudConfig::load(&Sources::new(variables, folder.path()), None)?)?;
        for (key, value) in own.as_object().into_iter().flatten() {
            let other = told(&shown, key);
            ensure!(value == other, "{said:?}: {key} is {value} here and {other} there");
        }
    }
    Ok(())
}

#[tokio::test]
async fn render_needs_neither_cluster_nor_cloud() -> Result<()> {
    on_lab("render", async |lab| {
        let folder = tempfile::tempdir()?;
        let subject = file(folder.path(), "pod.yaml", POD)?;
        let snapshot = file(folder.path(), "namespace.yaml", NAMESPACE)?;
        let (module, refiner) = (lab.module_file("pod-port")?, lab.module_file("tag-by-team")?);
        let config = r#"{"network": "pods", "tags": ["own"]}"#;
        let base = ["render", &module, "--subject", &subject, "--config", config];
        let all = [&base[..], &["--snapshot", &snapshot, "--refiner", &refiner]].concat();
        let list = json_of(lab, &[&all[..], &["--kubeconfig", "/nowhere"]].concat()).await?;
        ensure!(at(&list, "/0/name")? == "port" && at(&list, "/0/kind")? == "port", "{list}");
        ensure!(*at(&list, "/0/tags")? == json!(["own", "team=blue"]), "{list}");
        ensure!(list.to_string().contains("node1") && at(&list, "/1/name")? == "eth0", "{list}");
        let table = lab.isthmus(&all).await?;
        ensure!(table.starts_with("NAME  KIND  FIELDS") && table.contains("own,team=blue"), "{table}");

        let waiting = lab.isthmus(&base).await?;
        ensure!(waiting.contains("waiting: the Pod's namespace is not known yet"), "{waiting}");
        fails(lab, &[&all[..], &["--config", "{}"]].concat(), &["--config"]).await?;
        let unknown = ["render", &module, "--subject", &subject, "--snapshot", &snapshot, "--config"];
        fails(lab, &[&unknown[..], &[r#"{"networks": 1}"#]].concat(), &["networks", "expected"]).await?;
        let other = ["render", &module, "--subject", &snapshot, "--config", config];
        fails(lab, &other, &["it is a v1/Namespace", "pod-port maps v1/Pod"]).await?;
        fails(lab, &["render", &subject, "--subject", &subject], &["pod.yaml", "no WebAssembly component"])
            .await?;
        let nowhere = ["render", &module, "--subject", "/nowhere.yaml"];
        fails(lab, &nowhere, &["reading /nowhere.yaml", "No such file"]).await
    })
    .await
}

#[tokio::test]
async fn module_check_says_what_a_module_is() -> Result<()> {
    on_lab("check", async |lab| {
        let module = lab.module_file("pod-port")?;
        let checked = json_of(lab, &["module", "check", &module]).await?;
        ensure!(at(&checked, "/manifest/name")? == "pod-port", "{checked}");
        let sha256 = at(&checked, "/sha256")?.as_str().unwrap_or_default();
        ensure!(sha256.len() == 64 && sha256.chars().all(|c| c.is_ascii_hexdigit()), "{checked}");
        let size = |name| at(&checked, name).map(|n| n.as_u64().unwrap_or_default());
        ensure!(size("/packed")? > 0 && size("/packed")? < size("/bytes")?, "{checked}");
        let text = lab.isthmus(&["module", "check", &module]).await?;
        ensure!(text.contains("maps     v1/Pod (") && text.contains("spec.nodeName"), "{text}");
        let refiner = lab.isthmus(&["module", "check", &lab.module_file("tag-by-team")?]).await?;
        ensure!(refiner.contains("refines  v1/Pod"), "{refiner}");
        let folder = tempfile::tempdir()?;
        let script = file(folder.path(), "script", "#!/bin/sh\n")?;
        fails(lab, &["module", "check", &script], &["script", "no WebAssembly component"]).await
    })
    .await
}

#[tokio::test]
async fn module_load_shows_what_it_would_write() -> Result<()> {
    on_lab("dry-run", async |lab| {
        let module = lab.module_file("pod-port")?;
        let text = lab.isthmus(&["module", "load", &module, "--dry-run", "--name", "ports"]).await?;
        ensure!(lab.config_maps().get_opt("ports").await?.is_none(), "nothing is written");
        let folder = tempfile::tempdir()?;
        let manifest = file(folder.path(), "module.yaml", &text)?;
        let system = ["-n", isthmus_e2e::OPERATOR_NAMESPACE, "-o", "json"];
        let create = [&["create", "--dry-run=server", "-f", &manifest], &system[..]].concat();
        let map: Value = serde_json::from_str(&lab.kubectl(&create).await?)?;
        ensure!(at(&map, "/kind")? == "ConfigMap" && at(&map, "/metadata/name")? == "ports", "{text}");
        ensure!(at(&map, "/metadata/labels/isthmus.dev~1policy-module")? == "ports", "{text}");
        let checked = json_of(lab, &["module", "check", &module]).await?;
        let annotation = at(&map, "/metadata/annotations/isthmus.dev~1sha256")?;
        ensure!(annotation == at(&checked, "/sha256")?, "{annotation}");
        let written = lab.isthmus(&["module", "load", &module, "--name", "ports"]).await?;
        ensure!(written.contains("ports: version") && written.contains("1 ConfigMap of"), "{written}");
        ensure!(lab.config_maps().get_opt("ports").await?.is_some());
        let load = ["module", "load", &module, "--name", "ports"];
        let again = json_of(lab, &load).await?;
        let yaml = lab.isthmus(&[&load[..], &["-o", "yaml"]].concat()).await?;
        ensure!(serde_saphyr::from_str::<Value>(&yaml)? == again, "the same, twice: {yaml}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn tree_shows_what_an_object_became() -> Result<()> {
    on_lab("tree", async |lab| {
        let (namespace, _operator) = lab.with_pod_port(&[]).await?;
        let pod = lab.pod(&namespace, "web", json!({})).await?;
        let id = port_id(&lab.pod_ready(&pod).await?).context("a port")?;
        let trees = json_of(lab, &["tree", "pod/web", "-n", &namespace]).await?;
        let tree = at(&trees, "/0")?;
        ensure!(at(tree, "/subject")? == "Pod/web" && at(tree, "/node")? == node(), "{tree}");
        ensure!(at(tree, "/module")?.as_str().is_some_and(|m| m.starts_with("pod-port ")), "{tree}");
        let resources = at(tree, "/resources")?.as_array().context("a list")?;
        let port = resources.iter().find(|r| r.get("kind") == Some(&json!("port"))).context("a port")?;
        ensure!(*at(port, "/id")? == id && at(port, "/state")? == "Ready", "{port}");
        ensure!(at(port, "/addresses")?.as_array().is_some_and(|a| a.len() == 2), "{port}");
        let yaml = lab.isthmus(&["tree", "pod/web", "-n", &namespace, "-o", "yaml"]).await?;
        ensure!(serde_saphyr::from_str::<Value>(&yaml)? == trees, "{yaml}");
        let text = lab.isthmus(&["tree", "pods/web", "-n", &namespace]).await?;
        ensure!(text.starts_with("Pod/web (CloudMapping ") && text.contains(&id), "{text}");
        let missing = ["pod/nobody", "kubectl get cloudmappings"];
        fails(lab, &["tree", "pod/nobody", "-n", &namespace], &missing).await?;
        fails(lab, &["tree", "web"], &["\"web\" names no object", "KIND/NAME"]).await
    })
    .await
}

#[tokio::test]
async fn crds_are_what_kubernetes_takes() -> Result<()> {
    on_lab("crds", async |lab| {
        let text = lab.isthmus(&["crds"]).await?;
        let folder = tempfile::tempdir()?;
        let manifest = file(folder.path(), "crds.yaml", &text)?;
        let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", &manifest];
        let names = lab.kubectl(&[&apply[..], &["-o", "name"]].concat()).await?;
        for name in ["cloudmappings.isthmus.dev", "policymodules.isthmus.dev"] {
            ensure!(names.contains(name), "{names}");
        }
        fails(
            lab,
            &["operator", "--lease-seconds", "3"],
            &["'3' for '--lease-seconds <LEASE_SECONDS>'", "10..=3600"],
        )
        .await?;
        fails(lab, &["operator", "--os-cloud", "nowhere"], &["nowhere"]).await
    })
    .await
}
