//! Lists of a status in which others have elements beside ours, and that the API server takes as a whole
//! (`x-kubernetes-list-type: atomic`): who applies one of these owns it all.

use serde_json::{Map, Value, json};

/// A list of a status of which some elements are ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedList {
    /// Names of fields, from the status on.
    path: Vec<String>,
    /// Field of its elements that names whose one is.
    field: String,
    /// What this is in ours.
    value: String,
}

impl SharedList {
    /// The elements of the list at `path` (`status.ingress`) of which `field` is `value` are ours.
    ///
    /// # Errors
    /// The path does not lead into the status: why, for people.
    pub fn new(path: &str, field: &str, value: &str) -> Result<Self, String> {
        let names: Vec<String> = path.split('.').map(Into::into).collect();
        match names.split_first() {
            Some((status, below)) if status == "status" && !below.is_empty() => {
                Ok(Self { path: below.to_vec(), field: field.into(), value: value.into() })
            }
            _ => Err(format!("{path:?} is no list of the status: one is named as `status.ingress`")),
        }
    }

    fn is_ours(&self, element: &Value) -> bool {
        element.get(&self.field).and_then(Value::as_str) == Some(&*self.value)
    }

    /// The elements that are there.
    fn of<'v>(&self, status: Option<&'v Value>) -> &'v [Value] {
        let list = status.and_then(|status| self.path.iter().try_fold(status, |value, name| value.get(name)));
        list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// Makes these its elements.
    fn set(&self, status: &mut Value, elements: Vec<Value>) {
        let mut value = status;
        for name in &self.path {
            if !value.is_object() {
                *value = json!({});
            }
            let Some(fields) = value.as_object_mut() else { return };
            value = fields.entry(name).or_insert(Value::Null);
        }
        *value = Value::Array(elements);
    }
}

/// A status with our elements of these lists, and none of others.
pub(super) fn ours_alone(lists: &[SharedList], status: Option<&Value>) -> Option<Value> {
    let mut own = status?.clone();
    for list in lists {
        let ours: Vec<Value> =
            list.of(status).iter().filter(|element| list.is_ours(element)).cloned().collect();
        if !list.of(status).is_empty() {
            list.set(&mut own, ours);
        }
    }
    Some(own)
}

/// What we want with the elements of others that are there, each where it is.
pub(super) fn beside(lists: &[SharedList], mut wanted: Value, status: Option<&Value>) -> Value {
    for list in lists {
        let there = list.of(status);
        if there.iter().all(|element| list.is_ours(element)) {
            continue;
        }
        let mut ours = list.of(Some(&wanted)).to_vec().into_iter();
        let kept = |element: &Value| if list.is_ours(element) { ours.next() } else { Some(element.clone()) };
        let mut all: Vec<Value> = there.iter().filter_map(kept).collect();
        all.extend(ours);
        list.set(&mut wanted, all);
    }
    wanted
}

/// The elements of others in the lists in which ours are, too; `None`: there is no such list.
pub(super) fn others_alone(lists: &[SharedList], status: Option<&Value>) -> Option<Value> {
    let with_ours = |list: &&SharedList| list.of(status).iter().any(|element| list.is_ours(element));
    let lists: Vec<SharedList> = lists.iter().filter(with_ours).cloned().collect();
    let left = beside(&lists, Value::Object(Map::new()), status);
    left.as_object().is_some_and(|left| !left.is_empty()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> SharedList {
        SharedList::new("status.ingress", "routerName", "own").unwrap()
    }

    fn all(elements: &[Value]) -> Value {
        json!({"ingress": elements})
    }

    fn element(router: &str, host: &str) -> Value {
        json!({"routerName": router, "host": host})
    }

    #[test]
    fn a_list_is_one_of_the_status() {
        assert!(SharedList::new("status.a.b", "k", "v").is_ok());
        for wrong in ["status", "spec.rules", "", "statusx.a"] {
            assert!(SharedList::new(wrong, "k", "v").unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn elements_of_others_stay_where_they_are() {
        let (other, before, after) = (element("default", "a"), element("own", "a"), element("own", "b"));
        let table = [
            (vec![], vec![after.clone()], vec![after.clone()]),
            (vec![other.clone()], vec![after.clone()], vec![other.clone(), after.clone()]),
            (vec![before.clone(), other.clone()], vec![after.clone()], vec![after.clone(), other.clone()]),
            (vec![other.clone(), before.clone()], vec![], vec![other.clone()]),
        ];
        for (there, ours, expected) in table {
            let found = beside(&[list()], all(&ours), Some(&all(&there)));
            assert_eq!(found, all(&expected), "{there:?} and {ours:?}");
        }
        // A report that says nothing of the list at all is no reason to take theirs along.
        let there = all(&[other.clone(), before]);
        assert_eq!(beside(&[list()], json!({}), Some(&there)), all(&[other]));
        assert_eq!(beside(&[list()], json!({}), Some(&all(&[after]))), json!({}));
        let deep = SharedList::new("status.a.b", "routerName", "own").unwrap();
        let there = json!({"a": {"b": [element("default", "a")], "c": 1}});
        assert_eq!(
            beside(&[deep], json!({"d": 2}), Some(&there))["a"],
            json!({"b": [element("default", "a")]})
        );
    }

    #[test]
    fn ours_go_without_theirs() {
        let (ours, theirs) = (element("own", "a"), element("default", "a"));
        let both = all(&[theirs.clone(), ours.clone()]);
        assert_eq!(others_alone(&[list()], Some(&both)), Some(json!({"ingress": [&theirs]})));
        assert_eq!(ours_alone(&[list()], Some(&both)), Some(json!({"ingress": [&ours]})));
        for alone in [vec![theirs], vec![ours], vec![]] {
            assert_eq!(others_alone(&[list()], Some(&all(&alone))), None, "{alone:?}");
        }
    }
}
