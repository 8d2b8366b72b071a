//! Packs what tokenizers ask of Unicode: tables that know more are 85 KB of a module for browsers.

use std::fmt::Debug;
use std::path::Path;
use std::{env, fs};

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::char::decompose_canonical;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    let tables = categories() + &first_parts() + &lower_cases();
    fs::write(Path::new(&out).join("unicode.rs"), tables).expect("cargo's folder takes it");
}

/// A table's text.
fn table(name: &str, kind: &str, items: &[impl Debug]) -> String {
    format!("static {name}: [{kind}; {}] = {items:?};\n", items.len())
}

/// Of every 512 characters the number of a row, of 32 numbers of blocks, of 16 categories, two in a byte.
fn categories() -> String {
    let codes: Vec<u32> = (0..=u32::from(char::MAX)).collect();
    let category = |&code: &u32| char::from_u32(code).map_or(OTHER, category);
    let pairs: Vec<u8> = codes.chunks(2).map(|pair| category(&pair[0]) | category(&pair[1]) << 4).collect();
    let (blocks, numbers) = distinct(&pairs, 8);
    let (rows, index) = distinct(&numbers, 32);
    table("INDEX", "u8", &index) + &table("ROWS", "[u16; 32]", &rows) + &table("BLOCKS", "[u8; 8]", &blocks)
}

/// The distinct pieces of a length in `all`, and of every piece which of those it is.
fn distinct<T: PartialEq>(all: &[T], length: usize) -> (Vec<&[T]>, Vec<usize>) {
    let mut pieces: Vec<&[T]> = Vec::new();
    let number = |piece| {
        pieces.iter().position(|known| *known == piece).unwrap_or_else(|| {
            pieces.push(piece);
            pieces.len() - 1
        })
    };
    let numbers = all.chunks(length).map(number).collect();
    (pieces, numbers)
}

/// Where a character is not the first of its decomposition, that one, in three bytes; and of every run of such neighbours
/// the first and its place in that list. Hangul follows a rule.
fn first_parts() -> String {
    let (mut runs, mut parts) = (Vec::new(), Vec::new());
    let mut end = 0;
    for c in ('\0'..=char::MAX).filter(|c| !('가'..='힣').contains(c)) {
        let mut first = None;
        decompose_canonical(c, |part| first = first.or(Some(part)));
        let (code, Some(first)) = (u32::from(c), first.filter(|&first| first != c)) else { continue };
        if code != end {
            runs.push((code, parts.len()));
        }
        end = code + 1;
        let [low, middle, high, _] = u32::from(first).to_le_bytes();
        parts.push([low, middle, high]);
    }
    table("FIRST_RUNS", "(u32, u16)", &runs) + &table("FIRST_PARTS", "[u8; 3]", &parts)
}

/// Runs of capitals that are as far from their small letters: the first, its small letter, how far behind the first the last is,
/// and whether all up to there are capitals (1) or every second (2). ASCII and `İ`, whose small letter is two characters, are not
/// among them.
fn lower_cases() -> String {
    let mut runs: Vec<(u32, u32, u32, u32)> = Vec::new();
    for c in '\u{80}'..=char::MAX {
        let mut small = c.to_lowercase();
        let (Some(small), None) = (small.next().filter(|&small| small != c), small.next()) else { continue };
        let (code, small) = (u32::from(c), u32::from(small));
        match runs.last_mut() {
            Some((first, its_small, last, step))
                if small.wrapping_sub(*its_small) == code - *first
                    && (code - *first == *last + *step || *last == 0 && code - *first == 2) =>
            {
                (*last, *step) = (code - *first, code - *first - *last);
            }
            _ => runs.push((code, small, 0, 1)),
        }
    }
    table("LOWER_CASES", "(u32, u32, u16, u16)", &runs)
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
