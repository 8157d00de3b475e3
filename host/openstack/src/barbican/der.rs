//! DER (X.690), as much of it as a PKCS #12 bundle is made of.

/// Tags.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0] EXPLICIT`.
pub(super) const EXPLICIT: u8 = 0xa0;

/// An element with these parts as its content.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut all = vec![tag];
    match u8::try_from(length).ok().filter(|short| *short < 0x80) {
        Some(short) => all.push(short),
        None => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // A length has at most eight bytes.
            all.push(0x80 | bytes.len() as u8);
            all.extend(bytes);
        }
    }
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all
}

/// The first element of this tag: all of it, its content, and what follows it.
pub(super) fn first(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, content) = match length.checked_sub(0x80) {
        None => (usize::from(*length), rest),
        Some(count @ 1..=4) => {
            let (length, content) = rest.split_at_checked(usize::from(count))?;
            (length.iter().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte)), content)
        }
        Some(_) => return None,
    };
    let (content, after) = content.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - after.len())?;
    Some((whole, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0usize, 1, 0x7f, 0x80, 0xff, 0x100, 0x1_0000] {
            let content = vec![7; length];
            let (inner, _) = content.split_at(length / 2);
            let written = element(OCTET_STRING, &[inner, content.get(inner.len()..).unwrap()]);
            let followed = [written.as_slice(), &[1, 2]].concat();
            assert_eq!(first(OCTET_STRING, &followed), Some((&*written, &*content, [1, 2].as_slice())));
            assert_eq!(first(SEQUENCE, &followed), None);
            assert_eq!(first(OCTET_STRING, written.get(..written.len() - 1).unwrap()), None);
        }
        assert_eq!(element(INTEGER, &[&[3]]), [2, 1, 3]);
        assert_eq!(element(NULL, &[]), [5, 0]);
        assert_eq!(first(OCTET_STRING, &[4, 0x89, 1]), None);
    }
}
