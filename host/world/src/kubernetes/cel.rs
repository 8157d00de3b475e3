//! The part of the Common Expression Language that fits on a page: `has(a.b)`, fields of `self` and `oldSelf`, texts without escapes,
//! whole numbers, `==`, `!=`, `<`, `<=`, `>`, `>=`, `!`, `&&`, `||`, `size(x)` and parentheses. A CRD whose rules have anything else is
//! refused (`crd`).

use serde_json::Value;

/// A rule, read once.
#[derive(Clone, Debug)]
pub(crate) struct Program(Expr);

#[derive(Clone, Debug)]
enum Expr {
    Literal(Value),
    Field(Path),
    Has(Path),
    Size(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
}

/// Fields below `self` or `oldSelf`.
#[derive(Clone, Debug)]
struct Path {
    old: bool,
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a rule says nothing of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    NoSuchKey(String),
    NoSuchOverload,
}

impl Failure {
    /// As the real server words it. `rule`: the rule's message, or its text.
    pub(crate) fn detail(&self, rule: &str) -> String {
        match self {
            Self::NoSuchKey(key) => format!("no such key: {key} evaluating rule: {rule}"),
            Self::NoSuchOverload => format!(
                "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
            ),
        }
    }
}

/// It is read and worked out by recursion, on a stack that has an end. Rules of real definitions have tens.
const MOST_TOKENS: usize = 500;

impl Program {
    /// # Errors
    /// What of the rule is not read here.
    pub(crate) fn parse(rule: &str) -> Result<Self, String> {
        let tokens = tokens(rule)?;
        if tokens.len() > MOST_TOKENS {
            return Err(format!("more than {MOST_TOKENS} tokens"));
        }
        let mut parser = Parser { tokens: &tokens };
        let expr = parser.either()?;
        match parser.peek() {
            "" => Ok(Self(expr)),
            rest => Err(unread(rest)),
        }
    }

    /// Whether it is about a change, and says nothing of a new value.
    pub(crate) fn is_transition(&self) -> bool {
        self.0.has_old()
    }

    /// Whether the rule holds.
    ///
    /// # Errors
    /// It cannot be said.
    pub(crate) fn holds(&self, this: &Value, old: Option<&Value>) -> Result<bool, Failure> {
        truth(self.0.of(this, old))
    }
}

impl Expr {
    fn has_old(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Field(path) | Self::Has(path) => path.old,
            Self::Size(inner) | Self::Not(inner) => inner.has_old(),
            Self::And(a, b) | Self::Or(a, b) | Self::Compare(a, _, b) => a.has_old() || b.has_old(),
        }
    }

    fn of(&self, this: &Value, old: Option<&Value>) -> Result<Value, Failure> {
        let value = |inner: &Self| inner.of(this, old);
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Field(path) => path.of(this, old),
            Self::Has(path) => path.is_there(this, old).map(Value::from),
            Self::Size(inner) => match value(inner)? {
                Value::String(text) => Ok(text.chars().count().into()),
                Value::Array(list) => Ok(list.len().into()),
                Value::Object(map) => Ok(map.len().into()),
                _ => Err(Failure::NoSuchOverload),
            },
            Self::Not(inner) => Ok(Value::from(!truth(value(inner))?)),
            Self::And(a, b) => decided(false, value(a), value(b)),
            Self::Or(a, b) => decided(true, value(a), value(b)),
            Self::Compare(a, how, b) => how.of(&value(a)?, &value(b)?).map(Value::from),
        }
    }
}

fn truth(value: Result<Value, Failure>) -> Result<bool, Failure> {
    value?.as_bool().ok_or(Failure::NoSuchOverload)
}

/// `&&` and `||`: a side that decides does so whatever the other one fails of.
fn decided(by: bool, a: Result<Value, Failure>, b: Result<Value, Failure>) -> Result<Value, Failure> {
    match (truth(a), truth(b)) {
        (Ok(side), _) | (_, Ok(side)) if side == by => Ok(Value::from(by)),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
        _ => Ok(Value::from(!by)),
    }
}

