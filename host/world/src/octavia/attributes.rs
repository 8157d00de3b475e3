//! The attributes of each kind, in Octavia's order (`octavia.api.v2.types`), which is the order they are looked at in.

use super::types::Type::{self, *};

/// A body of a POST.
pub(super) const POST: u8 = 1;
/// A part of the body of a load balancer's POST.
pub(super) const SINGLE: u8 = 2;
/// A body of a PUT.
pub(super) const PUT: u8 = 4;

/// What an attribute is that a POST does not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unset {
    /// A POST must set it.
    Required,
    /// Not there.
    Absent,
    Null,
    Bool(bool),
    Int(i64),
    Text(&'static str),
    List,
}

/// An attribute that a request may set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) of: Type,
    /// In which bodies it may be.
    pub(super) forms: u8,
    pub(super) unset: Unset,
}

const fn a(name: &'static str, of: Type, forms: u8, unset: Unset) -> Attribute {
    Attribute { name, of, forms, unset }
}

/// In every body.
const ALL: u8 = POST | SINGLE | PUT;
/// In the bodies of what is made.
const NEW: u8 = POST | SINGLE;
const TEXT: Type = Text(255);
const TAGS: Type = List(&TEXT);
const PORT: Type = Int(1, 65535);
const TIMEOUT: Type = Int(0, 24 * 24 * 60 * 60 * 1000);
const RETRIES: Type = Int(1, 10);
const ANY: Type = Int(i64::MIN, i64::MAX);

pub(super) const LISTENER_PROTOCOLS: &[&str] =
    &["TCP", "HTTPS", "HTTP", "TERMINATED_HTTPS", "UDP", "SCTP", "PROMETHEUS"];
const POOL_PROTOCOLS: &[&str] = &["TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2", "UDP", "SCTP"];
const ALGORITHMS: &[&str] = &["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT"];
const PERSISTENCES: &[&str] = &["SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"];
const MONITORS: &[&str] = &["HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO", "UDP-CONNECT", "SCTP"];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH"];
const ACTIONS: &[&str] = &["REJECT", "REDIRECT_TO_URL", "REDIRECT_TO_POOL", "REDIRECT_PREFIX"];
const RULES: &[&str] = &[
    "HOST_NAME",
    "PATH",
    "FILE_TYPE",
    "HEADER",
    "COOKIE",
    "SSL_CONN_HAS_CERT",
    "SSL_VERIFY_RESULT",
    "SSL_DN_FIELD",
];
const COMPARISONS: &[&str] = &["REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO"];
const CLIENTS: &[&str] = &["NONE", "OPTIONAL", "MANDATORY"];
const ALPN: &[&str] = &["h2", "http/1.1", "http/1.0"];
/// Where a policy is put that does not say where.
pub(super) const LAST_POSITION: i64 = 2_147_483_647;

const ADDITIONAL_VIP: &[Attribute] = &[
    a("subnet_id", Uuid, POST, Unset::Required),
    a("ip_address", Ip, POST, Unset::Absent),
    a("port_id", Uuid, POST, Unset::Absent),
];

pub(super) const LOAD_BALANCER: &[Attribute] = &[
    a("name", TEXT, ALL, Unset::Absent),
    a("description", TEXT, ALL, Unset::Absent),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("vip_address", Ip, POST, Unset::Absent),
    a("vip_port_id", Uuid, POST, Unset::Absent),
    a("vip_subnet_id", Uuid, POST, Unset::Absent),
    a("vip_network_id", Uuid, POST, Unset::Absent),
    a("vip_qos_policy_id", Uuid, ALL, Unset::Absent),
    a("vip_sg_ids", List(&Uuid), ALL, Unset::Absent),
    a("additional_vips", Parts(ADDITIONAL_VIP, POST), POST, Unset::List),
    a("project_id", Text(36), POST, Unset::Absent),
    a("listeners", Parts(LISTENER, SINGLE), POST, Unset::List),
    a("pools", Parts(POOL, SINGLE), POST, Unset::List),
    a("provider", Text(64), POST, Unset::Absent),
    a("tags", TAGS, ALL, Unset::Absent),
    a("flavor_id", Uuid, POST, Unset::Absent),
    a("availability_zone", TEXT, POST, Unset::Absent),
];

