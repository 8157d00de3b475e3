//! A frame on the agent's socket: what is understood is understood again as it is written, and names what can be a file.
#![no_main]

use isthmus_cni::input::{identifier, interface_name};
use isthmus_cni::protocol::{Add, Answer, Ask, Del, Request, encode, read};
use isthmus_node::server::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read::<Request>(&mut &*bytes);
    // the other way: what a plugin would read of an agent
    let _ = read::<Answer>(&mut &*bytes);
    let Ok(request) = decode(bytes) else { return };
    if let Ask::Add(Add { attached, .. }) | Ask::Del(Del { attached, .. }) = &request.ask {
        assert!(identifier(&attached.container) && interface_name(&attached.interface).is_ok());
    }
    let frame = encode(&request).expect("it was read within the limit");
    assert_eq!(read::<Request>(&mut &*frame).expect("it was written by us"), request);
});
