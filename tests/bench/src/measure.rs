//! A measure and its target.

use serde_json::json;

/// What is told of one measure.
#[derive(Debug)]
pub(crate) struct Measure<'a> {
    /// What is measured.
    pub(crate) name: &'a str,
    /// What is aimed at, as text; empty where nothing is.
    pub(crate) target: &'a str,
    /// What came out.
    pub(crate) measured: String,
    /// Whether that is what was aimed at; none where nothing is.
    pub(crate) met: Option<bool>,
    /// How it was measured, or what to keep in mind.
    pub(crate) note: String,
}

impl Measure<'_> {
    /// Prints it for `cargo xtask bench`.
    pub(crate) fn print(&self) {
        let Self { name, target, measured, met, note } = self;
        println!(
            "{}",
            json!({"measure": name, "target": target, "measured": measured, "met": met, "note": note})
        );
    }
}

/// Tells a person what goes on.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// `part / whole`, and 0 of nothing.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn ratio(part: u64, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