pub(super) const LISTENER: &[Attribute] = &[
    a("name", TEXT, ALL, Unset::Absent),
    a("description", TEXT, ALL, Unset::Absent),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("protocol", Enum(LISTENER_PROTOCOLS), NEW, Unset::Required),
    a("protocol_port", PORT, NEW, Unset::Required),
    a("connection_limit", Int(-1, i64::MAX), ALL, Unset::Int(-1)),
    a("default_tls_container_ref", TEXT, ALL, Unset::Absent),
    a("sni_container_refs", List(&TEXT), ALL, Unset::Absent),
    a("project_id", Text(36), POST, Unset::Absent),
    a("default_pool_id", Uuid, ALL, Unset::Absent),
    a("default_pool", Part(POOL, SINGLE), NEW, Unset::Absent),
    a("l7policies", Parts(L7_POLICY, SINGLE), NEW, Unset::List),
    a("insert_headers", Texts, ALL, Unset::Absent),
    a("loadbalancer_id", Uuid, POST, Unset::Required),
    a("timeout_client_data", TIMEOUT, ALL, Unset::Absent),
    a("timeout_member_connect", TIMEOUT, ALL, Unset::Absent),
    a("timeout_member_data", TIMEOUT, ALL, Unset::Absent),
    a("timeout_tcp_inspect", TIMEOUT, ALL, Unset::Absent),
    a("tags", TAGS, ALL, Unset::Absent),
    a("client_ca_tls_container_ref", TEXT, ALL, Unset::Absent),
    a("client_authentication", Enum(CLIENTS), ALL, Unset::Text("NONE")),
    a("client_crl_container_ref", TEXT, ALL, Unset::Absent),
    a("allowed_cidrs", List(&Cidr), ALL, Unset::Absent),
    a("tls_ciphers", Text(2048), ALL, Unset::Absent),
    a("tls_versions", List(&Text(32)), ALL, Unset::Absent),
    a("alpn_protocols", List(&Enum(ALPN)), ALL, Unset::Absent),
    a("hsts_max_age", Int(0, i64::MAX), ALL, Unset::Absent),
    a("hsts_include_subdomains", Bool, ALL, Unset::Bool(false)),
    a("hsts_preload", Bool, ALL, Unset::Bool(false)),
];

const PERSISTENCE: &[Attribute] = &[
    a("type", Enum(PERSISTENCES), ALL, Unset::Required),
    a("cookie_name", Cookie, ALL, Unset::Null),
    a("persistence_timeout", ANY, ALL, Unset::Null),
    a("persistence_granularity", Ip, ALL, Unset::Null),
];

pub(super) const POOL: &[Attribute] = &[
    a("name", TEXT, ALL, Unset::Absent),
    a("description", TEXT, ALL, Unset::Absent),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("listener_id", Uuid, POST, Unset::Absent),
    a("loadbalancer_id", Uuid, POST, Unset::Absent),
    a("protocol", Enum(POOL_PROTOCOLS), POST, Unset::Required),
    a("protocol", Enum(POOL_PROTOCOLS), SINGLE, Unset::Absent),
    a("lb_algorithm", Enum(ALGORITHMS), POST | PUT, Unset::Required),
    a("lb_algorithm", Enum(ALGORITHMS), SINGLE, Unset::Absent),
    a("session_persistence", Part(PERSISTENCE, POST), NEW, Unset::Absent),
    a("session_persistence", Part(PERSISTENCE, PUT), PUT, Unset::Absent),
    a("project_id", Text(36), POST, Unset::Absent),
    a("healthmonitor", Part(HEALTH_MONITOR, SINGLE), NEW, Unset::Absent),
    a("members", Parts(MEMBER, SINGLE), NEW, Unset::Absent),
    a("tags", TAGS, ALL, Unset::Absent),
    a("tls_container_ref", TEXT, ALL, Unset::Absent),
    a("ca_tls_container_ref", TEXT, ALL, Unset::Absent),
    a("crl_container_ref", TEXT, ALL, Unset::Absent),
    a("tls_enabled", Bool, ALL, Unset::Bool(false)),
    a("tls_ciphers", Text(2048), ALL, Unset::Absent),
    a("tls_versions", List(&Text(32)), ALL, Unset::Absent),
    a("alpn_protocols", List(&Enum(ALPN)), ALL, Unset::Absent),
];

