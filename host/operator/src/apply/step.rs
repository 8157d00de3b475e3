//! One operation of a plan, with everything that it needs.

use std::collections::BTreeSet;

use isthmus_model::desired::{DESCRIPTION, DISPLAY_NAME, Entry};
use isthmus_model::mark::Mark;
use isthmus_model::object::Subject;
use isthmus_model::observed::Observed;
use isthmus_model::plan::{Below, Operation};
use isthmus_model::retained::Retained;
use tokio::sync::Mutex;

use crate::cloud::{Create, Fields, Update};
use crate::error::ReconcileError;
use crate::session::Session;

/// What an operation answered.
pub(super) enum Done {
    Changed(Box<Observed>),
    /// A resource with what is below it; the rest of that is to be made by itself.
    Tree(Vec<Observed>),
    Adopted(Box<Observed>),
    /// Ids of what is there no more, or no longer ours.
    Gone(Vec<String>),
    /// The same, and why the rest is there still.
    GoneInPart(Vec<String>, ReconcileError),
}

/// An operation with everything that it needs.
pub(super) enum Step<'a> {
    Create(Create<'a>),
    CreateTree(Create<'a>, Vec<Create<'a>>),
    Update(&'a Entry, Mark, Box<Observed>, Set<'a>),
    Remark(&'a Entry, Mark, Box<Observed>),
    Adopt(Box<Observed>),
    Delete(&'a Operation, String),
    DeleteTree(&'a str, &'a [Below]),
    Retain(&'a Operation, Box<Observed>),
}

/// What an update sets.
pub(super) struct Set<'a> {
    /// Names of all that changes.
    pub(super) names: &'a BTreeSet<String>,
    pub(super) fields: Fields,
    /// The name in the cloud, should that change.
    pub(super) name: String,
}

impl Step<'_> {
    /// Does it. `ahead`: of a subject one thing at a time is recorded before it is made.
    pub(super) async fn run(
        self,
        session: &Session,
        subject: &Subject,
        ahead: &Mutex<()>,
    ) -> Result<Done, ReconcileError> {
        let cloud = &session.cloud;
        match self {
            Self::Create(create) => {
                let driver = cloud.driver(create.entry.kind)?;
                let id = driver.ahead(&create).await?;
                if let Some(id) = &id {
                    let _alone = ahead.lock().await;
                    session.record_ahead(subject, create.entry, id).await?;
                }
                let create = Create { ahead: id, ..create };
                Ok(Done::Changed(Box::new(driver.create(create).await?)))
            }
            Self::CreateTree(root, below) => {
                Ok(Done::Tree(cloud.create_tree(&session.cluster, root, below).await?))
            }
            Self::Update(entry, mark, observed, set) => {
                let named = |name: &str| set.names.contains(name);
                let (tags, description) = (named("tags"), named(DESCRIPTION));
                let update = Update {
                    entry,
                    mark,
                    observed: &observed,
                    tags,
                    remark: false,
                    name: named(DISPLAY_NAME).then_some(set.name),
                    description: description.then(|| entry.description.clone().unwrap_or_default()),
                    fields: set.fields,
                };
                let driver = cloud.driver(entry.kind)?;
                Ok(Done::Changed(Box::new(driver.update(update).await?)))
            }
            Self::Remark(entry, mark, observed) => {
                let (fields, name, description) = (Fields::new(), None, None);
                let (tags, remark) = (false, true);
                let update =
                    Update { entry, mark, observed: &observed, fields, tags, remark, name, description };
                let driver = cloud.driver(entry.kind)?;
                Ok(Done::Changed(Box::new(driver.update(update).await?)))
            }
            Self::Adopt(observed) => Ok(Done::Adopted(observed)),
            Self::Delete(operation, id) => {
                cloud.driver(operation.kind)?.delete(&id).await?;
                Ok(Done::Gone(vec![id]))
            }
            Self::DeleteTree(id, below) => {
                let (gone, done) = cloud.delete_tree(id, below).await;
                Ok(match done {
                    Ok(()) => Done::Gone(gone),
                    Err(error) => Done::GoneInPart(gone, error.into()),
                })
            }
            Self::Retain(operation, observed) => {
                let retained = Retained::new(&session.cluster, &subject.key, &operation.name);
                cloud.driver(operation.kind)?.retain(&observed, &retained).await?;
                Ok(Done::Gone(vec![observed.id]))
            }
        }
    }
}
