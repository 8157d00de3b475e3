//! Records of Octavia's resources.

use super::setters;
use crate::records::load_balancing::{
    Certificate, CertificateFields, CertificateSource, ClientAuthentication, Header, HealthMonitor, L7Action,
    L7Compare, L7Field, L7Policy, L7Rule, Listener, ListenerCertificate, ListenerTls, LoadBalancer, Member,
    Pem, Pool, PoolTls, Redirect, SessionPersistence, Timeouts, Vip,
};
use crate::records::networking::FixedIp;
use crate::records::values::{Address, ObjectKey, Reference};

impl LoadBalancer {
    /// A load balancer of the cloud's default provider.
    pub fn new(vip: Vip) -> Self {
        Self {
            vip,
            vip_security_groups: Vec::new(),
            additional_vips: Vec::new(),
            provider: None,
            flavor: None,
            availability_zone: None,
        }
    }
}
setters!(LoadBalancer {
    option provider: String;
    option flavor: String;
    option availability_zone: String;
    list vip_security_groups as vip_security_group: Reference;
    list additional_vips as additional_vip: FixedIp;
});

impl Listener {
    /// A listener without a pool.
    pub fn new(load_balancer: Reference, protocol: &str, port: u16) -> Self {
        Self {
            load_balancer,
            protocol: protocol.into(),
            port,
            default_pool: None,
            connection_limit: None,
            timeouts: Timeouts {
                client_data_ms: None,
                member_connect_ms: None,
                member_data_ms: None,
                tcp_inspect_ms: None,
            },
            allowed_cidrs: Vec::new(),
            insert_headers: Vec::new(),
            tls: None,
        }
    }

    /// One more header that is added to requests.
    #[must_use]
    pub fn insert_header(mut self, name: &str, value: &str) -> Self {
        self.insert_headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// These timeouts.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }
}
setters!(Listener {
    option default_pool: Reference;
    option connection_limit: u32;
    option tls: ListenerTls;
    list allowed_cidrs as allowed_cidr: String;
});

impl ListenerTls {
    /// TLS with this certificate.
    pub fn new(default: Reference) -> Self {
        Self {
            default,
            versions: Vec::new(),
            ciphers: None,
            alpn: Vec::new(),
            client_ca: None,
            client_authentication: None,
        }
    }
}
setters!(ListenerTls {
    option ciphers: String;
    option client_ca: Reference;
    option client_authentication: ClientAuthentication;
    list versions as version: String;
    list alpn as alpn_protocol: String;
});

impl Pool {
    /// A pool without members.
    pub fn new(load_balancer: Reference, protocol: &str, algorithm: &str) -> Self {
        Self {
            load_balancer,
            protocol: protocol.into(),
            algorithm: algorithm.into(),
            session_persistence: None,
            members: Vec::new(),
            monitor: None,
            tls: None,
        }
    }
}
setters!(Pool {
    option session_persistence: SessionPersistence;
    option monitor: HealthMonitor;
    option tls: PoolTls;
    list members as member: Member;
});

impl SessionPersistence {
    /// Of this type: `SOURCE_IP`, `HTTP_COOKIE` or `APP_COOKIE`.
    pub fn new(mode: &str) -> Self {
        Self { mode: mode.into(), cookie_name: None, timeout_s: None }
    }
}
setters!(SessionPersistence { option cookie_name: String; option timeout_s: u32; });

impl Member {
    /// A member of weight 1.
    pub fn new(address: impl Into<Address>, port: u16) -> Self {
        Self {
            name: None,
            address: address.into(),
            port,
            subnet: None,
            weight: None,
            backup: false,
            monitor_port: None,
        }
    }
}
setters!(Member {
    option name: String;
    option subnet: Reference;
    option weight: u16;
    option monitor_port: u16;
    flag backup;
});

impl HealthMonitor {
    /// A monitor of this type (`TCP`, `HTTP` ...). Seconds between probes and for one probe; successes until ONLINE.
    pub fn new(type_: &str, delay_s: u16, timeout_s: u16, max_retries: u8) -> Self {
        Self {
            type_: type_.into(),
            delay_s,
            timeout_s,
            max_retries,
            max_retries_down: None,
            http_method: None,
            url_path: None,
            expected_codes: None,
            domain_name: None,
        }
    }
}
setters!(HealthMonitor {
    option max_retries_down: u8;
    option http_method: String;
    option url_path: String;
    option expected_codes: String;
    option domain_name: String;
});

impl PoolTls {
    /// TLS to members whose certificates are not checked.
    pub fn new() -> Self {
        Self { ca: None, client: None, versions: Vec::new() }
    }
}
impl Default for PoolTls {
    fn default() -> Self {
        Self::new()
    }
}
setters!(PoolTls { option ca: Reference; option client: Reference; list versions as version: String; });

impl L7Policy {
    /// A policy that matches every request until it has rules.
    pub fn new(listener: Reference, precedence: &str, action: L7Action) -> Self {
        Self { listener, precedence: precedence.into(), action, rules: Vec::new() }
    }
}
setters!(L7Policy { list rules as rule: L7Rule; });

impl L7Rule {
    /// A rule on a field that needs no key; `header`, `cookie` and `ssl-dn-field` need one ([`L7Rule::key`]).
    pub fn new(field: L7Field, compare: L7Compare, value: &str) -> Self {
        Self { field, compare, key: None, value: value.into(), invert: false }
    }
}
setters!(L7Rule { option key: String; flag invert; });

impl Redirect {
    /// A redirect with code 302.
    pub fn new(to: &str) -> Self {
        Self { to: to.into(), code: None }
    }
}
setters!(Redirect { option code: u16; });

impl Certificate {
    /// The certificate of a Secret of type `kubernetes.io/tls`, read by the host.
    pub fn of_secret(secret: ObjectKey) -> Self {
        let fields = CertificateFields {
            object: secret,
            certificate: "data[\"tls.crt\"]".into(),
            private_key: "data[\"tls.key\"]".into(),
            chain: None,
        };
        Self { source: CertificateSource::FromObject(fields) }
    }

    /// A certificate in PEM text.
    pub fn pem(certificate: &str, private_key: &str) -> Self {
        let pem = Pem { certificate: certificate.into(), private_key: private_key.into(), chain: None };
        Self { source: CertificateSource::Pem(pem) }
    }
}

impl ListenerCertificate {
    /// One more certificate of a listener.
    pub fn new(listener: Reference, certificate: Reference) -> Self {
        Self { listener, certificate }
    }
}
