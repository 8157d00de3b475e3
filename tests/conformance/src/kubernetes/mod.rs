//! Requests to Kubernetes.

mod bodies;
mod requests;

pub use bodies::Kind;
pub use requests::Requests;

use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::Value;

use crate::normal::differences;
use crate::side::{Answer, Ask, Side, plural};

/// How many requests of a stream were compared; an error is the first difference.
///
/// # Errors
/// A difference, with the request and both answers; or one side did not answer.
pub async fn stream(seed: u64, length: usize, real: kube::Client, model: kube::Client) -> Result<usize> {
    let (mut real, mut model) = (Side::new(real), Side::new(model));
    let mut requests = Requests::new(seed);
    let mut compared = 0;
    let mut told: Vec<String> = Vec::new();
    for ask in requests.beginning() {
        prepare(&mut real, &ask).await.context("the real server")?;
        prepare(&mut model, &ask).await.context("the model")?;
    }
    let mut asks: Vec<Ask> = requests.lists();
    asks.extend((0..length).map(|_| requests.generate()));
    // What follows a difference mostly differs by it, so one is enough; `CONFORMANCE_MOST` looks further.
    let most = std::env::var("CONFORMANCE_MOST").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut failed: Vec<String> = Vec::new();
    let mut watches: Option<Vec<(Ask, Answer, Answer)>> = None;
    let mut asks = asks.into_iter();
    loop {
        let (ask, a, b) = match (asks.next(), &mut watches) {
            (Some(ask), _) => {
                let (a, b) = tokio::try_join!(real.ask(&ask), model.ask(&ask))?;
                (ask, a, b)
            }
            (None, None) => {
                let all = requests.watches();
                let (a, b) = tokio::try_join!(real.ask_at_once(&all), model.ask_at_once(&all))?;
                let triples = all.into_iter().zip(a).zip(b).map(|((ask, a), b)| (ask, a, b));
                watches = Some(triples.rev().collect());
                continue;
            }
            (None, Some(watches)) => match watches.pop() {
                Some(watched) => watched,
                None => break,
            },
        };
        compared += 1;
        told.push(format!("{ask} -> {}", a.code));
        if a == b {
            continue;
        }
        let mut text = format!("seed {seed:#x}, request {compared}: {ask}\n");
        if a.code != b.code {
            text.push_str(&format!("  code: real {}, model {}\n", a.code, b.code));
        }
        if a.warnings != b.warnings {
            text.push_str(&format!("  warnings: real {:?}, model {:?}\n", a.warnings, b.warnings));
        }
        for (path, x, y) in differences(&a.body, &b.body).into_iter().take(12) {
            text.push_str(&format!("  {path}:\n    real  {x}\n    model {y}\n"));
        }
        let plural = plural(&ask.path);
        let of_the_kind = |told: &&String| told.contains(&format!("/{plural}"));
        let before = told.iter().rev().skip(1).filter(of_the_kind).take(12).cloned().collect::<Vec<_>>();
        let before = before.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        text.push_str(&format!("  of {plural} before it:\n  {before}\n"));
        if std::env::var_os("CONFORMANCE_WHOLE").is_some() {
            text.push_str(&format!("  real:  {}\n  model: {}\n", a.body, b.body));
        }
        failed.push(text);
        if failed.len() >= most {
            break;
        }
    }
    for ask in requests.end() {
        // what is there no more need not go
        let _gone = real.ask_at_once(&ask).await?;
    }
    if failed.is_empty() { Ok(compared) } else { bail!("{}", failed.join("\n")) }
}

async fn prepare(side: &mut Side, ask: &Ask) -> Result<()> {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let answer = side.ask(ask).await?;
        let done = match ask.method {
            Method::POST => matches!(answer.code, 201 | 409),
            _ => answer.code == 200,
        };
        if done {
            return Ok(());
        }
        if std::time::Instant::now() > limit {
            bail!("{ask} was answered {}: {}", answer.code, answer.body);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// CRDs that streams need: those given, and two of the test's own.
///
/// # Errors
/// They can't be read.
pub fn crds(given: Vec<Value>) -> Result<Vec<Value>> {
    let own: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../crds.yaml")).context("reading crds.yaml")?;
    Ok(given.into_iter().chain(own).collect())
}

/// Makes CRDs on a side and waits until they are served.
///
/// # Errors
/// They are not.
pub async fn define(client: kube::Client, crds: &[Value]) -> Result<()> {
    let mut side = Side::new(client);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for crd in crds {
        let ask = |method, path: String, body| Ask {
            method,
            path,
            content_type: "application/json",
            accept: "application/json",
            body,
        };
        prepare(&mut side, &ask(Method::POST, path.to_owned(), Some(crd.clone()))).await?;
        let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version, plural) =
            (text("/spec/group"), text("/spec/versions/0/name"), text("/spec/names/plural"));
        prepare(&mut side, &ask(Method::GET, format!("/apis/{group}/{version}/{plural}"), None)).await?;
    }
    Ok(())
}
