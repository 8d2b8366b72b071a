//! Ranked merges: byte-level BPE (`gpt2`), and the same merges on characters (`gemma4`).
//!
//! The file lists pairs of tokens, best first. Inside a word, the pair of neighbours that stands earliest in the list
//! is joined, again and again. Byte-level vocabularies start from bytes, and words are what the pre-tokenizer cuts;
//! `gemma4` starts from characters, writes spaces as `▁` and cuts at line breaks only.
//!
//! Source: Sennrich, Haddow, Birch 2016; the details are GPT-2's, llama.cpp's for `gemma4`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::merge::{Join, Joins, Merger, NO_TOKEN, Part};
use super::pre::{self, Row, WholeWords};
use super::table::{Collisions, Hasher, Table, mix};
use super::vocab::{Vocab, malformed, strings};
use super::words::Words;
use super::{bytes, escape_spaces, pieces};
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::File;

const MERGES: &str = "tokenizer.ggml.merges";

/// The pairs that join, best first.
#[derive(Debug)]
struct Merges {
    pairs: Vec<Pair>,
    /// Positions in `pairs` by left and right token.
    by_pair: Table,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    left: u32,
    right: u32,
    joined: u32,
}

impl Merges {
    fn new(file: &File, vocab: &Vocab) -> Result<Self> {
        let merges = strings(file, MERGES)?
            .ok_or_else(|| Error::new(ErrorKind::Missing, "the file has no merges").at_key(MERGES))?;
        let n = merges.len();
        if u32::try_from(n).is_err() {
            return Err(malformed(MERGES, format!("found {n} merges, expected at most {}", u32::MAX)));
        }
        let mut found = Self { pairs: Vec::with_capacity(n), by_pair: Table::new(n) };
        let bytes: &[u8] = file.bytes();
        let mut last = 0;
        for (rank, span) in merges.spans().enumerate() {
            let merge = &bytes[span];
            let pair = Pair::parse(merge, vocab, last).map_err(|wrong| {
                let text = String::from_utf8_lossy(merge);
                malformed(MERGES, format!("merge {rank} is `{text}`: {wrong}"))
            })?;
            last = pair.joined;
            found.pairs.push(pair);
            // Where a pair is listed twice, the better rank counts.
            if found.find(pair.left, pair.right).is_none() {
                found.by_pair.insert(hash(pair.left, pair.right), rank as u32).map_err(|Collisions| {
                    malformed(MERGES, String::from("the merges collide as if made to; no honest ones do"))
                })?;
            }
        }
        Ok(found)
    }

    fn find(&self, left: u32, right: u32) -> Option<u32> {
        self.by_pair.find(hash(left, right), |rank| {
            let pair = &self.pairs[rank as usize];
            pair.left == left && pair.right == right
        })
    }
}

fn hash(left: u32, right: u32) -> u64 {
    mix(u64::from(left) << 32 | u64::from(right))
}

impl Pair {
    /// `left right`, separated by the first space that is not the first byte. `last` is what the merge before made:
    /// most vocabularies list tokens as merges made them, so the next one is tried before the table.
    fn parse(merge: &[u8], vocab: &Vocab, last: u32) -> Result<Self, &'static str> {
        let space = merge.iter().skip(1).position(|&b| b == b' ').ok_or("expected two tokens and a space")?;
        let (left, right) = (&merge[..space + 1], &merge[space + 2..]);
        let next = last.saturating_add(1);
        let joined = if vocab.is_joined(next, left, right) {
            next
        } else {
            let hash = Hasher::new().and(left).and(right).finish();
            vocab.find_joined(hash, left, right).ok_or("the two together are no token")?
        };
        let part = |name| vocab.find(name).ok_or("a part of it is no token");
        Ok(Self { left: part(left)?, right: part(right)?, joined })
    }
}

impl Joins for Merges {
    fn join(&self, left: Part, right: Part) -> Option<Join> {
        let rank = self.find(left.token, right.token)?;
        Some(Join { priority: rank, token: self.pairs[rank as usize].joined })
    }
}

/// Byte-level BPE.
#[derive(Debug)]
pub(super) struct ByteLevel {
    merges: Merges,
    row: &'static Row,
    /// The token of each byte's character; text without one vanishes, as in llama.cpp.
    byte_tokens: [u32; 256],
}

impl ByteLevel {
    pub(super) fn new(file: &File, vocab: &Vocab) -> Result<Self> {
        let token = |byte: usize| {
            let character = bytes::to_char(byte as u8);
            vocab.find(character.encode_utf8(&mut [0; 4]).as_bytes()).unwrap_or(NO_TOKEN)
        };
        Ok(Self {
            merges: Merges::new(file, vocab)?,
            row: pre::row(file.str(pre::KEY)?)?,
            byte_tokens: core::array::from_fn(token),
        })
    }

    pub(super) fn row(&self) -> &Row {
        self.row
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        let mut name = String::new();
        for piece in pieces(text) {
            self.row.split(piece, &mut |word| {
                if self.row.whole_words == WholeWords::First && word.len() <= vocab.longest() {
                    name.clear();
                    name.extend(word.bytes().map(bytes::to_char));
                    if let Some(token) = vocab.find(name.as_bytes()) {
                        return out.push(token);
                    }
                }
                merger.begin(word.len());
                word.bytes().for_each(|byte| merger.push(1, self.byte_tokens[usize::from(byte)]));
                merger.run(&self.merges, |part| out.extend(Some(part.token).filter(|&t| t != NO_TOKEN)));
            });
        }
    }
}

/// Ranked merges on characters.
#[derive(Debug)]
pub(super) struct Characters {
    merges: Merges,
    words: Words,
    byte_tokens: [Option<u32>; 256],
    unknown: Option<u32>,
}

impl Characters {
    pub(super) fn new(file: &File, vocab: &Vocab, unknown: Option<u32>) -> Result<Self> {
        Ok(Self {
            merges: Merges::new(file, vocab)?,
            words: Words::new(vocab),
            byte_tokens: vocab.byte_tokens(),
            unknown,
        })
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        let text = escape_spaces("", text);
        for mut piece in pieces(&text) {
            while let Some(c) = piece.chars().next() {
                let len = piece.find(|other| (other == '\n') != (c == '\n')).unwrap_or(piece.len());
                let (line, rest) = piece.split_at(len);
                self.words.split(line).for_each(|word| self.encode_word(vocab, word, merger, out));
                piece = rest;
            }
        }
    }

    fn encode_word(&self, vocab: &Vocab, word: &str, merger: &mut Merger, out: &mut Vec<u32>) {
        // Runs of line breaks are tokens that merges do not lead to.
        if word.starts_with('\n')
            && let Some(token) = vocab.find(word.as_bytes())
        {
            return out.push(token);
        }
        merger.begin(word.chars().count());
        for (at, c) in word.char_indices() {
            let character = &word[at..at + c.len_utf8()];
            merger.push(character.len(), vocab.find(character.as_bytes()).unwrap_or(NO_TOKEN));
        }
        merger.run(&self.merges, |part| match part.token {
            NO_TOKEN => {
                let lost = &word.as_bytes()[part.start as usize..part.end as usize];
                out.extend(lost.iter().filter_map(|&b| self.byte_tokens[usize::from(b)].or(self.unknown)));
            }
            token => out.push(token),
        });
    }
}
