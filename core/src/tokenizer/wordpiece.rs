//! WordPiece (`bert`): the longest tokens, word by word.
//!
//! Text is cleaned, lower-cased and stripped of accents, then cut at white space, around punctuation and around
//! Chinese characters. Inside a word the longest token that fits is taken, from left to right; a word that cannot be
//! cut, or is longer than any, is unknown as a whole. GGUF writes a token that starts a word as `▁x`, and `##x` as plain `x`.
//!
//! Source: Devlin et al. 2018. Accents go as in llama.cpp: of a character's decomposition the first character stays,
//! and marks of any kind are dropped. The published `BertNormalizer` keeps the rest of a decomposition and the marks
//! that take up space, which matters for Hangul and Indic scripts.

use alloc::string::String;
use alloc::vec::Vec;

use super::pre::class::{Class, class};
use super::table::Hasher;
use super::unicode::{Category, first_part, push_lower};
use super::vocab::Vocab;
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::File;

/// Longest word, in characters (`max_input_chars_per_word` of every published model).
const MAX_WORD: usize = 100;

#[derive(Debug)]
pub(super) struct WordPiece {
    case: Case,
    accents: Accents,
    unknown: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Keep,
    Lower,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accents {
    Keep,
    Strip,
}

impl WordPiece {
    pub(super) fn new(file: &File, unknown: Option<u32>) -> Result<Self> {
        let unknown = unknown.ok_or_else(|| {
            Error::new(ErrorKind::Missing, "the file has no token for unknown words")
                .at_key("tokenizer.ggml.unknown_token_id")
        })?;
        let lower = file.bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(true);
        let strip = file.bool("tokenizer.ggml.normalizer.strip_accents")?.unwrap_or(lower);
        Ok(Self {
            case: if lower { Case::Lower } else { Case::Keep },
            accents: if strip { Accents::Strip } else { Accents::Keep },
            unknown,
        })
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let mut words = Words { piece: self, vocab, out, word: String::new() };
        for c in text.chars().filter(|&c| !is_dropped(c)) {
            match self.accents {
                Accents::Keep => words.push(c),
                Accents::Strip => {
                    let bare = first_part(c);
                    if class(bare) != Class::Mark {
                        words.push(bare);
                    }
                }
            }
        }
        words.end();
    }

    /// Takes the longest tokens of `word`, which starts with `▁`; all of it is unknown if some part is.
    fn cut(&self, vocab: &Vocab, word: &str, out: &mut Vec<u32>) {
        if word.chars().nth(MAX_WORD + 1).is_some() {
            return out.push(self.unknown);
        }
        let first = out.len();
        let mut rest = word;
        while !rest.is_empty() {
            let mut longest = None;
            let mut hasher = Hasher::new();
            for (at, c) in rest.char_indices() {
                let end = at + c.len_utf8();
                if end > vocab.longest() {
                    break;
                }
                hasher = hasher.and(&rest.as_bytes()[at..end]);
                if let Some(token) = vocab.find_hashed(hasher.finish(), &rest.as_bytes()[..end]) {
                    longest = Some((token, end));
                }
            }
            let Some((token, end)) = longest else {
                out.truncate(first);
                return out.push(self.unknown);
            };
            out.push(token);
            rest = &rest[end..];
        }
    }
}

/// Collects characters into words, and cuts each as it ends.
struct Words<'a> {
    piece: &'a WordPiece,
    vocab: &'a Vocab,
    out: &'a mut Vec<u32>,
    word: String,
}

impl Words<'_> {
    fn push(&mut self, c: char) {
        let alone = is_alone(c);
        if alone || c.is_whitespace() {
            self.end();
        }
        if c.is_whitespace() {
            return;
        }
        if self.word.is_empty() {
            self.word.push('▁');
        }
        match self.piece.case {
            Case::Lower => push_lower(c, &mut self.word),
            Case::Keep => self.word.push(c),
        }
        if alone {
            self.end();
        }
    }

    fn end(&mut self) {
        if !self.word.is_empty() {
            self.piece.cut(self.vocab, &self.word, self.out);
            self.word.clear();
        }
    }
}

/// Control characters that are no white space, and what stands for broken text.
fn is_dropped(c: char) -> bool {
    c == '\u{fffd}' || !c.is_whitespace() && Category::of(c) == Category::Unseen
}

/// Characters that are words of their own: punctuation and Chinese.
fn is_alone(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(
            u32::from(c),
            0x4e00..=0x9fff
                | 0x3400..=0x4dbf
                | 0x20000..=0x2a6df
                | 0x2a700..=0x2b73f
                | 0x2b740..=0x2b81f
                // The published normalizer starts this block late.
                | 0x2b920..=0x2ceaf
                | 0xf900..=0xfaff
                | 0x2f800..=0x2fa1f
        )
        || !c.is_ascii() && class(c) == Class::Punctuation
}