pub(super) const MEMBER: &[Attribute] = &[
    a("name", TEXT, ALL, Unset::Absent),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("address", Ip, NEW, Unset::Required),
    a("protocol_port", PORT, NEW, Unset::Required),
    a("weight", Int(0, 256), ALL, Unset::Int(1)),
    a("backup", Bool, ALL, Unset::Bool(false)),
    a("subnet_id", Uuid, NEW, Unset::Absent),
    a("project_id", Text(36), POST, Unset::Absent),
    a("monitor_port", PORT, ALL, Unset::Null),
    a("monitor_address", Ip, ALL, Unset::Null),
    a("tags", TAGS, ALL, Unset::Absent),
    a("request_sriov", Bool, NEW, Unset::Bool(false)),
];

pub(super) const HEALTH_MONITOR: &[Attribute] = &[
    a("name", TEXT, ALL, Unset::Absent),
    a("type", Enum(MONITORS), NEW, Unset::Required),
    a("delay", Int(0, i64::MAX), ALL, Unset::Required),
    a("timeout", Int(0, i64::MAX), ALL, Unset::Required),
    a("max_retries_down", RETRIES, ALL, Unset::Int(3)),
    a("max_retries", RETRIES, ALL, Unset::Required),
    a("http_method", Enum(METHODS), ALL, Unset::Absent),
    a("url_path", UrlPath, ALL, Unset::Absent),
    a("expected_codes", Codes, ALL, Unset::Absent),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("project_id", Text(36), POST, Unset::Absent),
    a("pool_id", Uuid, POST, Unset::Required),
    a("tags", TAGS, ALL, Unset::Absent),
    a("http_version", HttpVersion, ALL, Unset::Absent),
    a("domain_name", Domain, ALL, Unset::Absent),
];

pub(super) const L7_POLICY: &[Attribute] = &[
    a("name", TEXT, ALL, Unset::Absent),
    a("description", TEXT, ALL, Unset::Absent),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("project_id", Text(36), POST, Unset::Absent),
    a("action", Enum(ACTIONS), ALL, Unset::Required),
    a("redirect_pool_id", Uuid, POST | PUT, Unset::Absent),
    a("redirect_pool", Part(POOL, SINGLE), SINGLE, Unset::Absent),
    a("redirect_url", Url, ALL, Unset::Absent),
    a("redirect_prefix", Url, ALL, Unset::Absent),
    a("position", Int(1, LAST_POSITION), ALL, Unset::Int(LAST_POSITION)),
    a("listener_id", Uuid, POST, Unset::Required),
    a("rules", Parts(L7_RULE, SINGLE), NEW, Unset::Absent),
    a("tags", TAGS, ALL, Unset::Absent),
    a("redirect_http_code", Number(&[301, 302, 303, 307, 308]), ALL, Unset::Absent),
];

pub(super) const L7_RULE: &[Attribute] = &[
    a("type", Enum(RULES), ALL, Unset::Required),
    a("compare_type", Enum(COMPARISONS), ALL, Unset::Required),
    a("key", Line, ALL, Unset::Absent),
    a("value", Line, ALL, Unset::Required),
    a("invert", Bool, ALL, Unset::Bool(false)),
    a("admin_state_up", Bool, ALL, Unset::Bool(true)),
    a("project_id", Text(36), POST, Unset::Absent),
    a("tags", TAGS, ALL, Unset::Absent),
];

const LIMIT: Type = Int(-1, 2_000_000_000);

pub(super) const QUOTA: &[Attribute] = &[
    a("loadbalancer", LIMIT, PUT, Unset::Absent),
    a("load_balancer", LIMIT, PUT, Unset::Absent),
    a("listener", LIMIT, PUT, Unset::Absent),
    a("member", LIMIT, PUT, Unset::Absent),
    a("pool", LIMIT, PUT, Unset::Absent),
    a("healthmonitor", LIMIT, PUT, Unset::Absent),
    a("health_monitor", LIMIT, PUT, Unset::Absent),
    a("l7policy", LIMIT, PUT, Unset::Absent),
    a("l7rule", LIMIT, PUT, Unset::Absent),
];
