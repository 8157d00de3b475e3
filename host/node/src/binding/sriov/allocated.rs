//! Which devices a device plugin gave a Pod: kubelet tells it on a socket of the node, by gRPC.
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/#monitoring-device-plugin-resources>
//!
//! One call without arguments, whose answer is read here by the numbers of its fields: no need for a gRPC library and generated code.

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, Request};
use isthmus_cni::protocol::PodReference;
use isthmus_cni::{Code, Error};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// `List` of kubelet/pkg/apis/podresources/v1.
const LIST: &str = "http://localhost/v1.PodResourcesLister/List";
/// An empty message: not compressed, of length 0.
const EMPTY: &[u8] = &[0; 5];
/// How long kubelet may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Most bytes of an answer, as kubelet's own clients have it.
const MOST: usize = 16 << 20;

/// Ids of the devices of a resource that containers of a Pod have, in order.
///
/// # Errors
/// [`Code::TryAgain`]: kubelet does not tell.
pub(super) async fn devices(socket: &Path, pod: &PodReference, resource: &str) -> Result<Vec<String>, Error> {
    let error = |why: String| {
        let what = format!("kubelet does not tell on {} which devices the Pod was given", socket.display());
        Error::new(Code::TryAgain, what, why)
    };
    let answer = timeout(LIMIT, list(socket))
        .await
        .map_err(|_| error(format!("no answer in {} s", LIMIT.as_secs())))?;
    let message = answer.map_err(error)?;
    of(&message, pod, resource).ok_or_else(|| error("its answer can't be read".into()))
}

/// The answer's message.
async fn list(socket: &Path) -> Result<Vec<u8>, String> {
    let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
    let text = |e: h2::Error| e.to_string();
    let (client, connection) =
        h2::client::Builder::new().handshake::<_, &[u8]>(stream).await.map_err(text)?;
    // Ends as soon as the client is dropped.
    tokio::spawn(connection);
    let request = Request::post(LIST).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(()).map_err(|e| e.to_string())?;
    let mut client = client.ready().await.map_err(text)?;
    let (response, mut body) = client.send_request(request, false).map_err(text)?;
    body.send_data(EMPTY, true).map_err(text)?;
    let response = response.await.map_err(text)?;
    if !response.status().is_success() {
        return Err(format!("HTTP {}", response.status()));
    }
    status(response.headers())?;
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(part) = body.data().await {
        let part = part.map_err(text)?;
        body.flow_control().release_capacity(part.len()).map_err(text)?;
        bytes.extend_from_slice(&part);
        if bytes.len() > MOST {
            return Err(format!("more than {MOST} bytes"));
        }
    }
    status(&body.trailers().await.map_err(text)?.unwrap_or_default())?;
    match bytes.split_at_checked(EMPTY.len()) {
        Some(([0, length @ ..], message))
            if <[u8; 4]>::try_from(length).is_ok_and(|l| u32::from_be_bytes(l) as usize == message.len()) =>
        {
            Ok(message.to_vec())
        }
        _ => Err("an answer that is not one message".into()),
    }
}

/// Absent until the end.
fn status(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => Err(format!("gRPC status {code}: {}", text("grpc-message").unwrap_or_default())),
    }
}

/// Fields of a protobuf message, by number: those that are texts or messages.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(field)
    }

    /// The values of all fields of a number; `None`: it is no message.
    fn all(mut self, number: u64) -> Option<Vec<&'a [u8]>> {
        let mut values = Vec::new();
        while !self.0.is_empty() {
            let key = self.varint()?;
            match key & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.bytes(8)?),
                2 => {
                    let length = self.varint()?;
                    let value = self.bytes(length)?;
                    if key >> 3 == number {
                        values.push(value);
                    }
                }
                5 => drop(self.bytes(4)?),
                _ => return None,
            }
        }
        Some(values)
    }
}

