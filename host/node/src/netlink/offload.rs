//! TX checksum offload, by the ethtool ioctl: its netlink form needs one more crate and a look-up of the family a namespace.
#![allow(unsafe_code, reason = "an ioctl is not checked by the compiler; see the reason at its block")]

use std::ffi::{c_ulong, c_void};
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::from_mut;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// `SIOCETHTOOL` of linux/sockios.h
const SIOCETHTOOL: Opcode = 0x8946;
/// `ETHTOOL_STXCSUM` of linux/ethtool.h
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    cmd: u32,
    data: u32,
}

/// `struct ifreq`: 16 bytes of name, and a union of 24 on 64-bit machines, of which only `ifr_data` is used.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut c_void,
    rest: [c_ulong; 2],
}

struct SetTxChecksum(Request);

// SAFETY: `SIOCETHTOOL` takes a pointer to `struct ifreq`, which `Request` is laid out as; it is used as one pointer.
unsafe impl Ioctl for SetTxChecksum {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SIOCETHTOOL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        from_mut(&mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Turns TX checksum offload of an interface off, in the namespace of the socket. A userspace datapath reads packets
/// through `AF_PACKET`, where nobody would fill the checksum in.
pub(super) fn no_tx_checksum(socket: &OwnedFd, interface: &str) -> io::Result<()> {
    let mut value = Value { cmd: ETHTOOL_STXCSUM, data: 0 };
    let mut request = Request { name: [0; 16], data: from_mut(&mut value).cast(), rest: [0; 2] };
    // 15 at most, so that the name ends with a NUL
    for (to, from) in request.name.iter_mut().take(15).zip(interface.bytes()) {
        *to = from;
    }
    // SAFETY: the name ends with a NUL; `data` points to a live `struct ethtool_value`, the 8 bytes which this command
    // reads; nothing is kept after the call.
    unsafe { ioctl(socket, SetTxChecksum(request)) }.map_err(io::Error::from)
}
