//! The verdict for people.

use super::Verdict;
use super::firewall::{Group, Judged, Side};

/// A way a paragraph: what becomes of it, then each side with the rules that say so.
pub(super) fn told(verdict: &Verdict) -> String {
    let mut text = String::new();
    for way in &verdict.ways {
        let result = if way.allowed { "passes" } else { "is denied" };
        text += &format!(
            "{} ({}) to {} ({}) {}/{} {result}\n",
            verdict.from, way.source, verdict.to, way.destination, verdict.port, verdict.protocol
        );
        text += &side(&format!("out of {}", verdict.from), &way.egress, ("├─", "│ "));
        text += &side(&format!("into {}", verdict.to), &way.ingress, ("└─", "  "));
    }
    verdict.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    text
}

/// One side, and below it the rules: those that let it pass, or of a side that denies it all.
fn side(place: &str, side: &Side, (branch, below): (&str, &str)) -> String {
    if let Some(always) = side.always {
        return format!("{branch} {place}: passes: {always}\n");
    }
    let rules = |wanted: fn(&Judged) -> bool| {
        let of = move |group: &Group| {
            let all = group.rules.iter().filter(move |rule| wanted(rule));
            all.map(|rule| line(group, rule)).collect::<Vec<String>>()
        };
        side.groups.iter().flat_map(of).collect::<Vec<String>>()
    };
    let (result, lines) = match (side.allowed, side.groups.is_empty()) {
        (true, _) => ("passes", rules(Judged::lets)),
        (false, true) => ("denied: the port carries no group", Vec::new()),
        (false, false) => ("denied: no rule of its groups lets it pass", rules(|_| true)),
    };
    let silent = side.groups.iter().filter(|group| !side.allowed && group.rules.is_empty());
    let silent = silent.map(|group| format!("{group}: no rule of this direction and IP version"));
    let lines = lines.into_iter().chain(silent);
    let mut text = format!("{branch} {place}: {result}\n");
    lines.for_each(|line| text += &format!("{below}    {line}\n"));
    text
}

fn line(group: &Group, rule: &Judged) -> String {
    match rule.lets() {
        true => format!("{group}: {}", rule.rule),
        false => format!("{group}: {}: {}", rule.rule, rule.misses.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::firewall::Way;
    use super::*;

    #[test]
    fn says_what_lets_it_pass_and_what_each_rule_misses() {
        let rule = |rule: &str, misses: &[&str]| Judged {
            id: "r".into(),
            rule: rule.into(),
            misses: misses.iter().map(|miss| (*miss).to_owned()).collect(),
        };
        let group = |owner: Option<&str>, rules| Group {
            id: "g".into(),
            name: "open".into(),
            owner: owner.map(Into::into),
            rules,
        };
        let egress = Side {
            allowed: true,
            always: None,
            groups: vec![group(None, vec![rule("any protocol to anybody", &[])])],
        };
        let other = rule("TCP port 80 from 10.0.0.0/8", &["the port differs"]);
        let ingress = Side {
            allowed: false,
            always: None,
            groups: vec![group(Some("NetworkPolicy shop/web"), vec![other]), group(None, Vec::new())],
        };
        let (source, destination) = ("10.0.0.5".parse().unwrap(), "10.0.0.7".parse().unwrap());
        let verdict = Verdict {
            from: "shop/client".into(),
            to: "shop/web".into(),
            protocol: "tcp".into(),
            port: 8080,
            allowed: false,
            ways: vec![Way { source, destination, allowed: false, egress, ingress }],
            notes: vec!["the port of shop/web is DOWN: nothing is behind it".into()],
        };
        let expected = "\
shop/client (10.0.0.5) to shop/web (10.0.0.7) 8080/tcp is denied
├─ out of shop/client: passes
│     group open: any protocol to anybody
└─ into shop/web: denied: no rule of its groups lets it pass
      NetworkPolicy shop/web: TCP port 80 from 10.0.0.0/8: the port differs
      group open: no rule of this direction and IP version
note: the port of shop/web is DOWN: nothing is behind it
";
        assert_eq!(told(&verdict), expected);
    }
}
