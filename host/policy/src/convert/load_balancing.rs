//! Octavia's kinds, and certificates.

use isthmus_model::value::Value;

use super::{case, names, record};
use crate::bindings::isthmus::mapping::load_balancing as wit;

record!(wit::LoadBalancer {
    set vip, set vip_security_groups, set additional_vips,;
    option provider, option flavor, option availability_zone,
});
impl From<wit::Vip> for Value {
    fn from(value: wit::Vip) -> Self {
        match value {
            wit::Vip::Port(port) => case("port", port),
            wit::Vip::FixedIp(fixed_ip) => case("fixed_ip", fixed_ip),
        }
    }
}

record!(wit::Listener {
    set load_balancer, set protocol, set port, set timeouts, set allowed_cidrs, set insert_headers,;
    option default_pool, option connection_limit, option tls,
});
record!(wit::Timeouts {;
    option client_data_ms, option member_connect_ms, option member_data_ms, option tcp_inspect_ms,
});
record!(wit::Header { set name, set value,; });
record!(wit::ListenerTls {
    set default, set versions, set alpn,; option ciphers, option client_ca, option client_authentication,
});
names!(wit::ClientAuthentication { None = "none", Optional = "optional", Mandatory = "mandatory", });

record!(wit::Pool {
    set load_balancer, set protocol, set algorithm, set members,;
    option session_persistence, option monitor, option tls,
});
record!(wit::SessionPersistence { set mode,; option cookie_name, option timeout_s, });
record!(wit::Member {
    set address, set port, set backup,; option name, option subnet, option weight, option monitor_port,
});
record!(wit::HealthMonitor {
    set type_ as "type", set delay_s, set timeout_s, set max_retries,;
    option max_retries_down, option http_method, option url_path, option expected_codes, option domain_name,
});
record!(wit::PoolTls { set versions,; option ca, option client, });

record!(wit::L7Policy { set listener, set precedence, set action, set rules,; });
impl From<wit::L7Action> for Value {
    fn from(value: wit::L7Action) -> Self {
        match value {
            wit::L7Action::Pool(pool) => case("pool", pool),
            wit::L7Action::RedirectUrl(redirect) => case("redirect_url", redirect),
            wit::L7Action::RedirectPrefix(redirect) => case("redirect_prefix", redirect),
            wit::L7Action::Reject => case("reject", true),
        }
    }
}
record!(wit::Redirect { set to,; option code, });
record!(wit::L7Rule { set field, set compare, set value, set invert,; option key, });
names!(wit::L7Field {
    HostName = "host-name", Path = "path", Header = "header", Cookie = "cookie", FileType = "file-type",
    SslConnHasCert = "ssl-conn-has-cert", SslVerifyResult = "ssl-verify-result", SslDnField = "ssl-dn-field",
});
names!(wit::L7Compare {
    EqualTo = "equal-to", StartsWith = "starts-with", EndsWith = "ends-with", Contains = "contains", Regex = "regex",
});

record!(wit::Certificate { set source,; });
impl From<wit::CertificateSource> for Value {
    fn from(value: wit::CertificateSource) -> Self {
        match value {
            wit::CertificateSource::FromObject(fields) => case("from_object", fields),
            wit::CertificateSource::Pem(pem) => case("pem", pem),
        }
    }
}
record!(wit::CertificateFields { set object, set certificate, set private_key,; option chain, });
record!(wit::Pem { set certificate, set private_key,; option chain, });
record!(wit::ListenerCertificate { set listener, set certificate,; });
