//! Netlink without a task of its own: the kernel has done what it was asked before `send` returns, so that the answers are there to
//! be read at once. Several requests go in one send, which is one system call and no turn of the runtime for each.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// Most bytes of a datagram of the kernel's (linux/netlink.h: NLMSG_GOODSIZE, and what a dump makes of it).
const DATAGRAM: usize = 32 << 10;
/// Most requests of one send: the kernel queues an answer to each, of up to a kilobyte, before the first is read, and the queue has
/// room for some two hundred (`net.core.rmem_default`).
const AT_ONCE: usize = 64;
/// An answer that is not there by then was lost.
const LOST: Duration = Duration::from_secs(2);

type Message = NetlinkMessage<RouteNetlinkMessage>;
/// What a request brought: the object that was asked for, or nothing but that it was done.
pub(crate) type Answer = Result<Option<RouteNetlinkMessage>, rtnetlink::Error>;

/// A socket in the network namespace that the thread was in which made it.
pub(crate) struct Direct {
    socket: Socket,
    /// Sequence number of the next request.
    next: AtomicU32,
}

impl Direct {
    /// Opens it in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(LOST))?;
        Ok(Self { socket, next: AtomicU32::new(1) })
    }

    /// Sends requests in one go; their answers, in the same order. One that is refused does not keep the others from being done.
    pub(crate) fn ask<const N: usize>(&self, requests: [RouteNetlinkMessage; N]) -> io::Result<[Answer; N]> {
        let answers = self.ask_all(requests.into_iter().collect())?;
        answers.try_into().map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    /// As [`Self::ask`].
    pub(crate) fn ask_all(&self, requests: Vec<RouteNetlinkMessage>) -> io::Result<Vec<Answer>> {
        let (mut requests, mut answers) = (requests.into_iter(), Vec::new());
        loop {
            let some: Vec<_> = requests.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(answers);
            }
            self.ask_some(some, &mut answers)?;
        }
    }

    fn ask_some(&self, requests: Vec<RouteNetlinkMessage>, answers: &mut Vec<Answer>) -> io::Result<()> {
        let until = answers.len() + requests.len();
        let asked = self.send(requests, |request| match request {
            RouteNetlinkMessage::GetLink(_) => NLM_F_REQUEST,
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::NewRoute(_) => {
                NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE
            }
            _ => NLM_F_REQUEST | NLM_F_ACK,
        })?;
        while answers.len() < until {
            for message in self.receive()? {
                let message = message?;
                // What is left of a request that failed half-way is no answer to this one.
                if !asked.contains(&message.header.sequence_number) {
                    continue;
                }
                answers.push(match message.payload {
                    NetlinkPayload::InnerMessage(object) => Ok(Some(object)),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        Err(rtnetlink::Error::NetlinkError(error))
                    }
                    _ => Ok(None),
                });
            }
        }
        Ok(())
    }

    /// All objects that a request is for. One that can't be read is left out: there are more kinds of links than this knows.
    pub(crate) fn dump(
        &self,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, rtnetlink::Error> {
        let lost = |error: io::Error| {
            tracing::warn!(%error, "netlink does not answer");
            rtnetlink::Error::RequestFailed
        };
        let asked = self.send(vec![request], |_| NLM_F_REQUEST | NLM_F_DUMP).map_err(lost)?;
        let mut all = Vec::new();
        loop {
            for message in self.receive().map_err(lost)? {
                let message = match message {
                    Ok(message) if asked.contains(&message.header.sequence_number) => message,
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::debug!(%error, "an object of the kernel's can't be read");
                        continue;
                    }
                };
                match message.payload {
                    NetlinkPayload::InnerMessage(object) => all.push(object),
                    NetlinkPayload::Done(_) => return Ok(all),
                    NetlinkPayload::Error(error) => return Err(rtnetlink::Error::NetlinkError(error)),
                    _ => {}
                }
            }
        }
    }

    /// Answers the sequence numbers of these requests.
    fn send(
        &self,
        requests: Vec<RouteNetlinkMessage>,
        flags: impl Fn(&RouteNetlinkMessage) -> u16,
    ) -> io::Result<Range<u32>> {
        let count = u32::try_from(requests.len()).map_err(io::Error::other)?;
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let mut frame = Vec::new();
        for (request, number) in requests.into_iter().zip(first..) {
            let flags = flags(&request);
            let mut message = NetlinkMessage::from(request);
            message.header.flags = flags;
            message.header.sequence_number = number;
            message.finalize();
            // Each begins at a multiple of four.
            let begin = frame.len().next_multiple_of(4);
            frame.resize(begin + message.buffer_len(), 0);
            message.serialize(frame.get_mut(begin..).unwrap_or_default());
        }
        self.socket.send_to(&frame, &SocketAddr::new(0, 0), 0)?;
        Ok(first..first.saturating_add(count))
    }

    /// The messages of one datagram of the kernel's. Who has the right may send to this socket too.
    fn receive(&self) -> io::Result<Vec<io::Result<Message>>> {
        let mut datagram = Vec::with_capacity(DATAGRAM);
        let (_, from) = self.socket.recv_from(&mut datagram, 0)?;
        if from.port_number() != 0 {
            return Ok(Vec::new());
        }
        let (mut rest, mut messages) = (&*datagram, Vec::new());
        while let Some(length) = rest.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length)) {
            messages.push(Message::deserialize(rest).map_err(io::Error::other));
            let length = usize::try_from(length).map_err(io::Error::other)?;
            rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Asks for a link by name.
pub(crate) fn get_link(name: &str) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    RouteNetlinkMessage::GetLink(message)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::address::AddressMessage;

    use super::super::{ENODEV, errno};
    use super::*;

    #[test]
    fn several_requests_in_one_send_have_an_answer_each() {
        let direct = Direct::open().unwrap();
        // of odd lengths: each request begins at a multiple of four
        let [lo, none, again] = direct.ask(["lo", "nothing", "lo"].map(get_link)).unwrap();
        assert!(matches!(lo, Ok(Some(RouteNetlinkMessage::NewLink(_)))), "{lo:?}");
        assert_eq!(errno(&none.unwrap_err()), Some(ENODEV));
        assert!(matches!(again, Ok(Some(RouteNetlinkMessage::NewLink(_)))), "{again:?}");
        assert!(direct.ask_all(Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn more_than_the_queue_has_room_for_are_answered() {
        let direct = Direct::open().unwrap();
        let names: Vec<String> = (0..1000).map(|at| format!("nothing-{at}")).collect();
        let answers = direct.ask_all(names.iter().map(|name| get_link(name)).collect()).unwrap();
        assert!(answers.len() == 1000 && answers.iter().all(Result::is_err));
    }

    #[test]
    fn what_was_left_of_another_request_is_no_answer() {
        let direct = Direct::open().unwrap();
        direct.send(vec![get_link("nothing")], |_| NLM_F_REQUEST).unwrap();
        let [lo] = direct.ask([get_link("lo")]).unwrap();
        assert!(matches!(lo, Ok(Some(RouteNetlinkMessage::NewLink(_)))), "{lo:?}");
    }

    #[test]
    fn a_dump_has_all_and_leaves_nothing_to_be_read() {
        let direct = Direct::open().unwrap();
        let links = direct.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).unwrap();
        assert!(
            links.iter().all(|link| matches!(link, RouteNetlinkMessage::NewLink(_))) && !links.is_empty()
        );
        direct.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default())).unwrap();
        let [lo] = direct.ask([get_link("lo")]).unwrap();
        assert!(lo.unwrap().is_some());
    }
}
