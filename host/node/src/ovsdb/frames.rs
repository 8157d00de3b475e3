//! JSON texts that follow each other without anything between them, as JSON-RPC on a stream has them.

use std::io;

use serde_json::Value;

/// Most bytes of one text: the first answer of a monitor holds a whole table.
pub const MOST_FRAME: usize = 32 << 20;

/// Cuts a stream into objects. Each byte is looked at once.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// How far `bytes` was looked at.
    seen: usize,
    depth: usize,
    text: bool,
    escaped: bool,
}

impl Frames {
    /// Takes what was read.
    ///
    /// # Errors
    /// More than [`MOST_FRAME`] bytes without an end.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > MOST_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a JSON text without an end"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole object; `None`: more has to be read.
    ///
    /// # Errors
    /// What is no JSON object.
    #[allow(clippy::should_implement_trait, reason = "an error ends it: not what an iterator does")]
    pub fn next(&mut self) -> io::Result<Option<Value>> {
        while let Some(byte) = self.bytes.get(self.seen) {
            self.seen += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.text => self.escaped = true,
                b'"' => self.text = !self.text,
                _ if self.text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth <= 1 => {
                    let rest = self.bytes.split_off(self.seen);
                    let frame = std::mem::replace(&mut self.bytes, rest);
                    (self.seen, self.depth) = (0, 0);
                    return Ok(Some(serde_json::from_slice(&frame)?));
                }
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(stream: &[u8], chunk: usize) -> io::Result<Vec<Value>> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for part in stream.chunks(chunk) {
            frames.feed(part)?;
            while let Some(frame) = frames.next()? {
                out.push(frame);
            }
        }
        Ok(out)
    }

    #[test]
    fn texts_are_cut_wherever_reads_end() {
        let stream = br#"{"a":"}\"{","b":[1,{"c":"\\"}]} {"id":2}
            {"id":3}"#;
        for chunk in 1..stream.len() {
            let frames = all(stream, chunk).unwrap();
            assert_eq!(frames.len(), 3, "in chunks of {chunk}");
            assert_eq!(frames[0]["a"], "}\"{");
            assert_eq!(frames[2]["id"], 3);
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for stream in [&b"}"[..], b"{]", b"nonsense {", b"{\"a\" 1}"] {
            let result = all(stream, 3);
            assert!(result.as_ref().map_or(true, Vec::is_empty), "{result:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::many(4096))]
        #[test]
        fn any_texts_come_out_as_they_went_in(texts in proptest::collection::vec(".*", 0..8), chunk in 1usize..40) {
            let sent: Vec<Value> = texts.iter().map(|text| serde_json::json!({"a": [text, {text.as_str(): "}"}]})).collect();
            let stream: String = sent.iter().map(Value::to_string).collect();
            prop_assert_eq!(all(stream.as_bytes(), chunk).unwrap(), sent);
        }

        #[test]
        fn any_bytes_are_texts_or_an_error(stream: Vec<u8>, chunk in 1usize..40) {
            let mut known = super::super::Interfaces::default();
            for frame in all(&stream, chunk).unwrap_or_default() {
                known.update(&frame);
            }
        }
    }
}
