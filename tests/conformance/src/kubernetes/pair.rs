//! Both servers, for requests whose answers differ in more than names, or are the same only once controllers are at rest.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use http::Method;
use serde_json::Value;

use super::told_apart;
use crate::normal::sort_causes;
use crate::side::{Answer, Ask, Side};

/// How long controllers may take: those of the real one look for new kinds every 30 s.
const LIMIT: Duration = Duration::from_secs(90);

pub(super) struct Pair {
    real: Side,
    model: Side,
    compared: usize,
}

impl Pair {
    pub(super) fn new(real: kube::Client, model: kube::Client) -> Self {
        Self { real: Side::new(real), model: Side::new(model), compared: 0 }
    }

    /// How many answers were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared
    }

    /// Sends a request to both, and compares nothing.
    pub(super) async fn send(&mut self, ask: &Ask) -> Result<(Answer, Answer)> {
        tokio::try_join!(self.real.raw(ask), self.model.raw(ask))
    }

    /// Sends a request to both and compares what `view` leaves of the answers.
    ///
    /// # Errors
    /// They differ, or there is none.
    pub(super) async fn ask(&mut self, ask: &Ask, view: impl Fn(&mut Value)) -> Result<Answer> {
        let answers = self.send(ask).await?;
        self.compared += 1;
        match alike(ask, answers, &view) {
            Ok(answer) => Ok(answer),
            Err(differences) => bail!(differences),
        }
    }

    /// As [`Pair::ask`], again and again until both answer alike.
    ///
    /// # Errors
    /// They never do.
    pub(super) async fn agree(&mut self, ask: &Ask, view: impl Fn(&mut Value)) -> Result<Answer> {
        let began = Instant::now();
        self.compared += 1;
        loop {
            match alike(ask, self.send(ask).await?, &view) {
                Ok(answer) => return Ok(answer),
                Err(differences) if began.elapsed() > LIMIT => bail!("still after {LIMIT:?}: {differences}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Asks each until it answers with this code.
    ///
    /// # Errors
    /// It never does.
    pub(super) async fn until(&mut self, ask: &Ask, code: u16) -> Result<()> {
        for side in [&mut self.real, &mut self.model] {
            let began = Instant::now();
            loop {
                let answer = side.raw(ask).await?;
                if answer.code == code {
                    break;
                }
                if began.elapsed() > LIMIT {
                    bail!("{ask} is answered with {}, not {code}: {}", answer.code, answer.body);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Makes a namespace on both; one that an earlier run left goes first.
    pub(super) async fn namespace(&mut self, name: &str) -> Result<()> {
        let old = Ask::json(Method::DELETE, format!("/api/v1/namespaces/{name}"), None);
        self.send(&old).await?;
        let body = serde_json::json!({"metadata": {"name": name}});
        self.until(&Ask::json(Method::POST, "/api/v1/namespaces", Some(body)), 201).await
    }
}

fn alike(
    ask: &Ask,
    (mut real, mut model): (Answer, Answer),
    view: &impl Fn(&mut Value),
) -> Result<Answer, String> {
    for answer in [&mut real, &mut model] {
        view(&mut answer.body);
        sort_causes(&mut answer.body);
    }
    if real == model { Ok(real) } else { Err(told_apart(ask, &real, &model)) }
}

/// Leaves out what is of one side: uids, versions, times, and who wrote what.
pub(super) fn plain(body: &mut Value) {
    match body {
        Value::Object(map) => {
            for name in ["uid", "resourceVersion", "managedFields", "creationTimestamp", "lastTransitionTime"]
            {
                map.remove(name);
            }
            if let Some(at) = map.get_mut("deletionTimestamp") {
                *at = "<time>".into();
            }
            map.values_mut().for_each(plain);
        }
        Value::Array(all) => all.iter_mut().for_each(plain),
        _ => {}
    }
}
