//! The tokens of a file: names, kinds and scores by id, ids by name.
//!
//! Names stay in the file; a token costs 8 bytes here, and about 20 in the table of names. What the file says about
//! them is checked once: arrays of equal length, ids in range, names that differ, scores that compare.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::names;
use super::table::{Collisions, Hasher, Table};
use crate::bytes::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::{Array, File, ValueType};

/// The longest name, in bytes. Real vocabularies have runs of a few hundred spaces; a bound on what a hostile one can
/// make every character of a text cost.
const MAX_NAME: usize = 4096;

/// What a token is for. Numbers as in `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of text.
    Normal,
    /// Stands for text that has no token.
    Unknown,
    /// Says something about the text (`<s>`, `<|im_end|>`); never part of it.
    Control,
    /// A piece of text that is found before everything else and never split.
    UserDefined,
    /// A name that the model was not trained on.
    Unused,
    /// One byte, called `<0xNN>`.
    Byte,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            // 0 is "undefined": written by early converters for padding.
            0 | 5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// Where a token's name lies.
#[derive(Debug, Clone, Copy)]
struct Token {
    /// From [`Vocab::base`].
    start: u32,
    len: u16,
    kind: Kind,
}

/// All tokens of a file.
#[derive(Debug)]
pub(super) struct Vocab {
    bytes: Bytes,
    /// Where the first name starts in the file.
    base: usize,
    tokens: Vec<Token>,
    by_name: Table,
    /// Log probabilities or merge scores; empty where the file has none.
    scores: Vec<f32>,
    longest: usize,
}

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";

impl Vocab {
    pub(super) fn new(file: &File) -> Result<Self> {
        let names = strings(file, TOKENS)?
            .ok_or_else(|| Error::new(ErrorKind::Missing, "the file has no vocabulary").at_key(TOKENS))?;
        let n = names.len();
        if u32::try_from(n).is_err() || n == 0 {
            return Err(malformed(TOKENS, format!("found {n} tokens, expected 1 to {}", u32::MAX)));
        }
        let base = names.spans().next().map_or(0, |span| span.start);
        let mut vocab = Self {
            bytes: file.bytes().clone(),
            base,
            tokens: Vec::with_capacity(n),
            by_name: Table::new(n),
            scores: scores(file, n)?,
            longest: 0,
        };
        let mut kinds = kinds(file, n)?;
        for (id, span) in names.spans().enumerate() {
            let kind = kinds.next().unwrap_or(Ok(Kind::Normal))?;
            let token = match (u32::try_from(span.start - base), u16::try_from(span.len())) {
                (Ok(start), Ok(len)) if usize::from(len) <= MAX_NAME => Token { start, len, kind },
                _ => {
                    let what = format!("token {id} has {} bytes, expected at most {MAX_NAME}", span.len());
                    return Err(malformed(TOKENS, what));
                }
            };
            vocab.tokens.push(token);
            vocab.enter(id as u32)?;
        }
        drop(kinds);
        vocab.correct_kinds();
        Ok(vocab)
    }

    /// Puts a token's name into the table. Empty names are padding that no text can contain.
    fn enter(&mut self, id: u32) -> Result<()> {
        let name = self.name(id);
        if name.is_empty() {
            return Ok(());
        }
        let (hash, len) = (Hasher::new().and(name).finish(), name.len());
        if let Some(first) = self.find_hashed(hash, name) {
            let what =
                format!("token {id} is called `{}` as token {first} is", String::from_utf8_lossy(name));
            return Err(malformed(TOKENS, what));
        }
        self.longest = self.longest.max(len);
        self.by_name.insert(hash, id).map_err(|Collisions| {
            malformed(TOKENS, String::from("the names collide as if made to; no honest vocabulary does"))
        })
    }

    /// Tokens whose names say that they are control tokens are, whatever the converter wrote: chat models would
    /// otherwise never stop, and users could not write them as text.
    fn correct_kinds(&mut self) {
        let control = names::END_OF_GENERATION.iter().chain(names::FILL_IN_THE_MIDDLE);
        for name in control {
            self.set_kind(name, Kind::Control);
        }
        for name in names::HARMONY {
            self.set_kind(name, Kind::UserDefined);
        }
    }

