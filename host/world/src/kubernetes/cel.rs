//! The part of the Common Expression Language that fits on a page: `has(a.b)`, fields of `self` and `oldSelf`, literals, `==`, `!=`,
//! `<`, `<=`, `>`, `>=`, `!`, `&&`, `||`, `size(x)` and parentheses. A rule with anything else is accepted unread: a CRD whose
//! rules matter is tested against a real API server.

use serde_json::Value;

/// Whether the rule holds; `None` if it cannot be said.
pub(crate) fn holds(rule: &str, this: &Value, old: Option<&Value>) -> Option<bool> {
    let tokens = tokens(rule)?;
    if old.is_none() && tokens.iter().any(|t| t == "oldSelf") {
        return None; // a rule of transitions, and there is none
    }
    let mut parser = Parser { tokens: &tokens, this, old };
    let value = parser.either()?;
    if parser.tokens.is_empty() { value.as_bool() } else { None }
}

fn tokens(rule: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = rule.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            quote @ ('"' | '\'') => rest.get(1..)?.find(quote)? + 2,
            _ if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|op| rest.starts_with(op)) => 2,
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = tail.trim_start();
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [String],
    this: &'a Value,
    old: Option<&'a Value>,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.first().map_or("", String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn expect(&mut self, token: &str) -> Option<()> {
        (self.next()? == token).then_some(())
    }

    fn either(&mut self) -> Option<Value> {
        let mut left = self.both()?;
        while self.peek() == "||" {
            self.next();
            let right = self.both()?;
            left = Value::from(left.as_bool()? || right.as_bool()?);
        }
        Some(left)
    }

    fn both(&mut self) -> Option<Value> {
        let mut left = self.comparison()?;
        while self.peek() == "&&" {
            self.next();
            let right = self.comparison()?;
            left = Value::from(left.as_bool()? && right.as_bool()?);
        }
        Some(left)
    }

    fn comparison(&mut self) -> Option<Value> {
        let left = self.unary()?;
        let operator = self.peek().to_owned();
        if !["==", "!=", "<", "<=", ">", ">="].contains(&&*operator) {
            return Some(left);
        }
        self.next();
        let right = self.unary()?;
        let numbers = || Some((left.as_f64()?, right.as_f64()?));
        Some(Value::from(match &*operator {
            "==" => left == right,
            "!=" => left != right,
            "<" => numbers().map(|(a, b)| a < b)?,
            "<=" => numbers().map(|(a, b)| a <= b)?,
            ">" => numbers().map(|(a, b)| a > b)?,
            _ => numbers().map(|(a, b)| a >= b)?,
        }))
    }

    fn unary(&mut self) -> Option<Value> {
        if self.peek() == "!" {
            self.next();
            return Some(Value::from(!self.unary()?.as_bool()?));
        }
        let token = self.next()?;
        match &*token {
            "(" => {
                let value = self.either()?;
                self.expect(")")?;
                Some(value)
            }
            "has" => {
                self.expect("(")?;
                let root = self.next()?;
                let found = self.path(&root).is_some();
                self.expect(")")?;
                Some(Value::from(found))
            }
            "size" => {
                self.expect("(")?;
                let value = self.either()?;
                self.expect(")")?;
                let size = match value {
                    Value::String(text) => text.chars().count(),
                    Value::Array(list) => list.len(),
                    Value::Object(map) => map.len(),
                    _ => return None,
                };
                Some(Value::from(size))
            }
            "self" | "oldSelf" => self.path(&token),
            "true" => Some(Value::from(true)),
            "false" => Some(Value::from(false)),
            text if text.starts_with(['"', '\'']) => Some(Value::from(text.get(1..text.len() - 1)?)),
            number => number.parse::<i64>().ok().map(Value::from),
        }
    }

    /// The fields that follow a root; all are read from the tokens, found or not.
    fn path(&mut self, root: &str) -> Option<Value> {
        let mut value = if root == "self" { Some(self.this) } else { self.old };
        while self.peek() == "." {
            self.next();
            let name = self.next()?;
            value = value.and_then(|v| v.get(&name)).filter(|v| !v.is_null());
        }
        value.cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::holds;

    #[test]
    fn the_rules_of_our_crds() {
        let one = "has(self.entry) != has(self.existing)";
        assert_eq!(holds(one, &json!({"entry": "a"}), None), Some(true));
        assert_eq!(holds(one, &json!({"entry": "a", "existing": "b"}), None), Some(false));
        let either = "!has(self.subject) || has(self.entry)";
        assert_eq!(holds(either, &json!({"subject": {}}), None), Some(false));
        assert_eq!(holds(either, &json!({}), None), Some(true));
        let same = "self == oldSelf";
        assert_eq!(holds(same, &json!(1), None), None, "there is no transition");
        assert_eq!(holds(same, &json!(1), Some(&json!(2))), Some(false));
    }

    #[test]
    fn what_it_cannot_read_it_does_not_judge() {
        assert_eq!(holds("self.all(x, x > 1)", &json!([0]), None), None);
    }
}
