//! Configuration as openstacksdk and openstackclient read it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isthmus_openstack::catalog::Interface;
use isthmus_openstack::config::{AuthMethod, ConfigError, Domain, Project, Scope, ServiceOptions, User};
use isthmus_openstack::{CloudConfig, Sources};
use tempfile::TempDir;

/// A working folder with these files, and these variables.
fn sources(files: &[(&str, &str)], env: &[(&str, &str)]) -> (TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let home = folder.path().join("home").display().to_string();
    let fixed = [("HOME", home.as_str()), ("XDG_CONFIG_DIRS", "/nonexistent")];
    let env: BTreeMap<_, _> =
        fixed.iter().chain(env).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let sources = Sources::new(env, folder.path());
    (folder, sources)
}

fn load(files: &[(&str, &str)], env: &[(&str, &str)]) -> Result<CloudConfig, ConfigError> {
    let (_folder, sources) = sources(files, env);
    CloudConfig::load(&sources, None)
}

fn password(config: &CloudConfig) -> &str {
    match &config.auth.method {
        AuthMethod::Password { password, .. } => password.expose(),
        other => panic!("{other:?}"),
    }
}

const PLAIN: &str = "
clouds:
  one:
    region_name: North
    auth:
      auth_url: http://k/v3
      username: u
      password: 12345
      project_name: p
      user_domain_name: Users
      project_domain_id: d
";

#[test]
fn what_providers_can_do_may_be_said() {
    let said =
        |list: &str| load(&[("clouds.yaml", &format!("{PLAIN}    load_balancer_providers: {list}\n"))], &[]);
    let config = said("[{name: my-own, l7: false, protocols: [TCP, UDP]}, {name: ovn}]").unwrap();
    let [own, ovn] = config.providers.as_slice() else { panic!("{:?}", config.providers) };
    assert_eq!((own.name.as_str(), own.l7, own.algorithms.as_ref()), ("my-own", Some(false), None));
    assert_eq!(own.protocols.as_deref(), Some(&["TCP".to_owned(), "UDP".to_owned()][..]));
    assert_eq!((ovn.name.as_str(), ovn.l7), ("ovn", None));
    let wrong = [
        ("{ovn: {l7: true}}", "is no list of providers"),
        ("[{l7: true}]", "missing field `name`"),
        ("[{name: a, l8: true}]", "unknown field `l8`"),
        ("[{name: a, protocols: [HTPP]}]", "provider \"a\" has \"HTPP\", which is none of HTTP"),
    ];
    for (list, why) in wrong {
        let error = said(list).unwrap_err().to_string();
        assert!(
            error.starts_with("cloud \"one\": load_balancer_providers: ") && error.contains(why),
            "{error}"
        );
    }
}

#[test]
fn a_plain_cloud() {
    let config = load(&[("clouds.yaml", PLAIN)], &[]).unwrap();
    assert_eq!((config.name.as_str(), config.region.as_deref()), ("one", Some("North")));
    assert_eq!(config.auth.auth_url, "http://k/v3");
    assert_eq!(password(&config), "12345", "digits are a password too");
    let AuthMethod::Password { user, .. } = &config.auth.method else { panic!() };
    assert_eq!(*user, User::Name("u".into(), Domain::Name("Users".into())));
    assert_eq!(config.auth.scope, Scope::Project(Project::Name("p".into(), Domain::Id("d".into()))));
    assert_eq!((config.interface, config.tls.verify), (Interface::Public, true));
    assert_eq!(config.request_timeout, Duration::from_secs(10));
}

#[test]
fn plain_scalars_that_other_parsers_take_for_something_else() {
    for plain in ["007", "no", "y", "0x1f", "1_000", "12345678901234567890", "~x", "on"] {
        let text = format!("clouds: {{c: {{auth: {{auth_url: k, username: u, password: {plain}}}}}}}");
        let config = load(&[("clouds.yaml", &text)], &[]).unwrap();
        let expected = if plain == "0x1f" { "31" } else { plain };
        assert_eq!(password(&config), expected, "{plain}");
    }
}

#[test]
fn secure_yaml_lies_over_clouds_yaml() {
    let clouds =
        "clouds: {one: {auth: {auth_url: http://k, username: u, password: old}, region_name: North}}";
    let secure = "clouds: {one: {auth: {password: new}}}";
    let config = load(&[("clouds.yaml", clouds), ("secure.yaml", secure)], &[]).unwrap();
    assert_eq!((password(&config), config.region.as_deref()), ("new", Some("North")));
}