    pub(super) fn set_kind(&mut self, name: &str, kind: Kind) {
        if let Some(id) = self.find(name.as_bytes()) {
            self.tokens[id as usize].kind = kind;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Bytes of the longest name.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// A token's name as the file has it.
    ///
    /// # Panics
    /// When `id` is out of range.
    pub(super) fn name(&self, id: u32) -> &[u8] {
        let token = &self.tokens[id as usize];
        let start = self.base + token.start as usize;
        &self.bytes[start..start + usize::from(token.len)]
    }

    /// # Panics
    /// When `id` is out of range.
    pub(super) fn kind(&self, id: u32) -> Kind {
        self.tokens[id as usize].kind
    }

    /// Scores by id; empty where the file has none.
    pub(super) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The token called `name`.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        if name.len() > self.longest {
            return None;
        }
        self.find_hashed(Hasher::new().and(name).finish(), name)
    }

    /// The token called `name`, whose hash the caller has.
    pub(super) fn find_hashed(&self, hash: u64, name: &[u8]) -> Option<u32> {
        self.by_name.find(hash, |id| self.name(id) == name)
    }

    /// The token called `left` and `right` together, whose hash the caller has.
    pub(super) fn find_joined(&self, hash: u64, left: &[u8], right: &[u8]) -> Option<u32> {
        self.by_name.find(hash, |id| self.is_joined(id, left, right))
    }

    /// Whether `id` is a token called `left` and `right` together.
    pub(super) fn is_joined(&self, id: u32, left: &[u8], right: &[u8]) -> bool {
        let len = left.len() + right.len();
        self.tokens.get(id as usize).is_some_and(|token| usize::from(token.len) == len)
            && self.name(id).starts_with(left)
            && self.name(id).ends_with(right)
    }

    /// The tokens for single bytes, found by their names `<0x00>` to `<0xFF>`.
    pub(super) fn byte_tokens(&self) -> [Option<u32>; 256] {
        let digit = |value: usize| b"0123456789ABCDEF"[value];
        core::array::from_fn(|byte| self.find(&[b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>']))
    }

    /// The id stored under `key`.
    pub(super) fn id_at(&self, file: &File, key: &str) -> Result<Option<u32>> {
        let Some(id) = file.u32(key)? else { return Ok(None) };
        if id as usize >= self.len() {
            return Err(malformed(key, format!("found token {id}, the vocabulary has {}", self.len())));
        }
        Ok(Some(id))
    }
}

/// An array of strings.
pub(super) fn strings<'a>(file: &'a File, key: &str) -> Result<Option<Array<'a>>> {
    match file.array(key)? {
        Some(array) if array.kind() != ValueType::Str && !array.is_empty() => {
            Err(malformed(key, format!("found an array of {:?}, expected strings", array.kind())))
        }
        other => Ok(other),
    }
}

fn scores(file: &File, n: usize) -> Result<Vec<f32>> {
    let Some(array) = file.array(SCORES)? else { return Ok(Vec::new()) };
    check_len(&array, SCORES, n)?;
    let score = |(id, value): (usize, crate::gguf::Value<'_>)| {
        let found = value.as_f32().or_else(|| value.as_u64().map(|n| n as f32));
        found.filter(|score| !score.is_nan()).ok_or_else(|| {
            malformed(SCORES, format!("found {value} as the score of token {id}, expected a number"))
        })
    };
    array.iter().enumerate().map(score).collect()
}

fn kinds<'a>(file: &'a File, n: usize) -> Result<impl Iterator<Item = Result<Kind>> + use<'a>> {
    let array = file.array(TYPES)?;
    if let Some(array) = &array {
        check_len(array, TYPES, n)?;
    }
    let kind = |(id, value): (usize, crate::gguf::Value<'_>)| {
        value.as_u64().and_then(Kind::from_number).ok_or_else(|| {
            malformed(TYPES, format!("found {value} as the type of token {id}, expected 0 to 6"))
        })
    };
    Ok(array.into_iter().flat_map(|array| array.iter()).enumerate().map(kind))
}

fn check_len(array: &Array<'_>, key: &str, n: usize) -> Result<()> {
    if array.len() == n {
        return Ok(());
    }
    Err(malformed(key, format!("found {} entries, expected one for each of {n} tokens", array.len())))
}

pub(super) fn malformed(key: &str, what: String) -> Error {
    Error::new(ErrorKind::Malformed, what).at_key(key)
}
