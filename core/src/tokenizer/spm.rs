//! SentencePiece BPE (`llama`): merges by score.
//!
//! Spaces become `▁`. Starting from characters, the neighbours whose joined text is the token with the highest score
//! are joined, again and again. A character without a token becomes the tokens `<0xNN>` of its bytes.
//!
//! Source: Kudo, Richardson 2018 (SentencePiece); the details are llama.cpp's.

use alloc::vec::Vec;

use super::merge::{Join, Joins, Merger, NO_TOKEN, Part};
use super::vocab::Vocab;
use super::words::Words;
use super::{escape_spaces, pieces};
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Spm {
    words: Words,
    byte_tokens: [Option<u32>; 256],
    unknown: Option<u32>,
}

/// Where the file wants a space before each text that follows a special token or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpacePrefix {
    Put,
    Omit,
}

struct ByScore<'a> {
    vocab: &'a Vocab,
    text: &'a [u8],
}

impl Joins for ByScore<'_> {
    fn join(&self, left: Part, right: Part) -> Option<Join> {
        let token = self.vocab.find(&self.text[left.start as usize..right.end as usize])?;
        Some(Join { priority: !ordered(self.vocab.scores()[token as usize]), token })
    }
}

/// Numbers in the order of scores; both zeros are equal.
fn ordered(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

impl Spm {
    pub(super) fn new(vocab: &Vocab, unknown: Option<u32>) -> Result<Self> {
        if vocab.scores().is_empty() {
            let what = "the file has no scores, which this kind of tokenizer merges by";
            return Err(Error::new(ErrorKind::Missing, what).at_key("tokenizer.ggml.scores"));
        }
        Ok(Self { words: Words::new(vocab), byte_tokens: vocab.byte_tokens(), unknown })
    }

    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        prefix: SpacePrefix,
        text: &str,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) {
        let text = escape_spaces(if prefix == SpacePrefix::Put { "▁" } else { "" }, text);
        for word in pieces(&text).flat_map(|piece| self.words.split(piece)) {
            merger.begin(word.chars().count());
            for (at, c) in word.char_indices() {
                let character = &word[at..at + c.len_utf8()];
                merger.push(character.len(), vocab.find(character.as_bytes()).unwrap_or(NO_TOKEN));
            }
            let bytes = word.as_bytes();
            merger.run(&ByScore { vocab, text: bytes }, |part| match part.token {
                NO_TOKEN => {
                    let lost = &bytes[part.start as usize..part.end as usize];
                    out.extend(
                        lost.iter().filter_map(|&b| self.byte_tokens[usize::from(b)].or(self.unknown)),
                    );
                }
                token => out.push(token),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ordered;

    #[test]
    fn scores_keep_their_order() {
        let scores = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 3.0, f32::INFINITY];
        assert!(scores.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }
}
