//! What a database sends: it is cut into JSON texts wherever reads end, and taken for a table of interfaces.
#![no_main]

use isthmus_node::ovsdb::{Frames, Interfaces, ids};
use libfuzzer_sys::fuzz_target;

// The first byte is how much is read at once.
fuzz_target!(|bytes: &[u8]| {
    let Some((chunk, stream)) = bytes.split_first() else { return };
    let (mut frames, mut known) = (Frames::default(), Interfaces::default());
    for part in stream.chunks(usize::from(*chunk).max(1)) {
        if frames.feed(part).is_err() {
            return;
        }
        loop {
            match frames.next() {
                Ok(Some(frame)) => {
                    known.update(&frame);
                    assert!(ids(&frame).count() <= stream.len());
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(known.iter().all(|interface| known.named(&interface.name).is_some()));
});