#[test]
fn the_first_file_is_the_only_one() {
    let cloud = |name: &str| {
        format!("clouds: {{{name}: {{auth: {{auth_url: http://k, username: u, password: p}}}}}}")
    };
    let (here, user, named) = (cloud("here"), cloud("user"), cloud("named"));
    let json =
        r#"{"clouds": {"json": {"auth": {"auth_url": "http://k", "username": "u", "password": "p"}}}}"#;
    let home = "home/.config/openstack/clouds.yaml";
    let name = |files: &[(&str, &str)]| load(files, &[]).unwrap().name;
    assert_eq!(name(&[("clouds.yaml", &here), (home, &user)]), "here");
    assert_eq!(name(&[(home, &user)]), "user");
    assert_eq!(name(&[("clouds.json", json), (home, &user)]), "json");
    assert_eq!(name(&[("clouds.yml", &here), ("clouds.json", json)]), "here");

    let (folder, _) = sources(&[("my.yaml", &named), ("clouds.yaml", &here)], &[]);
    let file = folder.path().join("my.yaml").display().to_string();
    let env = BTreeMap::from([("OS_CLIENT_CONFIG_FILE".to_owned(), file)]);
    assert_eq!(CloudConfig::load(&Sources::new(env, folder.path()), None).unwrap().name, "named");
}