fn of(message: &[u8], pod: &PodReference, resource: &str) -> Option<Vec<String>> {
    let is = |message: &[u8], number, text: &str| {
        Some(Fields(message).all(number)?.last().copied().unwrap_or_default() == text.as_bytes())
    };
    let mut ids = Vec::new();
    for of_pod in Fields(message).all(1)? {
        if !(is(of_pod, 1, &pod.name)? && is(of_pod, 2, &pod.namespace)?) {
            continue;
        }
        for container in Fields(of_pod).all(3)? {
            for devices in Fields(container).all(2)? {
                if is(devices, 1, resource)? {
                    ids.extend(
                        Fields(devices)
                            .all(2)?
                            .into_iter()
                            .map(|id| String::from_utf8_lossy(id).into_owned()),
                    );
                }
            }
        }
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = value.len();
        while length > 0x7f {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(value);
        bytes
    }

    fn pod(name: &str) -> PodReference {
        PodReference { namespace: "shop".into(), name: name.into(), uid: None }
    }

    /// `ListPodResourcesResponse`, with fields that are not asked for.
    fn answer() -> Vec<u8> {
        let devices = |resource: &str, ids: &[&str]| {
            let topology = field(3, &[0x0a, 2, 0x08, 1]);
            let ids = ids.iter().flat_map(|id| field(2, id.as_bytes()));
            field(2, &[field(1, resource.as_bytes()), ids.collect(), topology].concat())
        };
        let of = |name: &str, containers: &[Vec<u8>]| {
            let containers = containers.iter().flat_map(|devices| {
                field(3, &[field(1, b"c"), devices.clone(), vec![0x18, 0x96, 1]].concat())
            });
            field(1, &[field(1, name.as_bytes()), field(2, b"shop"), containers.collect()].concat())
        };
        let fast = "example.com/fast";
        [
            of("other", &[devices(fast, &["0000:3b:02.7"])]),
            of(
                "web",
                &[
                    [
                        devices("example.com/slow", &["0000:5e:02.0"]),
                        devices(fast, &["0000:3b:02.1", "0000:3b:02.0"]),
                    ]
                    .concat(),
                    devices(fast, &["0000:3b:02.3"]),
                ],
            ),
        ]
        .concat()
    }

    #[test]
    fn devices_of_all_containers_of_the_pod_are_found() {
        let message = answer();
        let fast = |name| of(&message, &pod(name), "example.com/fast").unwrap();
        assert_eq!(fast("web"), ["0000:3b:02.1", "0000:3b:02.0", "0000:3b:02.3"]);
        assert_eq!(fast("none"), Vec::<String>::new());
        assert_eq!(
            of(&message, &PodReference { namespace: "x".into(), ..pod("web") }, "example.com/fast"),
            Some(Vec::new())
        );
    }

    #[test]
    fn no_cut_of_an_answer_is_taken_for_more_than_it_is() {
        let message = answer();
        for end in 0..message.len() {
            // what is cut between two Pods is an answer, too
            let found = of(&message[..end], &pod("web"), "example.com/fast").unwrap_or_default();
            assert!(found.is_empty(), "{end}: {found:?}");
        }
        for odd in [
            &[0x0f][..],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x0a, 5, 1],
        ] {
            assert_eq!(of(odd, &pod("web"), "r"), None);
        }
    }

    /// Kubelet's side, by the same protocol.
    async fn serve(listener: tokio::net::UnixListener, message: Vec<u8>, code: &'static str) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection =
            h2::server::Builder::new().handshake::<_, std::io::Cursor<Vec<u8>>>(stream).await.unwrap();
        while let Some(request) = connection.accept().await {
            let (request, mut respond) = request.unwrap();
            assert_eq!(request.uri().path(), "/v1.PodResourcesLister/List");
            let response =
                http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut body = respond.send_response(response, false).unwrap();
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let framed = [&[0][..], &length, &message].concat();
            body.send_data(std::io::Cursor::new(framed), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.parse().unwrap());
            trailers.insert("grpc-message", "too many calls".parse().unwrap());
            body.send_trailers(trailers).unwrap();
        }
    }

    #[tokio::test]
    async fn kubelet_is_asked_on_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("kubelet.sock");
        let web = pod("web");
        let asked = || devices(&socket, &web, "example.com/fast");
        assert_eq!(asked().await.unwrap_err().code, Code::TryAgain);
        // more than a window of HTTP/2 holds
        let large = [answer(), field(9, &vec![0; 200_000])].concat();
        for (message, code) in [(answer(), "0"), (large, "0"), (answer(), "8")] {
            let _ = std::fs::remove_file(&socket);
            let server = tokio::spawn(serve(tokio::net::UnixListener::bind(&socket).unwrap(), message, code));
            match (code, asked().await) {
                ("0", Ok(found)) => assert_eq!(found.len(), 3),
                ("8", Err(error)) => assert!(error.to_string().contains("too many calls"), "{error}"),
                (_, other) => panic!("{other:?}"),
            }
            server.await.unwrap();
        }
    }
}
