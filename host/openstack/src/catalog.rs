//! The service catalog: which endpoint serves what.
//!
//! <https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::config::CloudConfig;
use crate::lenient::or_default;

/// Service type of Keystone.
pub const IDENTITY: &str = "identity";
/// Service type of Neutron.
pub const NETWORK: &str = "network";
/// Service type of Octavia.
pub const LOAD_BALANCER: &str = "load-balancer";
/// Service type of Barbican.
pub const KEY_MANAGER: &str = "key-manager";

/// Which of a service's endpoints to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interface {
    /// For users; the default.
    #[default]
    Public,
    /// For services of the same cloud.
    Internal,
    /// For administrators.
    Admin,
}

impl Interface {
    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no interface.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no endpoint interface: public, internal or admin")]
pub struct UnknownInterface(String);

impl FromStr for Interface {
    type Err = UnknownInterface;

    /// Takes the Identity v2 spelling (`publicURL`) too, as keystoneauth does.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s.strip_suffix("URL").unwrap_or(s) {
            "public" => Ok(Self::Public),
            "internal" => Ok(Self::Internal),
            "admin" => Ok(Self::Admin),
            _ => Err(UnknownInterface(s.to_owned())),
        }
    }
}

/// The catalog that comes with a token.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Catalog {
    services: Vec<Service>,
}

#[derive(Debug, Clone, Deserialize)]
struct Service {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    #[serde(default, deserialize_with = "or_default")]
    interface: String,
    #[serde(default, deserialize_with = "or_default")]
    region: String,
    #[serde(default, deserialize_with = "or_default")]
    region_id: String,
    #[serde(default, deserialize_with = "or_default")]
    url: String,
}

/// No endpoint of the catalog fits.
#[derive(Debug, thiserror::Error)]
#[error("no {interface} endpoint of service {service:?}{} in the catalog, which has {known}", in_region(.region))]
pub struct NoEndpoint {
    service: String,
    interface: Interface,
    region: Option<String>,
    known: String,
}

fn in_region(region: &Option<String>) -> String {
    region.as_ref().map(|r| format!(" in region {r:?}")).unwrap_or_default()
}

impl Catalog {
    /// The base URL of `service`, without a trailing slash or API version: the override of `config` if it has one,
    /// else the first endpoint of the catalog with its interface and region (any region where none is configured).
    ///
    /// # Errors
    /// No endpoint fits; the error names those there are.
    pub fn endpoint(&self, service: &str, config: &CloudConfig) -> Result<String, NoEndpoint> {
        let options = config.services.get(service);
        if let Some(url) = options.and_then(|o| o.endpoint_override.as_deref()) {
            return Ok(base(url).to_owned());
        }
        let interface = options.and_then(|o| o.interface).unwrap_or(config.interface);
        let region = options.and_then(|o| o.region.as_ref()).or(config.region.as_ref());
        self.services
            .iter()
            .filter(|s| s.kind == service)
            .flat_map(|s| &s.endpoints)
            .filter(|e| e.interface == interface.as_str() && !e.url.is_empty())
            .find(|e| region.is_none_or(|r| *r == e.region || *r == e.region_id))
            .map(|e| base(&e.url).to_owned())
            .ok_or_else(|| NoEndpoint {
                service: service.to_owned(),
                interface,
                region: region.cloned(),
                known: self.known(service),
            })
    }

    fn known(&self, service: &str) -> String {
        let known: Vec<_> = self
            .services
            .iter()
            .filter(|s| s.kind == service)
            .flat_map(|s| &s.endpoints)
            .map(|e| {
                format!("{} in {}", e.interface, if e.region.is_empty() { &e.region_id } else { &e.region })
            })
            .collect();
        if known.is_empty() { "none of that type".to_owned() } else { known.join(", ") }
    }
}

/// Deployments register Neutron (`/v2.0`) and Octavia (`/v2`, `/v2.0`) with and without the version of the API; our paths
/// carry it themselves.
fn base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let versions = ["/v2.0", "/v2", "/v1"];
    versions.into_iter().find_map(|version| url.strip_suffix(version)).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServiceOptions;

    fn catalog() -> Catalog {
        serde_json::from_value(serde_json::json!([
            {"type": "compute", "endpoints": null},
            {"type": "network", "name": "neutron", "endpoints": [
                {"interface": "public", "region": "North", "region_id": "North", "url": "https://n.example/net/v2.0/"},
                {"interface": "internal", "region": "North", "url": "http://10.0.0.1:9696"},
                {"interface": "public", "region": null, "region_id": "South", "url": "https://s.example:9696/"},
            ]},
            {"endpoints": []},
        ]))
        .unwrap()
    }

    #[test]
    fn endpoint_by_interface_region_and_override() {
        let plain = CloudConfig::for_tests("http://keystone");
        let south = CloudConfig { region: Some("South".into()), ..plain.clone() };
        let internal = CloudConfig { interface: Interface::Internal, ..plain.clone() };
        let mut service = plain.clone();
        service.services.insert(
            NETWORK.into(),
            ServiceOptions { interface: Some(Interface::Internal), ..ServiceOptions::default() },
        );
        let mut overridden = south.clone();
        overridden.services.insert(
            NETWORK.into(),
            ServiceOptions {
                endpoint_override: Some("http://other/v2.0".into()),
                ..ServiceOptions::default()
            },
        );
        for (config, url) in [
            (&plain, "https://n.example/net"),
            (&south, "https://s.example:9696"),
            (&internal, "http://10.0.0.1:9696"),
            (&service, "http://10.0.0.1:9696"),
            (&overridden, "http://other"),
        ] {
            assert_eq!(catalog().endpoint(NETWORK, config).unwrap(), url);
        }
    }

    #[test]
    fn a_registered_version_is_left_out() {
        for url in ["http://o", "http://o/", "http://o/v2", "http://o/v2/", "http://o/v2.0"] {
            assert_eq!(base(url), "http://o");
        }
        assert_eq!(base("http://o/load-balancer/v2"), "http://o/load-balancer");
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut config = CloudConfig::for_tests("http://keystone");
        config.region = Some("West".into());
        assert_eq!(
            catalog().endpoint(NETWORK, &config).unwrap_err().to_string(),
            "no public endpoint of service \"network\" in region \"West\" in the catalog, which has \
             public in North, internal in North, public in South"
        );
        assert!(
            Catalog::default()
                .endpoint(NETWORK, &config)
                .unwrap_err()
                .to_string()
                .contains("none of that type")
        );
    }

    #[test]
    fn both_spellings_of_an_interface() {
        assert_eq!("internalURL".parse::<Interface>().unwrap(), Interface::Internal);
        assert_eq!("public".parse::<Interface>().unwrap(), Interface::Public);
        assert!("PUBLIC".parse::<Interface>().is_err());
    }
}
