//! Requests that look.

use serde_json::Value;

use super::{KINDS, NOBODY, Network, Request, request};
use crate::random::Random;

impl Network {
    pub(super) fn read(&mut self, random: &mut Random) -> Request {
        let kind = random.of(&KINDS);
        let id = self.some(kind, random);
        if random.below(3) > 0 {
            let fields = random.of(&["", "", "?fields=id&fields=name", "?fields=x"]);
            return request("GET", format!("/{kind}/{id}{fields}"), Value::Null);
        }
        // Of its own: there is more in the real cloud.
        let own: Vec<String> =
            self.made.iter().filter(|(k, _)| *k == kind).map(|(_, id)| format!("id={id}")).take(9).collect();
        let mut query = if own.is_empty() { vec![format!("id={NOBODY}")] } else { own };
        let other = self.some("networks", random);
        for _ in 0..=random.below(2) {
            // Two filters by tags at once the real one answers with 500.
            let tagged = query.iter().any(|asked| asked.contains("tags"));
            query.push(match random.below(9) {
                0 => format!("id={id}"),
                1 => "name=conformance-7".to_owned(),
                2 if kind != "address-groups" && !tagged => random
                    .of(&["tags=a", "tags=a,b", "tags-any=a,c", "not-tags=a", "not-tags-any=b"])
                    .to_owned(),
                3 if kind == "ports" => format!("network_id={other}"),
                4 if kind == "ports" => "device_owner=isthmus:pod".to_owned(),
                5 => "fields=name".to_owned(),
                6 => random.of(&["bogus=1", "limit=x", "sort_key=bogus&sort_dir=asc"]).to_owned(),
                7 => "description=d".to_owned(),
                _ => "sort_key=name&sort_dir=desc".to_owned(),
            });
        }
        request("GET", format!("/{kind}?{}", query.join("&")), Value::Null)
    }
}