impl Path {
    fn root<'a>(&self, this: &'a Value, old: Option<&'a Value>) -> &'a Value {
        if self.old { old.unwrap_or(&Value::Null) } else { this }
    }

    fn of(&self, this: &Value, old: Option<&Value>) -> Result<Value, Failure> {
        down(self.root(this, old), &self.names).cloned()
    }

    /// All but the last have to be there. A null counts as absent.
    fn is_there(&self, this: &Value, old: Option<&Value>) -> Result<bool, Failure> {
        let Some((last, above)) = self.names.split_last() else { return Ok(true) };
        let holder = down(self.root(this, old), above)?;
        Ok(step(holder, last).is_ok())
    }
}

fn down<'a>(root: &'a Value, names: &[String]) -> Result<&'a Value, Failure> {
    names.iter().try_fold(root, |value, name| step(value, name))
}

fn step<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    value.get(name).filter(|found| !found.is_null()).ok_or_else(|| Failure::NoSuchKey(name.to_owned()))
}

impl Comparison {
    fn read(operator: &str) -> Option<Self> {
        Some(match operator {
            "==" => Self::Equal,
            "!=" => Self::Unequal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn of(self, left: &Value, right: &Value) -> Result<bool, Failure> {
        let order = match (left, right) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        };
        let order = order.ok_or(Failure::NoSuchOverload);
        Ok(match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => order?.is_lt(),
            Self::LessOrEqual => order?.is_le(),
            Self::Greater => order?.is_gt(),
            Self::GreaterOrEqual => order?.is_ge(),
        })
    }
}

fn unread(token: &str) -> String {
    if token.is_empty() { "its end".to_owned() } else { format!("`{token}` in it") }
}

fn tokens(rule: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = rule.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            quote @ ('"' | '\'') => {
                let end = rest.get(1..).and_then(|text| text.find(quote)).ok_or_else(|| unread(rest))?;
                end + 2
            }
            _ if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|op| rest.starts_with(op)) => 2,
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = tail.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [String],
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.first().map_or("", String::as_str)
    }

    /// The next token; empty at the end.
    fn next(&mut self) -> String {
        let Some((first, rest)) = self.tokens.split_first() else { return String::new() };
        self.tokens = rest;
        first.clone()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        let found = self.next();
        if found == token { Ok(()) } else { Err(unread(&found)) }
    }

    fn either(&mut self) -> Result<Expr, String> {
        let mut left = self.both()?;
        while self.peek() == "||" {
            self.next();
            left = Expr::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expr, String> {
        let mut left = self.comparison()?;
        while self.peek() == "&&" {
            self.next();
            left = Expr::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expr, String> {
        let left = self.unary()?;
        let Some(how) = Comparison::read(self.peek()) else { return Ok(left) };
        self.next();
        Ok(Expr::Compare(Box::new(left), how, Box::new(self.unary()?)))
    }

    fn unary(&mut self) -> Result<Expr, String> {
        let token = self.next();
        match &*token {
            "!" => Ok(Expr::Not(Box::new(self.unary()?))),
            "(" => {
                let inner = self.either()?;
                self.expect(")")?;
                Ok(inner)
            }
            "has" => {
                self.expect("(")?;
                let root = self.next();
                let path = self.path(&root)?;
                self.expect(")")?;
                if path.names.is_empty() { Err(unread("has")) } else { Ok(Expr::Has(path)) }
            }
            "size" => {
                self.expect("(")?;
                let inner = self.either()?;
                self.expect(")")?;
                Ok(Expr::Size(Box::new(inner)))
            }
            "self" | "oldSelf" => self.path(&token).map(Expr::Field),
            "true" | "false" => Ok(Expr::Literal(Value::from(token == "true"))),
            text if text.starts_with(['"', '\'']) && !text.contains('\\') => {
                let inner = text.get(1..text.len() - 1).ok_or_else(|| unread(text))?;
                Ok(Expr::Literal(Value::from(inner)))
            }
            number => number.parse::<i64>().map(|n| Expr::Literal(n.into())).map_err(|_| unread(number)),
        }
    }

    /// The fields that follow a root. In a name `__` stands for what a name can't have.
    fn path(&mut self, root: &str) -> Result<Path, String> {
        if !["self", "oldSelf"].contains(&root) {
            return Err(unread(root));
        }
        let mut names = Vec::new();
        while self.peek() == "." {
            self.next();
            let name = self.next();
            let plain = name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !name.contains("__");
            if !plain || self.peek() == "(" {
                return Err(unread(&name));
            }
            names.push(name);
        }
        Ok(Path { old: root == "oldSelf", names })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Failure, Program};

    fn holds(rule: &str, this: &Value, old: Option<&Value>) -> Result<bool, Failure> {
        Program::parse(rule).unwrap().holds(this, old)
    }

    #[test]
    fn the_rules_of_our_crds() {
        let one = "has(self.entry) != has(self.existing)";
        assert_eq!(holds(one, &json!({"entry": "a"}), None), Ok(true));
        assert_eq!(holds(one, &json!({"entry": "a", "existing": "b"}), None), Ok(false));
        let either = "!has(self.subject) || has(self.entry)";
        assert_eq!(holds(either, &json!({"subject": {}}), None), Ok(false));
        assert_eq!(holds(either, &json!({}), None), Ok(true));
        let same = "self == oldSelf";
        assert!(Program::parse(same).unwrap().is_transition());
        assert_eq!(holds(same, &json!(1), Some(&json!(2))), Ok(false));
    }

    /// Whoever writes a definition writes its rules.
    #[test]
    fn a_rule_without_end_is_refused() {
        for part in ["!", "(", "true || ", "self == self && "] {
            let refused = Program::parse(&format!("{}true", part.repeat(100_000))).err();
            assert!(refused.is_some_and(|why| why.contains("tokens")), "{part}");
        }
        assert!(Program::parse(&format!("{}true", "!".repeat(100))).is_ok());
    }

    /// A rule of OpenShift's Route.
    #[test]
    fn a_side_that_decides_does_so_alone() {
        let rule = "!(has(self.termination) && has(self.insecure)) || \
                    !((self.termination=='passthrough') && (self.insecure=='Allow'))";
        assert_eq!(holds(rule, &json!({}), None), Ok(true));
        assert_eq!(holds(rule, &json!({"termination": "passthrough"}), None), Ok(true));
        let both = json!({"termination": "passthrough", "insecure": "Allow"});
        assert_eq!(holds(rule, &both, None), Ok(false));
        assert_eq!(holds("self.a > 1 || self.b == 'x'", &json!({"b": "x"}), None), Ok(true));
    }

    #[test]
    fn what_fails_is_told_as_the_real_server_does() {
        let absent = Failure::NoSuchKey("a".to_owned());
        assert_eq!(holds("self.a > 1", &json!({}), None), Err(absent.clone()));
        assert_eq!(holds("has(self.a.b)", &json!({"a": null}), None), Err(absent.clone()));
        assert_eq!(absent.detail("a is large"), "no such key: a evaluating rule: a is large");
        assert_eq!(holds("self.a > 1", &json!({"a": "b"}), None), Err(Failure::NoSuchOverload));
        assert_eq!(holds("self.a < 'c' && size(self.a) == 1", &json!({"a": "b"}), None), Ok(true));
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (rule, named) in [
            ("self.all(x, x > 1)", "`all`"),
            ("self.name.matches('^a')", "`matches`"),
            ("self.size() < 3", "`size`"),
            ("self.list[0] == 1", "`[`"),
            ("self.a in ['b']", "`in`"),
            ("self.a ? true : false", "`?`"),
            ("self.a + 1 == 2", "`+`"),
            ("self.a == 1.5", "`.`"),
            ("self.a == null", "`null`"),
            (r"self.a == 'a\n'", r"'a\n'"),
            ("self.my__dash__name == 1", "`my__dash__name`"),
            ("has(this.a)", "`this`"),
            ("has(self)", "`has`"),
            ("self.a ==", "its end"),
            ("'open", "'open"),
        ] {
            let told = Program::parse(rule).unwrap_err();
            assert!(told.contains(named), "{rule}: {told}");
        }
    }
}
