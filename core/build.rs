//! Packs what tokenizers ask of Unicode: tables that know more are 85 KB of a module for browsers.

use std::path::Path;
use std::{env, fs};

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::char::decompose_canonical;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    let tables = categories() + &first_parts();
    fs::write(Path::new(&out).join("unicode.rs"), tables).expect("cargo's folder takes it");
}

/// Of every 256 characters the number of a block; the blocks, two categories in a byte.
fn categories() -> String {
    let (mut index, mut blocks) = (Vec::new(), Vec::new());
    for start in (0..=u32::from(char::MAX)).step_by(256) {
        let category = |at| char::from_u32(start + at).map_or(OTHER, category);
        let block: Vec<u8> = (0..128).map(|i| category(2 * i) | category(2 * i + 1) << 4).collect();
        index.push(blocks.iter().position(|known| *known == block).unwrap_or(blocks.len()));
        if index.last() == Some(&blocks.len()) {
            blocks.push(block);
        }
    }
    let (n, n_blocks) = (index.len(), blocks.len());
    format!("static INDEX: [u8; {n}] = {index:?};\nstatic BLOCKS: [[u8; 128]; {n_blocks}] = {blocks:?};\n")
}

/// Pairs of a character and the first of its decomposition, where that is another. Hangul follows a rule.
fn first_parts() -> String {
    let mut pairs = Vec::new();
    for c in ('\0'..=char::MAX).filter(|c| !('가'..='힣').contains(c)) {
        let mut first = None;
        decompose_canonical(c, |part| first = first.or(Some(part)));
        pairs.extend(first.filter(|&first| first != c).map(|first| (u32::from(c), u32::from(first))));
    }
    format!("static FIRST_PARTS: [(u32, u32); {}] = {pairs:?};\n", pairs.len())
}

const OTHER: u8 = 8;

/// The number of a character's `Category`.
fn category(c: char) -> u8 {
    use GeneralCategory as G;
    match get_general_category(c) {
        G::UppercaseLetter | G::TitlecaseLetter => 0,
        G::LowercaseLetter => 1,
        G::ModifierLetter | G::OtherLetter => 2,
        G::NonspacingMark | G::SpacingMark | G::EnclosingMark => 3,
        G::DecimalNumber | G::LetterNumber | G::OtherNumber => 4,
        G::ConnectorPunctuation
        | G::DashPunctuation
        | G::OpenPunctuation
        | G::ClosePunctuation
        | G::InitialPunctuation
        | G::FinalPunctuation
        | G::OtherPunctuation => 5,
        G::MathSymbol | G::CurrencySymbol | G::ModifierSymbol | G::OtherSymbol => 6,
        G::Control | G::Format | G::PrivateUse => 7,
        _ => OTHER,
    }
}
