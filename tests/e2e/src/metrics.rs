//! The operator's /readyz and /metrics.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The numbers of one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample(String);

impl Sample {
    /// Reads them.
    ///
    /// # Errors
    /// The operator does not answer.
    pub(crate) async fn read(address: SocketAddr) -> Result<Self> {
        let (status, text) = get(address, "/metrics").await?;
        ensure!(status == 200, "/metrics answers {status}");
        Ok(Self(text))
    }

    /// Sum of all series of this name with these labels; a family that is not there counts as 0. Counters and gauges of ours are
    /// whole numbers, and far from 2^52.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.real(name, labels) as u64
    }

    /// As [`Sample::sum`], of what is measured and not counted.
    pub fn real(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (family, rest) = series.split_once('{').unwrap_or((series, ""));
            let parts: Vec<&str> = rest.trim_end_matches('}').split(',').collect();
            let fits = family == name && wanted.iter().all(|label| parts.contains(&label.as_str()));
            fits.then(|| value.parse::<f64>().ok()).flatten()
        };
        self.0.lines().filter_map(value).sum()
    }

    /// Requests to Neutron of this method about this collection (`ports`), whatever was answered.
    pub fn calls(&self, method: &str, resource: &str) -> u64 {
        let labels = [("service", "network"), ("method", method), ("resource", resource)];
        self.sum("isthmus_openstack_requests_total", &labels)
    }

    /// Requests to Neutron that may change something.
    pub fn cloud_writes(&self) -> u64 {
        let of = |method| {
            self.sum("isthmus_openstack_requests_total", &[("service", "network"), ("method", method)])
        };
        ["POST", "PUT", "PATCH", "DELETE"].into_iter().map(of).sum()
    }

    /// Requests to Octavia that may change something.
    pub fn balancer_writes(&self) -> u64 {
        let of = |method| {
            let labels = [("service", "load-balancer"), ("method", method)];
            self.sum("isthmus_openstack_requests_total", &labels)
        };
        ["POST", "PUT", "PATCH", "DELETE"].into_iter().map(of).sum()
    }

    /// Requests to Barbican of this method, whatever was answered.
    pub fn key_manager_calls(&self, method: &str) -> u64 {
        let labels = [("service", "key-manager"), ("method", method)];
        self.sum("isthmus_openstack_requests_total", &labels)
    }

    /// Requests to this service that had no answer in time.
    pub fn unanswered(&self, service: &str) -> u64 {
        self.sum("isthmus_openstack_requests_total", &[("service", service), ("code", "timeout")])
    }

    /// Reconciles that ended in this way (`done`, `waiting`, or the reason of a failure).
    pub fn reconciles(&self, result: &str) -> u64 {
        self.sum("isthmus_reconciles_total", &[("result", result)])
    }
}

/// Status and body of a GET over plain HTTP.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the header")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn series_are_summed_by_label() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\nb 5\n";
        let sample = Sample(text.to_owned());
        assert_eq!(sample.sum("a_total", &[("x", "1")]), 7);
        assert_eq!(sample.sum("a_total", &[("y", "3")]), 4);
        assert_eq!(sample.sum("b", &[]), 5);
        assert_eq!(sample.sum("c", &[]), 0);
    }
}
