//! SentencePiece unigram (`t5`): the likeliest way to cut the text into tokens.
//!
//! Each token has a log probability; dynamic programming (Viterbi) finds the cut with the largest sum. At every
//! character the tokens that start there are tried: their hashes grow byte by byte, and no token is longer than the
//! longest that starts with this character. Before, the text is normalised with the table that the file brings
//! (`precompiled_charsmap`), usually a form of NFKC, and white space is put in order.
//!
//! Source: Kudo 2018 (subword regularization); normalisation as in SentencePiece; details as in llama.cpp.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use super::merge::MAX_RUN;
use super::spm::SpacePrefix;
use super::table::Hasher;
use super::vocab::{Kind, Vocab, malformed};
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::File;

/// How much worse than the worst token a character without one is.
const UNKNOWN_PENALTY: f32 = 10.0;
/// Buckets of first characters.
const STARTS: usize = 4096;
/// Longest text that the normalisation table may replace, or replace with.
const MAX_REPLACED: usize = 256;

const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

#[derive(Debug)]
pub(super) struct Unigram {
    charsmap: Charsmap,
    spaces: Spaces,
    prefix: SpacePrefix,
    unknown: u32,
    unknown_score: f64,
    /// Bytes of the longest token that starts with a character of this bucket.
    longest: Vec<u16>,
}

/// What happens to runs of spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spaces {
    Keep,
    /// One between words, none elsewhere.
    Merge,
}

/// The best way to reach a byte.
#[derive(Debug, Clone, Copy)]
struct Best {
    score: f64,
    token: u32,
    from: u32,
}

impl Unigram {
    pub(super) fn new(file: &File, vocab: &Vocab, prefix: SpacePrefix, unknown: Option<u32>) -> Result<Self> {
        if vocab.scores().is_empty() {
            let what = "the file has no scores, which this kind of tokenizer goes by";
            return Err(Error::new(ErrorKind::Missing, what).at_key("tokenizer.ggml.scores"));
        }
        let unknown = unknown.ok_or_else(|| {
            Error::new(ErrorKind::Missing, "the file has no token for unknown text")
                .at_key("tokenizer.ggml.unknown_token_id")
        })?;
        let merge = file.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false);
        let mut worst = f32::MAX;
        let mut longest = vec![0; STARTS];
        for id in 0..vocab.len() as u32 {
            if vocab.kind(id) == Kind::Normal {
                worst = worst.min(vocab.scores()[id as usize]);
            }
            let name = vocab.name(id);
            if is_piece(vocab.kind(id)) && !name.is_empty() {
                let bucket = &mut longest[start_bucket(&name[..name.len().min(utf8_len(name[0]))])];
                *bucket = (*bucket).max(name.len() as u16);
            }
        }
        Ok(Self {
            charsmap: Charsmap::new(file)?,
            spaces: if merge { Spaces::Merge } else { Spaces::Keep },
            prefix,
            unknown,
            unknown_score: f64::from(worst - UNKNOWN_PENALTY),
            longest,
        })
    }

    pub(super) fn encode(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        let text = self.normalise(text);
        for piece in super::pieces(&text) {
            self.cut(vocab, piece, out);
        }
    }

    fn cut(&self, vocab: &Vocab, text: &str, out: &mut Vec<u32>) {
        debug_assert!(text.len() <= MAX_RUN);
        let bytes = text.as_bytes();
        let mut best = vec![Best { score: f64::NEG_INFINITY, token: self.unknown, from: 0 }; bytes.len() + 1];
        best[0].score = 0.0;
        for (start, c) in text.char_indices() {
            let char_end = start + c.len_utf8();
            let reach = usize::from(self.longest[start_bucket(&bytes[start..char_end])]);
            let limit = bytes.len().min(start + reach.max(char_end - start));
            let so_far = best[start].score;
            let mut whole_char = false;
            let mut hasher = Hasher::new();
            let (mut hashed, mut end) = (start, char_end);
            while end <= limit {
                hasher = hasher.and(&bytes[hashed..end]);
                hashed = end;
                if let Some(token) = vocab.find_hashed(hasher.finish(), &bytes[start..end])
                    && is_piece(vocab.kind(token))
                {
                    whole_char |= end == char_end;
                    improve(&mut best[end], so_far + score(vocab, token), token, start);
                }
                end += bytes.get(end).map_or(1, |&byte| utf8_len(byte));
            }
            if !whole_char {
                improve(&mut best[char_end], so_far + self.unknown_score, self.unknown, start);
            }
        }
        let first = out.len();
        let mut end = bytes.len();
        while end > 0 {
            let Best { token, from, .. } = best[end];
            // Neighbouring unknown characters are one unknown token.
            if token != self.unknown || out[first..].last() != Some(&token) {
                out.push(token);
            }
            end = from as usize;
        }
        out[first..].reverse();
    }

    /// The text with replaced characters, `▁` for spaces, and spaces in order.
    fn normalise(&self, text: &str) -> alloc::string::String {
        let mut normal = Vec::with_capacity(text.len() + text.len() / 2 + 3);
        let (mut in_word, mut prefixed) = (false, false);
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let (replaced, with) = self.charsmap.replace(&bytes[at..]);
            at += replaced;
            for &byte in with {
                if byte != b' ' {
                    let prefix = self.prefix == SpacePrefix::Put && !prefixed;
                    if !in_word && (prefix || self.spaces == Spaces::Merge) {
                        normal.extend_from_slice("▁".as_bytes());
                        prefixed = true;
                    }
                    in_word = true;
                    normal.push(byte);
                } else {
                    in_word = false;
                    if self.spaces == Spaces::Keep {
                        normal.extend_from_slice("▁".as_bytes());
                    }
                }
            }
        }
        // A table of an honest file replaces characters with characters.
        alloc::string::String::from_utf8(normal)
            .unwrap_or_else(|broken| alloc::string::String::from_utf8_lossy(broken.as_bytes()).into_owned())
    }
}

