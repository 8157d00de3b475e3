//! From the JSON text that a module is given to its own types.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::log;
use crate::outcome::invalid_field;
use crate::records::types::Outcome;

/// Parses the subject, or an object of the snapshot. Types that borrow from the text ([`crate::objects`]) are twice as fast as
/// [`serde_json::Value`].
///
/// # Errors
/// `invalid` with the path of the field that does not fit.
pub fn parse_subject<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Outcome> {
    serde_json::from_str(json).map_err(|error| explain::<T>(json, "", &error))
}

/// Parses what [`crate::snapshot::list`] gave. An object that does not fit is left out, which the log says: it may be another
/// tenant's, and must not end the mapping of this one.
pub fn parse_others<'a, T: Deserialize<'a>>(texts: &'a [String]) -> impl Iterator<Item = T> {
    texts.iter().filter_map(|text| match parse_subject(text) {
        Ok(object) => Some(object),
        Err(outcome) => {
            log::warn(&format!("an object is left out: {outcome:?}"));
            None
        }
    })
}

pub(crate) fn parse_config<T: DeserializeOwned>(json: &str) -> Result<T, Outcome> {
    serde_json::from_str(json).map_err(|error| explain::<T>(json, "config", &error))
}

/// Parses once more to find the path: only failures pay for it.
fn explain<'a, T: Deserialize<'a>>(json: &'a str, document: &str, error: &serde_json::Error) -> Outcome {
    let mut text = serde_json::Deserializer::from_str(json);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut text) {
        Err(error) => error.path().to_string(),
        Ok(_) => String::new(),
    };
    // Where the text ends too soon, or for the document as a whole, there is no name: "?" or ".".
    let path = path.trim_end_matches(['.', '?']);
    let dot = if document.is_empty() || path.is_empty() { "" } else { "." };
    let field = format!("{document}{dot}{path}");
    invalid_field(error.to_string(), &field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::types::Invalid;

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code, reason = "only parsed")]
    struct Config {
        subnets: Vec<String>,
    }

    #[test]
    fn no_config_is_an_empty_object() {
        assert_eq!(parse_config("{}"), Ok(crate::NoConfig {}));
        let Err(Outcome::Invalid(Invalid { message, .. })) =
            parse_config::<crate::NoConfig>(r#"{"colour": "red"}"#)
        else {
            panic!("a field that nobody reads is refused")
        };
        assert!(message.contains("colour"), "{message}");
    }

    #[test]
    fn says_where_the_config_is_wrong() {
        let table = [
            (r#"{"subnets": ["a", 1]}"#, Some("config.subnets[1]"), "expected a string"),
            (r#"{}"#, Some("config"), "missing field `subnets`"),
            (r#"{"#, Some("config"), "EOF"),
        ];
        for (json, path, part) in table {
            let Err(Outcome::Invalid(Invalid { message, field })) = parse_config::<Config>(json) else {
                panic!("{json} is refused")
            };
            assert_eq!(field.as_deref(), path, "{json}");
            assert!(message.contains(part), "{message}");
        }
    }
}
