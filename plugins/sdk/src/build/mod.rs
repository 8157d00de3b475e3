//! Constructors and setters for the records of the contract. A constructor takes what has no default.

mod load_balancing;
mod networking;
mod types;
pub(crate) mod values;

pub use crate::records::types::Manifest;
pub use types::IntoDesired;

/// Setters of a record: `option` fields that become `Some`, `list` fields that get one more element, `flag` fields that become
/// true. Each is named after its field (a list's after one element).
macro_rules! setters {
    ($record:ident {
        $(option $option:ident: $optional:ty;)*
        $(list $list:ident as $one:ident: $element:ty;)*
        $(flag $flag:ident;)*
    }) => {
        impl $record {
            $(
                #[doc = concat!("Sets [`", stringify!($record), "::", stringify!($option), "`].")]
                #[must_use]
                pub fn $option(mut self, value: impl Into<$optional>) -> Self {
                    self.$option = Some(value.into());
                    self
                }
            )*
            $(
                #[doc = concat!("Adds to [`", stringify!($record), "::", stringify!($list), "`].")]
                #[must_use]
                pub fn $one(mut self, value: impl Into<$element>) -> Self {
                    self.$list.push(value.into());
                    self
                }
            )*
            $(
                #[doc = concat!("Sets [`", stringify!($record), "::", stringify!($flag), "`].")]
                #[must_use]
                pub fn $flag(mut self) -> Self {
                    self.$flag = true;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;
