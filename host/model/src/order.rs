//! The order of creation: what an entry needs comes before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Entry;
use crate::kinds::needed_locals;

/// The entries with those first that others need, else in their own order.
///
/// # Errors
/// The names along a circle of needs, the first one again at its end.
// With a path of its own in place of recursion: a list may be one long chain, and a stack is small.
pub(crate) fn by_needs<'e>(
    entries: impl IntoIterator<Item = &'e Entry> + Clone,
) -> Result<Vec<&'e Entry>, Vec<String>> {
    let all: BTreeMap<&str, &Entry> = entries.clone().into_iter().map(|e| (e.name.as_str(), e)).collect();
    let (mut done, mut on_path) = (BTreeSet::new(), BTreeSet::new());
    let (mut path, mut ordered) = (Vec::new(), Vec::with_capacity(all.len()));
    for start in entries {
        if !done.contains(start.name.as_str()) {
            on_path.insert(start.name.as_str());
            path.push((start, needed_locals(start).into_iter()));
        }
        while let Some((entry, needs)) = path.last_mut() {
            let entry: &Entry = entry;
            match needs.next() {
                Some(need) if on_path.contains(need) => {
                    let circle = path.iter().map(|(e, _)| e.name.as_str()).skip_while(|n| *n != need);
                    return Err(circle.chain([need]).map(str::to_owned).collect());
                }
                Some(need) if done.contains(need) => {}
                Some(need) => {
                    if let Some(needed) = all.get(need) {
                        on_path.insert(need);
                        path.push((needed, needed_locals(needed).into_iter()));
                    }
                }
                None => {
                    on_path.remove(entry.name.as_str());
                    done.insert(entry.name.as_str());
                    ordered.push(entry);
                    path.pop();
                }
            }
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;
    use crate::value::{Fields, Reference};

    fn entry(name: &str, after: &[&str]) -> Entry {
        let mut entry = Entry::new(name, Kind::Network, Fields::new());
        entry.after = after.iter().map(|n| Reference::Local((*n).to_owned())).collect();
        entry
    }

    #[test]
    fn what_is_needed_comes_first() {
        let entries =
            [entry("c", &["b", "a"]), entry("a", &[]), entry("b", &["a", "elsewhere"]), entry("d", &[])];
        let order: Vec<&str> = by_needs(&entries).unwrap().into_iter().map(|e| e.name.as_str()).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_circle_is_named() {
        let entries = [entry("d", &["a"]), entry("a", &["b"]), entry("b", &["c"]), entry("c", &["a"])];
        assert_eq!(by_needs(&entries).unwrap_err(), ["a", "b", "c", "a"]);
        assert_eq!(by_needs(&[entry("a", &["a"])]).unwrap_err(), ["a", "a"]);
    }

    /// On a stack that recursion would not fit on.
    #[test]
    fn a_long_chain_is_followed() {
        let chain = |last: &str| -> Vec<Entry> {
            let next = |n: u32| if n == 9_999 { last.to_owned() } else { format!("n{}", n + 1) };
            (0..10_000).map(|n| entry(&format!("n{n}"), &[&next(n)])).collect()
        };
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let run = small.spawn(move || {
            let open = chain("nobody");
            assert_eq!(by_needs(&open).unwrap().first().unwrap().name, "n9999");
            assert_eq!(by_needs(&chain("n0")).unwrap_err().len(), 10_001);
        });
        run.unwrap().join().unwrap();
    }
}
