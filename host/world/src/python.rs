//! Values as Python prints them: the services' messages quote what they were sent.

use serde_json::Value;

/// As `repr()` does.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(all) => format!("[{}]", all.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{}: {}", quoted(k), repr(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// As `str()` does: a text without quotes.
pub(crate) fn str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{repr, str};

    #[test]
    fn values_are_printed_as_python_does() {
        let value = json!({"a": [1, 1.5, true, null], "b": "it's", "c": "a\\b", "d": "'\""});
        assert_eq!(repr(&value), r#"{'a': [1, 1.5, True, None], 'b': "it's", 'c': 'a\\b', 'd': '\'"'}"#);
        assert_eq!((str(&json!("x")), str(&json!(["x"]))), ("x".to_owned(), "['x']".to_owned()));
    }
}
