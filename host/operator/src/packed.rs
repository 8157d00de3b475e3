//! What is kept of thousands and read one at a time, as text: a tree of small strings takes several times the memory.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value as compact JSON. Two are equal where their values are.
#[derive(Clone)]
pub(crate) struct Packed<T>(Box<[u8]>, PhantomData<fn() -> T>);

impl<T> std::fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    /// Packs it.
    pub(crate) fn new(value: &T) -> Self {
        let bytes = serde_json::to_vec(value).unwrap_or_else(|error| {
            tracing::error!(%error, "a value can't be packed");
            b"null".to_vec()
        });
        Self(bytes.into(), PhantomData)
    }

    /// The value; `None` where it was none that JSON can hold, which none of ours is.
    pub(crate) fn get(&self) -> Option<T> {
        let read = serde_json::from_slice(&self.0);
        read.map_err(|error| tracing::error!(%error, "a packed value can't be read")).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_packed_is_what_comes_out() {
        let value = BTreeMap::from([("a".to_owned(), Some(1.5)), ("ü\n".to_owned(), None)]);
        let packed = Packed::new(&value);
        assert_eq!(packed.get(), Some(value));
        assert!(packed == packed.clone() && packed != Packed::new(&BTreeMap::new()));
    }
}
