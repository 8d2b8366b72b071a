//! What Unicode says of a character, as far as tokenizers ask. `build.rs` packs the tables.

use alloc::string::String;

/// General categories, of which nobody tells some apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    /// `Lu` and `Lt`.
    Upper,
    /// `Ll`.
    Lower,
    /// `Lm` and `Lo`.
    Letter,
    Mark,
    Number,
    Punctuation,
    Symbol,
    /// `Cc`, `Cf` and `Co`.
    Unseen,
    /// Separators, surrogates, and what has no meaning yet.
    Other,
}

impl Category {
    /// By the numbers in the tables.
    const ALL: [Self; 9] = [
        Self::Upper,
        Self::Lower,
        Self::Letter,
        Self::Mark,
        Self::Number,
        Self::Punctuation,
        Self::Symbol,
        Self::Unseen,
        Self::Other,
    ];

    pub(super) fn of(c: char) -> Self {
        let code = u32::from(c) as usize;
        let row = &ROWS[usize::from(INDEX[code / 512])];
        let pair = BLOCKS[usize::from(row[code % 512 / 16])][code % 16 / 2];
        Self::ALL[usize::from(if code.is_multiple_of(2) { pair & 15 } else { pair >> 4 })]
    }
}

/// The first character of the canonical decomposition.
pub(super) fn first_part(c: char) -> char {
    let code = u32::from(c);
    let part = if ('가'..='힣').contains(&c) {
        // Of a syllable of Hangul the leading consonant: 588 syllables have the same.
        Some(0x1100 + (code - u32::from('가')) / 588)
    } else {
        let (runs, later) = FIRST_RUNS.split_at(FIRST_RUNS.partition_point(|&(first, _)| first <= code));
        let end = later.first().map_or(FIRST_PARTS.len(), |&(_, place)| place.into());
        runs.last().and_then(|&(first, place)| {
            let &[low, middle, high] = FIRST_PARTS[place.into()..end].get((code - first) as usize)?;
            Some(u32::from_le_bytes([low, middle, high, 0]))
        })
    };
    part.and_then(char::from_u32).unwrap_or(c)
}

/// Appends the small letter of a capital, or else the character itself.
pub(super) fn push_lower(c: char, out: &mut String) {
    match c {
        '\0'..='\x7f' => out.push(c.to_ascii_lowercase()),
        'İ' => out.push_str("i\u{307}"),
        _ => out.push(lower(c).unwrap_or(c)),
    }
}

fn lower(c: char) -> Option<char> {
    let code = u32::from(c);
    let runs = &LOWER_CASES[..LOWER_CASES.partition_point(|&(first, ..)| first <= code)];
    let &(first, small, last, step) = runs.last()?;
    let at = code - first;
    let is_capital = at <= last.into() && at.is_multiple_of(step.into());
    char::from_u32(small + at).filter(|_| is_capital)
}

include!(concat!(env!("OUT_DIR"), "/unicode.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_general_category::get_general_category;
    use unicode_normalization::char::decompose_canonical;

    #[test]
    fn the_tables_say_of_every_character_what_unicode_says() {
        for c in '\0'..=char::MAX {
            let found = Category::of(c);
            let expected = match get_general_category(c).abbreviation() {
                "Lu" | "Lt" => Category::Upper,
                "Ll" => Category::Lower,
                "Cc" | "Cf" | "Co" => Category::Unseen,
                name => match name.as_bytes()[0] {
                    b'L' => Category::Letter,
                    b'M' => Category::Mark,
                    b'N' => Category::Number,
                    b'P' => Category::Punctuation,
                    b'S' => Category::Symbol,
                    _ => Category::Other,
                },
            };
            assert_eq!(found, expected, "{c:?}");
            let mut first = None;
            decompose_canonical(c, |part| first = first.or(Some(part)));
            assert_eq!(Some(first_part(c)), first, "{c:?}");
            let mut lower = String::new();
            push_lower(c, &mut lower);
            assert!(lower.chars().eq(c.to_lowercase()), "{c:?}: {lower:?}");
        }
    }
}
