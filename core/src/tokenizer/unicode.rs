//! What Unicode says of a character, as far as tokenizers ask. `build.rs` packs the tables.

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
        let pair = BLOCKS[usize::from(INDEX[code / 256])][code % 256 / 2];
        Self::ALL[usize::from(if code.is_multiple_of(2) { pair & 15 } else { pair >> 4 })]
    }
}

/// The first character of the canonical decomposition.
pub(super) fn first_part(c: char) -> char {
    let code = u32::from(c);
    let part = match FIRST_PARTS.binary_search_by_key(&code, |&(from, _)| from) {
        Ok(i) => FIRST_PARTS[i].1,
        // Of a syllable of Hangul the leading consonant: 588 syllables have the same.
        Err(_) if ('가'..='힣').contains(&c) => 0x1100 + (code - u32::from('가')) / 588,
        Err(_) => code,
    };
    char::from_u32(part).unwrap_or(c)
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
        }
    }
}
