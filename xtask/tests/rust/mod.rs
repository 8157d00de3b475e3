//! The project's Rust sources as tokens: what stands in a comment, in a text, in a macro or over several lines is told apart.

use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The Rust files below these folders, as paths from the root, sorted.
pub(crate) fn files(folders: &[&str]) -> Vec<String> {
    let (mut open, mut found) =
        (folders.iter().map(|folder| root().join(folder)).collect::<Vec<_>>(), Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// A file's tokens.
pub(crate) fn tokens(path: &str) -> TokenStream {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A part of a source, with its attributes beside it.
enum Part {
    /// Of `#[...]` and `#![...]`: what is in the brackets.
    Attribute(TokenStream),
    Other(TokenTree),
}

fn parts(tokens: TokenStream) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut begun = false;
    for tree in tokens {
        match tree {
            TokenTree::Punct(p) if p.as_char() == '#' => begun = true,
            TokenTree::Punct(p) if p.as_char() == '!' && begun => {}
            TokenTree::Group(g) if g.delimiter() == Delimiter::Bracket && begun => {
                parts.push(Part::Attribute(g.stream()));
                begun = false;
            }
            other => {
                parts.push(Part::Other(other));
                begun = false;
            }
        }
    }
    parts
}

/// Every attribute, at whatever depth, also of what a macro makes.
pub(crate) fn attributes(tokens: TokenStream) -> Vec<TokenStream> {
    let of_part = |part| match part {
        Part::Attribute(attribute) => vec![attribute],
        Part::Other(TokenTree::Group(group)) => attributes(group.stream()),
        Part::Other(_) => Vec::new(),
    };
    parts(tokens).into_iter().flat_map(of_part).collect()
}

/// The words of some tokens, at whatever depth.
pub(crate) fn words(tokens: TokenStream) -> Vec<String> {
    let of_tree = |tree| match tree {
        TokenTree::Ident(word) => vec![word.to_string()],
        TokenTree::Group(group) => words(group.stream()),
        _ => Vec::new(),
    };
    tokens.into_iter().flat_map(of_tree).collect()
}

/// The texts of a source, without those of attributes and of what is only there for tests.
pub(crate) fn texts(tokens: TokenStream) -> Vec<String> {
    let mut texts = Vec::new();
    let mut for_tests = false;
    for part in parts(tokens) {
        match part {
            Part::Attribute(attribute) => for_tests |= words(attribute) == ["cfg", "test"],
            // The end of the item.
            Part::Other(TokenTree::Group(g)) if for_tests && g.delimiter() == Delimiter::Brace => {
                for_tests = false
            }
            Part::Other(TokenTree::Punct(p)) if for_tests && p.as_char() == ';' => for_tests = false,
            Part::Other(_) if for_tests => {}
            Part::Other(TokenTree::Group(group)) => texts.extend(self::texts(group.stream())),
            Part::Other(TokenTree::Literal(literal)) => texts.extend(text(&literal.to_string())),
            Part::Other(_) => {}
        }
    }
    texts
}

/// What a literal that is a text has between its quotes.
pub(crate) fn text(literal: &str) -> Option<String> {
    Some(literal.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}
