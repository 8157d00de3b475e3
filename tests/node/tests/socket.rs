//! The agent's socket: who may ask, how much, and for how long.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs::{Permissions, set_permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use isthmus_node_tests::Stage;

#[test]
fn the_socket_is_roots_alone_and_one_agents() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let agent = stage.start()?;
    let mode = |path: &Path| Ok::<_, std::io::Error>(path.metadata()?.permissions().mode() & 0o777);
    assert_eq!(mode(&stage.socket())?, 0o600);
    assert_eq!(mode(stage.socket().parent().unwrap())?, 0o700);
    assert_eq!(mode(&stage.state())?, 0o700);
    let second = stage.start().err().expect("a second agent is refused").to_string();
    assert!(second.contains("another agent"), "{second}");
    let shared = stage.folder().join("shared");
    std::fs::create_dir(&shared)?;
    set_permissions(&shared, Permissions::from_mode(0o755))?;
    std::fs::write(shared.join("others"), "")?;
    let refused = isthmus_node::server::listen(&shared.join("cni.sock")).unwrap_err().to_string();
    assert!(refused.contains("a folder of its own"), "{refused}");
    assert_eq!(mode(&shared)?, 0o755, "it stays as it was");
    call.ok("STATUS")?;
    stage.host.run("ip link del br0")?;
    let why = call.fails("STATUS", 50)?;
    assert!(why.contains("no bridge br0"), "{why}");
    agent.stop()?;
    let _again = stage.start()?;
    Ok(())
}

/// What the agent answers to a user's nonsense; nothing where it cuts them off.
fn nonsense_of(user: u32, socket: &Path) -> Result<String> {
    let user = format!("--reuid={user}");
    let done = Command::new("setpriv")
        .args([&user, "--clear-groups", "curl", "--silent", "--max-time", "20", "--http0.9"])
        .args(["--output", "-", "--unix-socket"])
        .arg(socket)
        .arg("http://agent/")
        .output()?;
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Modes are the first gate. Whoever opens that by mistake has not opened the second.
#[test]
fn who_is_not_root_is_cut_off_where_the_socket_is_open_to_all() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    let socket = stage.socket();
    for (path, mode) in
        [(stage.folder(), 0o755), (socket.parent().unwrap(), 0o755), (socket.as_path(), 0o666)]
    {
        set_permissions(path, Permissions::from_mode(mode))?;
    }
    let heard = nonsense_of(0, &socket)?;
    assert!(heard.contains("cannot read the request"), "{heard}");
    assert_eq!(nonsense_of(65534, &socket)?, "");
    call.ok("ADD")?;
    Ok(())
}

#[test]
fn a_request_that_is_too_large_or_no_request_is_answered_or_cut() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    for bytes in [&b"\xff\xff\xff\xff{}"[..], b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x04nope", b"\x00"] {
        let mut stream = UnixStream::connect(stage.socket())?;
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        // cut with bytes of ours unread, it is reset
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        let said = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || said.contains("cannot read the request"), "{said}");
    }
    call.ok("ADD")?;
    Ok(())
}

/// The agent gives a request 5 s to come. Others are served meanwhile.
#[test]
fn half_a_request_is_given_up() -> Result<()> {
    let (stage, _netns, call) = Stage::with_web()?;
    let _agent = stage.start()?;
    let begun = Instant::now();
    let halves = [&b"\x00\x00"[..], b"\x00\x00\x00\x09{\"vers"];
    let streams = halves.map(|half| -> Result<UnixStream> {
        let mut stream = UnixStream::connect(stage.socket())?;
        stream.write_all(half)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    });
    call.ok("ADD")?;
    for stream in streams {
        let mut answer = Vec::new();
        stream?.read_to_end(&mut answer)?;
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        assert!(begun.elapsed() >= Duration::from_secs(5), "it was cut after {:?}", begun.elapsed());
    }
    Ok(())
}