#[test]
fn which_cloud() {
    let two = "
clouds:
  a: {auth: {auth_url: http://a, username: u, password: p}}
  b: {auth: {auth_url: http://b, username: u, password: p}}";
    let files: &[(&str, &str)] = &[("clouds.yaml", two)];
    let env_cloud = [("OS_AUTH_URL", "http://e"), ("OS_USERNAME", "u"), ("OS_PASSWORD", "p")];
    let url = |env: &[(&str, &str)]| load(files, env).map(|c| c.auth.auth_url);
    assert_eq!(url(&[("OS_CLOUD", "b")]).unwrap(), "http://b");
    assert_eq!(url(&env_cloud).unwrap(), "http://e");
    let both: Vec<_> = env_cloud.iter().copied().chain([("OS_CLOUD", "a")]).collect();
    assert_eq!(url(&both).unwrap(), "http://a", "a named cloud comes before the variables");
    let renamed: Vec<_> = env_cloud.iter().copied().chain([("OS_CLOUD_NAME", "mine")]).collect();
    assert_eq!(load(files, &renamed).unwrap().name, "mine");
    let taken: Vec<_> = env_cloud.iter().copied().chain([("OS_CLOUD_NAME", "a")]).collect();
    assert!(matches!(url(&taken), Err(ConfigError::NameTaken(name)) if name == "a"));

    assert!(matches!(url(&[]), Err(ConfigError::NoCloud(known)) if known == "a, b"));
    for env in [&[][..], &[("OS_CLOUD", "c")]] {
        let nothing = load(&[], env).unwrap_err().to_string();
        assert!(nothing.starts_with("no clouds.yaml with a cloud in it: looked for /"), "{nothing}");
    }
    let unknown = url(&[("OS_CLOUD", "c")]).unwrap_err().to_string();
    assert_eq!(unknown, "no cloud \"c\" in clouds.yaml, which has [a, b]");
    let (_folder, sources) = sources(files, &env_cloud);
    assert_eq!(CloudConfig::load(&sources, Some("b")).unwrap().name, "b", "an argument comes before all");
}

#[test]
fn a_cloud_of_variables() {
    let config = load(
        &[],
        &[
            ("OS_AUTH_URL", "http://k"),
            ("OS_USERNAME", "u"),
            ("OS_PASSWORD", "p"),
            ("OS_TENANT_NAME", "old-word"),
            ("OS_PROJECT_ID", ""),
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_REGION_NAME", "South"),
            ("OS_INTERFACE", "internalURL"),
            ("OS_CACERT", "~/ca.pem"),
            ("OS_IDENTITY_API_VERSION", "3"),
            ("OS_NETWORK_ENDPOINT_OVERRIDE", "http://n"),
        ],
    )
    .unwrap();
    assert_eq!((config.name.as_str(), config.region.as_deref()), ("envvars", Some("South")));
    assert_eq!(config.interface, Interface::Internal);
    assert_eq!(config.services["network"].endpoint_override.as_deref(), Some("http://n"));
    assert!(config.tls.cacert.unwrap().ends_with("home/ca.pem"));
    let scope = Scope::Project(Project::Name("old-word".into(), Domain::Id("default".into())));
    assert_eq!(config.auth.scope, scope, "without a domain openstackclient's default");
}

/// Where openstackclient works in another project, or trusts another authority, so do we.
#[test]
fn variables_beside_a_named_cloud() {
    let env = [
        ("OS_CLOUD", "one"),
        ("OS_PROJECT_NAME", "other"),
        ("OS_PROJECT_DOMAIN_ID", "d2"),
        ("OS_INTERFACE", "internal"),
        ("OS_CACERT", "/ca.pem"),
        ("OS_USERNAME", "somebody"),
        ("OS_PASSWORD", "secret"),
        ("OS_AUTH_URL", "http://elsewhere"),
    ];
    let config = load(&[("clouds.yaml", PLAIN)], &env).unwrap();
    let scope = Scope::Project(Project::Name("other".into(), Domain::Id("d2".into())));
    assert_eq!((&config.auth.scope, config.interface), (&scope, Interface::Internal));
    assert_eq!(config.tls.cacert.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!((&*config.auth.auth_url, password(&config)), ("http://k/v3", "12345"));
    let AuthMethod::Password { user, .. } = config.auth.method else { panic!() };
    assert_eq!(user, User::Name("u".into(), Domain::Name("Users".into())));
    let by_id = load(&[("clouds.yaml", PLAIN)], &[("OS_CLOUD", "one"), ("OS_PROJECT_ID", "i")]).unwrap();
    assert_eq!(by_id.auth.scope, Scope::Project(Project::Id("i".into())));
}

/// The cloud `c` with these settings next to and within `auth`.
fn cloud(settings: &str, auth: &str) -> Result<CloudConfig, ConfigError> {
    let text = format!("clouds: {{c: {{{settings} auth: {{auth_url: 'http://k', {auth}}}}}}}");
    load(&[("clouds.yaml", &text)], &[])
}

#[test]
fn ways_to_sign_in() {
    let method = |settings, auth| cloud(settings, auth).unwrap().auth.method;
    let credential = "application_credential_id: i, application_credential_secret: s, project_name: ignored";
    for settings in ["auth_type: v3applicationcredential,", ""] {
        let config = cloud(settings, credential).unwrap();
        let AuthMethod::ApplicationCredential { id, secret } = config.auth.method else { panic!() };
        assert_eq!((id.as_str(), secret.expose(), config.auth.scope), ("i", "s", Scope::None));
    }
    let named = method(
        "auth_type: v3applicationcredential,",
        "application_credential_name: n, application_credential_secret: s, user_id: u",
    );
    let AuthMethod::NamedApplicationCredential { name, user, .. } = named else { panic!() };
    assert_eq!((name.as_str(), user), ("n", User::Id("u".into())));
    for (settings, auth) in
        [("auth_type: token,", "token: t"), ("auth_type: v3token,", "auth-token: t"), ("", "token: t")]
    {
        let AuthMethod::Token { token } = method(settings, auth) else { panic!() };
        assert_eq!(token.expose(), "t");
    }
    assert!(matches!(
        method("auth_type: v3password,", "user_id: u, password: p"),
        AuthMethod::Password { .. }
    ));
}

#[test]
fn scopes_and_domains() {
    let scope = |settings, auth: &str| {
        cloud(settings, &format!("username: u, password: p, {auth}")).unwrap().auth.scope
    };
    let name = |p: &str, d| Scope::Project(Project::Name(p.into(), d));
    let default = || Domain::Id("default".into());
    assert_eq!(scope("", "project_id: p, project_name: n"), Scope::Project(Project::Id("p".into())));
    assert_eq!(scope("", "project_name: n, domain_id: d"), name("n", Domain::Id("d".into())));
    assert_eq!(scope("", "project_name: n, domain_name: D"), name("n", Domain::Name("D".into())));
    assert_eq!(scope("", "domain_id: d"), Scope::Domain(Domain::Id("d".into())));
    assert_eq!(scope("", "domain-name: D"), Scope::Domain(Domain::Name("D".into())));
    assert_eq!(scope("", "tenant_name: old, project_name: new"), name("new", default()));
    assert_eq!(scope("project_name: outside,", "project_name: inside"), name("outside", default()));
    assert_eq!(scope("default_domain: x,", "project_name: n"), name("n", Domain::Id("x".into())));
    assert_eq!(scope("", "system_scope: all"), Scope::System);
    assert_eq!(scope("", "trust_id: t"), Scope::Trust("t".into()));
    assert_eq!(scope("", "x: y"), Scope::None);
}

#[test]
fn regions() {
    let regions =
        "regions: [North, {name: South, values: {interface: internal, auth: {auth_url: 'http://s'}}}],";
    let text =
        format!("clouds: {{c: {{{regions} auth: {{auth_url: 'http://k', username: u, password: p}}}}}}");
    let load = |env: &[(&str, &str)]| load(&[("clouds.yaml", &text)], env);
    let first = load(&[]).unwrap();
    assert_eq!((first.region.as_deref(), first.interface), (Some("North"), Interface::Public));
    let south = load(&[("OS_REGION_NAME", "South")]).unwrap();
    assert_eq!((south.interface, south.auth.auth_url.as_str()), (Interface::Internal, "http://s"));
    let error = load(&[("OS_REGION_NAME", "West")]).unwrap_err().to_string();
    assert_eq!(error, "cloud \"c\" has no region \"West\"; it has [North, South]");
    let listed = cloud("region_name: 'A,B',", "username: u, password: p").unwrap();
    assert_eq!(listed.region.as_deref(), Some("A"));
}

#[test]
fn services_certificates_and_timeout() {
    let settings =
        "endpoint_type: adminURL, network-interface: internal, network_region_name: N, api_timeout: 2.5,
        load_balancer_endpoint_override: 'http://lb', cacert: /ca, cert: /c, key: ~/k, insecure: 'False', ";
    let config = cloud(settings, "username: u, password: p").unwrap();
    assert_eq!(config.interface, Interface::Admin);
    let network = ServiceOptions {
        interface: Some(Interface::Internal),
        region: Some("N".into()),
        endpoint_override: None,
    };
    assert_eq!(config.services["network"], network);
    assert_eq!(config.services["load-balancer"].endpoint_override.as_deref(), Some("http://lb"));
    assert_eq!(config.request_timeout, Duration::from_millis(2500));
    assert_eq!((config.tls.verify, config.tls.cacert), (true, Some(PathBuf::from("/ca"))));
    assert_eq!(config.tls.cert.as_deref(), Some(Path::new("/c")));
    for settings in ["verify: false,", "verify: no,", "insecure: true,", "insecure: 'True', verify: true,"] {
        assert!(!cloud(settings, "username: u, password: p").unwrap().tls.verify, "{settings}");
    }
    let url =
        cloud("region_name: R1, auth_type: password,", "username: u, password: p").unwrap().auth.auth_url;
    assert_eq!(url, "http://k");
}

#[test]
fn vendor_profile_below_the_cloud() {
    let public = "public-clouds: {vendor: {auth: {auth_url: 'http://{region_name}.v'}, interface: internal}}";
    let clouds =
        "clouds: {c: {profile: vendor, interface: public, zone: z, auth: {username: u, password: p}}}";
    let config = load(&[("clouds.yaml", clouds), ("clouds-public.yaml", public)], &[]).unwrap();
    assert_eq!(
        (config.auth.auth_url.as_str(), config.interface),
        ("http://{region_name}.v", Interface::Public)
    );
    let clouds = clouds.replace("zone: z", "region_name: r1");
    let config = load(&[("clouds.yaml", &clouds), ("clouds-public.yaml", public)], &[]).unwrap();
    assert_eq!(config.auth.auth_url, "http://r1.v");
}

#[test]
fn what_is_wrong_is_named_without_secrets() {
    let secret = "hunter2";
    for (text, expected) in [
        ("clouds: {c: {auth: {username: u, password: hunter2}}}", "cloud \"c\" has no auth_url"),
        ("clouds: {c: {auth: {auth_url: k, username: u}}}", "cloud \"c\" has no password"),
        ("clouds: {c: {auth: {auth_url: k, password: hunter2}}}", "cloud \"c\" has no username or user_id"),
        ("clouds: {c: {auth_type: v3oidc, auth: {auth_url: k}}}", "\"v3oidc\" is not supported"),
        ("clouds: {c: {auth: {auth_url: 'http://k/v2.0', password: hunter2}}}", "v2.0 is not supported"),
        ("clouds: {c: {verify: maybe, auth: {auth_url: k, username: u, password: p}}}", "verify: is neither"),
        (
            "clouds: {c: {interface: side, auth: {auth_url: k, username: u, password: p}}}",
            "interface: \"side\" is no",
        ),
        (
            "clouds: {c: {api_timeout: 0, auth: {auth_url: k, username: u, password: p}}}",
            "no positive number",
        ),
        (
            "clouds: {c: {auth: {auth_url: k, username: u, password: 1e5}}}",
            "password: looks like a number; put it in quotes",
        ),
        ("clouds: {c: 5}", "clouds: is no mapping"),
        ("[hunter2", "not YAML"),
        ("hunter2", "it is empty or no mapping"),
        ("", "it is empty or no mapping"),
    ] {
        let error = load(&[("clouds.yaml", text)], &[]).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(expected), "{text}: {shown}");
        assert!(!shown.contains(secret) && !format!("{error:?}").contains(secret), "{shown}");
    }
    let config = load(&[("clouds.yaml", PLAIN)], &[]).unwrap();
    assert!(!format!("{config:?}").contains("12345"));
}
