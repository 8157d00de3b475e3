//! A port has one floating IP of a network: the one that goes makes way for the one that comes.

use super::Builder;
use crate::kinds::Kind;
use crate::plan::{Act, Operation};

impl Builder<'_> {
    /// What comes to lead to a port waits for what leads to one and goes.
    pub(super) fn make_way(&mut self) {
        let leads = |o: &Operation| matches!(o.kind, Kind::FloatingIp | Kind::FloatingIpAssociation);
        let goes = |o: &Operation| matches!(o.act, Act::Delete { replaced: false, .. } | Act::Retain { .. });
        let comes = |o: &Operation| match &o.act {
            Act::Create => true,
            Act::Update { fields, .. } => fields.contains("target"),
            _ => false,
        };
        let operations = self.plan.operations.iter().enumerate();
        let going: Vec<usize> = operations.filter(|(_, o)| leads(o) && goes(o)).map(|(at, _)| at).collect();
        let all = self.plan.operations.iter_mut().enumerate();
        for (at, operation) in all.filter(|(_, o)| leads(o) && comes(o)) {
            operation.after.extend(&going);
            // An entry may have to go over from the address of one to that of the other before.
            self.loose.extend(going.iter().map(|before| (at, *before)));
        }
    }
}
