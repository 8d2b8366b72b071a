//! Where text can be cut without changing what merges make of it.
//!
//! SentencePiece vocabularies join characters over the whole text, but hardly any token goes on with a space after
//! something else: where no token has `▁` behind some character, nothing ever joins across such a place. Cutting
//! there keeps runs short, and so the heap small; the tokens are the same.

use alloc::vec::Vec;

use super::vocab::Vocab;
use crate::order::sort_few;

const SPACE: char = '▁';

/// The characters that stand before a `▁` inside some token.
#[derive(Debug)]
pub(super) struct Words {
    before_space: Vec<char>,
}

impl Words {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let names = (0..vocab.len() as u32).map(|id| vocab.name(id));
        let mut before_space: Vec<char> = names
            .filter(|name| name.windows(3).skip(1).any(|bytes| bytes == "▁".as_bytes()))
            .filter_map(|name| core::str::from_utf8(name).ok())
            .flat_map(|name| name.chars().zip(name.chars().skip(1)))
            .filter_map(|(before, c)| (c == SPACE && before != SPACE).then_some(before))
            .collect();
        sort_few(&mut before_space, |a, b| a < b);
        before_space.dedup();
        Self { before_space }
    }

    /// The parts of `text` that join only within themselves.
    pub(super) fn split<'t>(&self, mut text: &'t str) -> impl Iterator<Item = &'t str> {
        core::iter::from_fn(move || {
            let (word, rest) = text.split_at(self.first(text));
            text = rest;
            (!word.is_empty()).then_some(word)
        })
    }

    /// Bytes of the first word.
    fn first(&self, text: &str) -> usize {
        let mut before = SPACE;
        for (at, c) in text.char_indices() {
            if c == SPACE && before != SPACE && self.before_space.binary_search(&before).is_err() {
                return at;
            }
            before = c;
        }
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_start_with_spaces_unless_a_token_goes_on() {
        let words = Words { before_space: alloc::vec!['>'] };
        let parts: Vec<&str> = words.split("▁▁a▁b>▁c▁▁▁d▁").collect();
        assert_eq!(parts, ["▁▁a", "▁b>▁c", "▁▁▁d", "▁"]);
        assert_eq!(words.split("").count(), 0);
    }
}
