//! A TCP connection that is to live on.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::wait::until;

/// Seconds without a number that tell a connection that is held up from a machine that is busy.
const LATE: f64 = 5.0;
/// How many numbers show that it goes on: half a second's.
const FURTHER: u64 = 25;

/// Numbers that come to a namespace over one TCP connection, fifty a second. The connection is closed when this is dropped.
#[derive(Debug)]
pub struct Stream {
    _pod: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What came since it was asked last.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Came {
    numbers: u64,
    /// Seconds without one.
    longest: f64,
    /// The connection is open, and no number is missing.
    intact: bool,
}

impl Stream {
    /// Has who answers at this address and TCP port (`Lab::answers`) send numbers to a namespace; they come.
    ///
    /// # Errors
    /// They do not.
    pub async fn open(to: &str, address: &str, port: u16) -> Result<Self> {
        let mut command = Command::new("pod");
        command.args(["stream", to, address, &port.to_string()]).kill_on_drop(true);
        let mut pod = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = pod.stdin.take().context("its input")?;
        let output = BufReader::new(pod.stdout.take().context("its output")?).lines();
        let mut stream = Self { _pod: pod, input, output };
        stream.runs("it has begun").await?;
        Ok(stream)
    }

    async fn since(&mut self) -> Result<Came> {
        self.input.write_all(b"\n").await?;
        let line = self.output.next_line().await?.context("the connection is closed")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// It goes on: numbers come, and since it was asked last none was missing or late.
    ///
    /// # Errors
    /// It does not.
    pub async fn runs(&mut self, what: &str) -> Result<()> {
        let (mut longest, mut further) = (self.since().await?.longest, 0);
        until(&format!("{what}: numbers come"), async || {
            let came = self.since().await?;
            longest = longest.max(came.longest);
            further += came.numbers;
            ensure!(came.intact && further > FURTHER, "{came:?}");
            Ok(())
        })
        .await?;
        ensure!(longest < LATE, "{what}: nothing came for {longest} s");
        Ok(())
    }

    /// Waits until no number comes any more.
    ///
    /// # Errors
    /// They come and come.
    pub async fn stalls(&mut self) -> Result<()> {
        until("nothing comes any more", async || {
            let came = self.since().await?;
            ensure!(came.longest > LATE, "{came:?}");
            Ok(())
        })
        .await
    }
}