fn improve(best: &mut Best, score: f64, token: u32, from: usize) {
    if score > best.score {
        *best = Best { score, token, from: from as u32 };
    }
}

fn score(vocab: &Vocab, token: u32) -> f64 {
    match vocab.kind(token) {
        // Found as it stands, whatever else the text could be.
        Kind::UserDefined => 0.0,
        _ => f64::from(vocab.scores()[token as usize]),
    }
}

fn is_piece(kind: Kind) -> bool {
    matches!(kind, Kind::Normal | Kind::UserDefined | Kind::Unused)
}

fn start_bucket(character: &[u8]) -> usize {
    Hasher::new().and(character).finish() as usize % STARTS
}

/// Bytes of the character that starts with `first`.
fn utf8_len(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

/// SentencePiece's normalisation table: what to replace, in a double-array trie, and what with.
///
/// `u32 length of the trie | trie: u32 units | replacements, each ended by a 0 byte`. A unit holds, from the low bits:
/// 8 bits of label (bit 31 marks a unit with a value instead), 1 bit "a value follows", 1 bit that scales the offset
/// by 256, 22 bits of offset. Source: darts-clone, which SentencePiece embeds.
#[derive(Debug, Default)]
struct Charsmap {
    trie: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    fn new(file: &File) -> Result<Self> {
        let Some(array) = file.array(CHARSMAP)? else { return Ok(Self::default()) };
        if array.is_empty() {
            return Ok(Self::default());
        }
        let byte = |value: crate::gguf::Value<'_>| match value {
            crate::gguf::Value::U8(byte) => Ok(byte),
            crate::gguf::Value::I8(byte) => Ok(byte as u8),
            other => Err(malformed(CHARSMAP, format!("found {other} in the table, expected bytes"))),
        };
        let bytes = array.iter().map(byte).collect::<Result<Vec<u8>>>()?;
        let wrong = |what| Err(malformed(CHARSMAP, what));
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
            return wrong(format!("found {} bytes, expected at least 4", bytes.len()));
        };
        let len = u32::from_le_bytes(*head) as usize;
        if !len.is_multiple_of(4) || len > rest.len() {
            let have = rest.len();
            return wrong(format!("found a trie of {len} bytes, expected a multiple of 4 within {have}"));
        }
        let (trie, replacements) = rest.split_at(len);
        if let Some(long) = replacements.split(|&b| b == 0).map(<[u8]>::len).find(|&n| n > MAX_REPLACED) {
            return wrong(format!("found a replacement of {long} bytes, expected at most {MAX_REPLACED}"));
        }
        let unit = |chunk: &[u8]| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        Ok(Self { trie: trie.chunks_exact(4).map(unit).collect(), replacements: replacements.to_vec() })
    }

    /// How many bytes at the start of `text` (not empty) to replace, and what with.
    fn replace<'t>(&'t self, text: &'t [u8]) -> (usize, &'t [u8]) {
        if let Some((len, value)) = self.longest(text)
            && let Some(replacement) = self.replacements.get(value as usize..)
        {
            let end = replacement.iter().position(|&b| b == 0).unwrap_or(replacement.len());
            return (len, &replacement[..end]);
        }
        let len = utf8_len(text[0]).min(text.len());
        (len, &text[..len])
    }

    /// The longest entry that `text` starts with: its length and value. A unit outside the trie ends the search.
    fn longest(&self, text: &[u8]) -> Option<(usize, u32)> {
        let unit = |at: u32| self.trie.get(at as usize).copied();
        let offset = |unit: u32| unit >> 10 << ((unit & 1 << 9) >> 6);
        let mut found = None;
        let mut at = offset(unit(0)?);
        for (i, &byte) in text.iter().take(MAX_REPLACED).enumerate().take_while(|&(_, &byte)| byte != 0) {
            at ^= u32::from(byte);
            let Some(node) = unit(at) else { break };
            if node & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(node);
            if node >> 8 & 1 == 1 {
                let Some(value) = unit(at) else { break };
                found = Some((i + 1, value & !(1 << 31)));
            }
        }
        found
    }
}
