//! A stream, sent to both.

use anyhow::{Result, bail};
use serde_json::Value;

use super::normal::Normal;
use super::side::{Answer, Cloud, Request};
use crate::random::Random;

/// Where the requests of a stream come from: it is told how each was answered.
pub trait Stream {
    /// The next request.
    fn next(&mut self, random: &mut Random) -> Request;
    /// How both answered it. Ids are `#3` and the like.
    fn answered(&mut self, request: &Request, status: u16, body: &Value);
    /// What takes away everything that the stream made, in order; it may be asked for more than once.
    fn cleaning(&self) -> Vec<Request>;
}

/// Both clouds, and what is known of each.
pub struct Pair {
    real: (Cloud, Normal),
    model: (Cloud, Normal),
    compared: usize,
}

impl Pair {
    /// Two clouds in which nothing was done yet.
    ///
    /// # Errors
    /// Never, unless this crate is wrong.
    pub fn new(real: Cloud, model: Cloud) -> Result<Self> {
        let names = (Normal::new(&real.known)?, Normal::new(&model.known)?);
        Ok(Self { real: (real, names.0), model: (model, names.1), compared: 0 })
    }

    /// How many pairs of answers were compared.
    pub fn compared(&self) -> usize {
        self.compared
    }

    /// Sends a request to both and compares the answers.
    ///
    /// # Errors
    /// They differ, or one of them gave none.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer> {
        let ordered = request.path.contains("sort_key");
        let (real, model) =
            tokio::join!(one(&mut self.real, request, ordered), one(&mut self.model, request, ordered));
        let (real, model) = (real?, model?);
        self.compared += 1;
        if real != model {
            bail!(
                "the answers differ\n{:?} {} {} {}\nreal:  {} {}\nmodel: {} {}",
                request.who,
                request.method,
                request.path,
                request.body,
                real.status,
                real.body,
                model.status,
                model.body
            );
        }
        Ok(real)
    }

    /// Asks each until its answer is as it is to be; not counted.
    ///
    /// # Errors
    /// It takes longer than half a minute.
    pub async fn until(&mut self, request: &Request, done: impl Fn(&Answer) -> bool) -> Result<()> {
        for side in [&mut self.real, &mut self.model] {
            let began = std::time::Instant::now();
            loop {
                let answer = one(side, request, false).await?;
                if done(&answer) {
                    break;
                }
                if began.elapsed().as_secs() > 30 {
                    bail!("{} {} stays {} {}", request.method, request.path, answer.status, answer.body);
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Sends `requests` of a stream, and takes away what they made.
    ///
    /// # Errors
    /// Two answers differ, or something is left behind.
    pub async fn run(&mut self, stream: &mut impl Stream, seed: u64, requests: usize) -> Result<()> {
        let mut random = Random::new(seed);
        let mut outcome = Ok(());
        for n in 0..requests {
            let request = stream.next(&mut random);
            match self.ask(&request).await {
                Ok(answer) => stream.answered(&request, answer.status, &answer.body),
                Err(difference) => {
                    outcome = Err(difference.context(format!("seed {seed}, request {n}")));
                    break;
                }
            }
        }
        let cleaned = self.clean(stream).await;
        outcome.and(cleaned)
    }

    async fn clean(&mut self, stream: &impl Stream) -> Result<()> {
        let mut left = Vec::new();
        for request in stream.cleaning() {
            // It may still be at work on the last one.
            for _ in 0..100 {
                let answer = one(&mut self.real, &request, false).await?;
                match answer.status {
                    200..=299 | 404 => break,
                    409 if request.path.starts_with("/v2/lbaas") => {
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    }
                    _ => {
                        left.push(format!(
                            "{} {}: {} {}",
                            request.method, request.path, answer.status, answer.body
                        ));
                        break;
                    }
                }
            }
        }
        if left.is_empty() { Ok(()) } else { bail!("left behind in the real cloud:\n{}", left.join("\n")) }
    }
}

async fn one((cloud, normal): &mut (Cloud, Normal), request: &Request, ordered: bool) -> Result<Answer> {
    let mut own = request.clone();
    own.path = normal.resolve(&request.path);
    own.body = normal.resolve_body(&request.body);
    let answer = cloud.send(&own).await?;
    Ok(Answer { status: answer.status, body: normal.answer(&answer.body, ordered) })
}
