//! The pure core of Isthmus: what is desired, what was recorded, what is observed, and the plan from one to the other.
//!
//! This crate must not know Kubernetes clients, OpenStack clients, WebAssembly, files, sockets, clocks, randomness or
//! async. Everything here is a value or a function of values, so that it can be tested by properties and run anywhere.
//!
//! | module | holds |
//! |---|---|
//! | [`object`] | names of Kubernetes objects and kinds; the subject |
//! | [`selector`], [`projection`] | label selectors; the field paths that a module is given |
//! | [`snapshot`] | the view of the cluster that a mapping reads, and the record of what it read |
//! | [`manifest`], [`outcome`] | what a module says about itself; why there is no list |
//! | [`value`], [`desired`], [`kinds`] | desired resources, and per kind which fields may change in place |
//! | [`record`], [`observed`], [`plan`] | what we made, what the cloud says, and the ordered operations between |
//! | [`deps`], [`sets`], [`members`] | which subjects a change can touch; sets of addresses that are named, not listed |
//! | [`mark`], [`retry`], [`condition`] | ownership marks, retry classes, conditions |
//! | [`fair`] | who has a place next, of those that wait |
//! | [`address`], [`text`] | addresses and prefixes as text; text from outside, and how much of it is shown |
#![warn(missing_docs)]

pub mod address;
pub mod condition;
pub mod deps;
pub mod desired;
pub mod difference;
pub mod fair;
pub mod hash;
pub mod kinds;
pub mod manifest;
pub mod mark;
pub mod members;
pub mod nested;
pub mod object;
pub mod observed;
mod order;
pub mod outcome;
pub mod plan;
pub mod projection;
pub mod record;
pub mod retained;
pub mod retry;
mod rules;
pub mod security_rule;
pub mod selector;
pub mod sets;
pub mod snapshot;
pub mod text;
pub mod value;
