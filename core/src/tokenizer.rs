//! Text to tokens and back.
//!
//! A file says which kind of tokenizer its model was trained with (`tokenizer.ggml.model`), and brings the vocabulary:
//!
//! | model | kind | module |
//! |---|---|---|
//! | `gpt2` | byte-level BPE: words, then merges by rank | `bpe`, `pre` |
//! | `gemma4` | merges by rank, on characters | `bpe` |
//! | `llama` | SentencePiece BPE: merges by score | `spm` |
//! | `t5` | SentencePiece unigram: the likeliest cut | `unigram` |
//! | `bert` | WordPiece: the longest pieces of each word | `wordpiece` |
//!
//! Encoding a text first finds the special tokens in it (`special`), then hands what lies between them to the kind's
//! own module. All kinds take O(n log n) time for n bytes, on any text, and memory of a small multiple of n. Names of
//! tokens stay in the file; loading allocates a few tables, never per token.
//!
//! What llama.cpp makes of a text with a file is the reference, since that is what users of the file get elsewhere;
//! where a model's original tokenizer is known to do better with what the file holds, that is done and said.

mod bpe;
mod bytes;
mod merge;
mod names;
mod pre;
mod special;
mod spm;
mod stream;
mod table;
mod unicode;
mod unigram;
mod vocab;
mod wordpiece;
mod words;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::gguf::File;
use crate::order::sort_few;
use bpe::{ByteLevel, Characters};
use merge::{MAX_RUN, Merger};
use pre::Begin;
use special::{Specials, Strip};
use spm::{SpacePrefix, Spm};
use unigram::Unigram;
use vocab::Vocab;
use wordpiece::WordPiece;

pub use stream::Stream;
pub use vocab::Kind;

/// Whether the tokens that a text begins and ends with are added, as the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AddSpecial {
    /// They are.
    #[default]
    Yes,
    /// Only what the text says.
    No,
}

/// Marks the characters of a name that is no token, see [`Tokenizer::guard`]: U+FDD0, which Unicode keeps for the
/// inside of programs.
pub const GUARD: char = '\u{fdd0}';

/// Whether the names of control tokens in the text mean those tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ParseSpecial {
    /// They do: for templates and other text that the program wrote.
    Yes,
    /// They do, but where [`Tokenizer::guard`] marked them they are text: for templates filled with what users wrote.
    Unguarded,
    /// They are text: for what users wrote.
    #[default]
    No,
}

/// Whether control tokens show up in decoded text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ShowControl {
    /// They leave no trace.
    #[default]
    Hide,
    /// By their names.
    Show,
}

/// How [`Tokenizer::encode`] treats special tokens. The default adds them and does not look for them in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Encode {
    /// The tokens around the text.
    pub add_special: AddSpecial,
    /// The tokens in the text.
    pub parse_special: ParseSpecial,
}

/// A model's tokenizer. Cloning costs a reference count.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    vocab: Vocab,
    scheme: Scheme,
    specials: Specials,
    ids: Ids,
    model_name: String,
    pre_name: Option<String>,
}

/// The kinds of tokenizers.
enum Scheme {
    ByteLevel(ByteLevel),
    Characters(Characters),
    Spm(Spm, SpacePrefix),
    Unigram(Unigram, SpacePrefix),
    WordPiece(WordPiece),
}

/// Tokens with a meaning.
#[derive(Debug, Default)]
struct Ids {
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    /// Put before and after a text.
    begin: Option<u32>,
    end: Option<u32>,
    /// Put between two texts, behind the first one's end.
    between: Option<u32>,
    /// After which generation ends; sorted.
    end_of_generation: Vec<u32>,
}

const MODEL: &str = "tokenizer.ggml.model";

impl Tokenizer {
    /// Reads a file's tokenizer and checks all of it.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without a vocabulary (or merges, or scores, where the kind needs them),
    /// [`ErrorKind::Unsupported`] for a kind or pre-tokenizer that this version does not know, and
    /// [`ErrorKind::Malformed`] for lengths that differ, ids out of range, merges of no tokens, names given twice.
    /// Token names that are not UTF-8 are allowed (no text contains them); empty names are padding.
    pub fn new(file: &File) -> Result<Self> {
        let model = file
            .str(MODEL)?
            .ok_or_else(|| Error::new(ErrorKind::Missing, "the file has no tokenizer").at_key(MODEL))?;
        let mut vocab = Vocab::new(file)?;
        let defaults = Defaults::of(model);
        let id = |key: &str, default: Option<u32>| -> Result<Option<u32>> {
            let default = default.filter(|&id| (id as usize) < vocab.len());
            Ok(vocab.id_at(file, key)?.or(default))
        };
        let unknown = id("tokenizer.ggml.unknown_token_id", defaults.unknown)?;
        let cls = id("tokenizer.ggml.cls_token_id", defaults.bos)?;
        let bos = id("tokenizer.ggml.bos_token_id", cls)?;
        let eos = id("tokenizer.ggml.eos_token_id", defaults.eos)?;
        // The key is spelled that way.
        let separator = id("tokenizer.ggml.seperator_token_id", defaults.separator)?;
        let eot = id("tokenizer.ggml.eot_token_id", None)?;
        let eom = id("tokenizer.ggml.eom_token_id", None)?;

        let prefix = |default: SpacePrefix| -> Result<SpacePrefix> {
            Ok(match file.bool("tokenizer.ggml.add_space_prefix")? {
                Some(true) => SpacePrefix::Put,
                Some(false) => SpacePrefix::Omit,
                None => default,
            })
        };
        let scheme = match model {
            "gpt2" => Scheme::ByteLevel(ByteLevel::new(file, &vocab)?),
            "gemma4" => Scheme::Characters(Characters::new(file, &vocab, unknown)?),
            "llama" => Scheme::Spm(Spm::new(&vocab, unknown)?, prefix(SpacePrefix::Put)?),
            "t5" => {
                let prefix = prefix(SpacePrefix::Omit)?;
                Scheme::Unigram(Unigram::new(file, &vocab, prefix, unknown)?, prefix)
            }
            "bert" => Scheme::WordPiece(WordPiece::new(file, unknown)?),
            _ => {
                let what = format!("found `{model}`, this version knows gpt2, gemma4, llama, t5 and bert");
                return Err(Error::new(ErrorKind::Unsupported, what).at_key(MODEL));
            }
        };

        let mut ids = Ids { bos, eos: eos.or(separator), eot, ..Ids::default() };
        match &scheme {
            // Always both, whatever `add_bos_token` says, as in llama.cpp.
            Scheme::WordPiece(_) => (ids.begin, ids.end) = (bos, separator),
            _ => {
                let begins = match &scheme {
                    Scheme::ByteLevel(bpe) => bpe.row().begin == Begin::Marked,
                    Scheme::Characters(_) | Scheme::Spm(..) => true,
                    _ => false,
                };
                let ends = matches!(scheme, Scheme::Unigram(..));
                ids.begin = added(file, "tokenizer.ggml.add_bos_token", begins, bos)?;
                ids.end = added(file, "tokenizer.ggml.add_eos_token", ends, eos)?;
            }
        }
        if !matches!(scheme, Scheme::WordPiece(_)) {
            ids.between = added(file, "tokenizer.ggml.add_sep_token", false, separator)?;
        }
        ids.find_ends(&mut vocab, [ids.eos, eot, eom]);
        let specials = Specials::new(&vocab, strip(file, &vocab)?);
        let inner = Inner {
            specials,
            scheme,
            ids,
            model_name: model.into(),
            pre_name: file.str(pre::KEY)?.map(Into::into),
            vocab,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &str, options: Encode) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.encode_into(text, options, &mut tokens);
        tokens
    }

    /// Appends the tokens of `text` to `tokens`.
    pub fn encode_into(&self, text: &str, options: Encode, tokens: &mut Vec<u32>) {
        let Inner { vocab, specials, ids, .. } = &*self.inner;
        if options.add_special == AddSpecial::Yes {
            tokens.extend(ids.begin);
        }
        let mut merger = Merger::default();
        let mut encode_text = |text: &str, tokens: &mut Vec<u32>| match options.parse_special {
            ParseSpecial::Unguarded if text.contains(GUARD) => {
                self.encode_text(&text.replace(GUARD, ""), &mut merger, tokens);
            }
            _ => self.encode_text(text, &mut merger, tokens),
        };
        let mut rest = text;
        for found in specials.find(vocab, text, options.parse_special) {
            // White space that went with the token before may have been part of this one.
            let Some(len) = found.start.checked_sub(text.len() - rest.len()) else { continue };
            let after = &text[found.end..];
            let (before, after) = specials.trim(vocab, found.id, &rest[..len], after);
            encode_text(before, tokens);
            tokens.push(found.id);
            rest = after;
        }
        encode_text(rest, tokens);
        if options.add_special == AddSpecial::Yes {
            tokens.extend(ids.end);
        }
    }

    /// `text` such that names of control tokens in it stay text when a template is filled with it and the result is
    /// encoded with [`ParseSpecial::Unguarded`]: a [`GUARD`] stands before each of their characters, which encoding
    /// drops. Without it, who writes `<|im_end|>` in a message could speak in the system's name.
    pub fn guard<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.inner.specials.guard(&self.inner.vocab, text)
    }

    /// The tokens of a prompt that a chat template made of [guarded](Self::guard) texts. The token that texts begin with
    /// comes first, whether the template wrote it or left it out.
    pub fn encode_chat(&self, prompt: &str) -> Vec<u32> {
        let encode = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::Unguarded };
        let mut tokens = self.encode(prompt, encode);
        if let Some(bos) = self.bos()
            && self.adds_bos()
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }

    /// The tokens of two texts that a model reads together, as a reranker reads a query and a document: with the
    /// tokens that texts begin and end with around each, and between them what the file says (`add_sep_token`).
    pub fn encode_pair(&self, first: &str, second: &str) -> Vec<u32> {
        let Inner { ids, .. } = &*self.inner;
        let mut tokens = self.encode(first, Encode::default());
        tokens.extend(ids.between);
        let bare = Encode { add_special: AddSpecial::No, ..Encode::default() };
        self.encode_into(second, bare, &mut tokens);
        tokens.extend(ids.end);
        tokens
    }

    /// Appends the tokens of text without special tokens in it.
    fn encode_text(&self, text: &str, merger: &mut Merger, tokens: &mut Vec<u32>) {
        let vocab = &self.inner.vocab;
        if text.is_empty() {
            return;
        }
        match &self.inner.scheme {
            Scheme::ByteLevel(bpe) => bpe.encode(vocab, text, merger, tokens),
            Scheme::Characters(bpe) => bpe.encode(vocab, text, merger, tokens),
            Scheme::Spm(spm, prefix) => spm.encode(vocab, *prefix, text, merger, tokens),
            Scheme::Unigram(unigram, _) => unigram.encode(vocab, text, tokens),
            Scheme::WordPiece(wordpiece) => wordpiece.encode(vocab, text, tokens),
        }
    }

    /// The text of `tokens`, without control tokens and without the space that encoding put in front. Bytes that are
    /// no UTF-8 become U+FFFD; ids out of range give nothing.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.decode_with(tokens, ShowControl::Hide)
    }

    /// As [`Tokenizer::decode`], with a choice about control tokens.
    pub fn decode_with(&self, tokens: &[u32], show: ShowControl) -> String {
        let mut bytes = Vec::new();
        for &id in tokens {
            self.write_piece(id, show, &mut bytes);
        }
        if self.puts_space() && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(broken) => String::from_utf8_lossy(broken.as_bytes()).into_owned(),
        }
    }

    /// A decoder for tokens that come one by one, without control tokens.
    pub fn stream(&self) -> Stream {
        Stream::default()
    }

    /// The bytes that a token adds to a text; none for ids out of range.
    pub fn piece(&self, id: u32, show: ShowControl) -> Cow<'_, [u8]> {
        let mut bytes = Vec::new();
        self.write_piece(id, show, &mut bytes);
        if id < self.len() && self.inner.vocab.name(id) == bytes {
            return Cow::Borrowed(self.inner.vocab.name(id));
        }
        Cow::Owned(bytes)
    }

    /// Appends the bytes that a token adds to a text.
    fn write_piece(&self, id: u32, show: ShowControl, out: &mut Vec<u8>) {
        let Inner { vocab, scheme, .. } = &*self.inner;
        if id >= self.len() {
            return;
        }
        let name = vocab.name(id);
        match vocab.kind(id) {
            Kind::Control | Kind::Unknown if show == ShowControl::Hide => {}
            Kind::Control | Kind::Unknown | Kind::UserDefined => out.extend_from_slice(name),
            Kind::Byte => match byte_value(name) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(name),
            },
            Kind::Normal | Kind::Unused => match scheme {
                Scheme::ByteLevel(_) => bytes::decode(name, out),
                _ => unescape_spaces(name, out),
            },
        }
    }

    /// Whether encoding puts a space before the text.
    fn puts_space(&self) -> bool {
        match self.inner.scheme {
            Scheme::Spm(_, prefix) | Scheme::Unigram(_, prefix) => prefix == SpacePrefix::Put,
            Scheme::WordPiece(_) => true,
            Scheme::ByteLevel(_) | Scheme::Characters(_) => false,
        }
    }

    /// Number of tokens; ids are smaller.
    #[expect(clippy::len_without_is_empty)] // no vocabulary is empty
    pub fn len(&self) -> u32 {
        self.inner.vocab.len() as u32
    }

    /// The token that texts begin with.
    pub fn bos(&self) -> Option<u32> {
        self.inner.ids.bos
    }

    /// The token that texts end with.
    pub fn eos(&self) -> Option<u32> {
        self.inner.ids.eos
    }

    /// The token that turns of a chat end with.
    pub fn eot(&self) -> Option<u32> {
        self.inner.ids.eot
    }

    /// Whether generation ends with this token.
    pub fn is_eog(&self, id: u32) -> bool {
        self.inner.ids.end_of_generation.binary_search(&id).is_ok()
    }

    /// All tokens that generation ends with, in ascending order.
    pub fn eog(&self) -> &[u32] {
        &self.inner.ids.end_of_generation
    }

    /// A token's name as the file writes it (`Ġthe`, `▁the`, `<0x0A>`), unless the id is out of range.
    pub fn token(&self, id: u32) -> Option<Cow<'_, str>> {
        (id < self.len()).then(|| String::from_utf8_lossy(self.inner.vocab.name(id)))
    }

    /// The token with this name.
    pub fn id_of(&self, name: &str) -> Option<u32> {
        self.inner.vocab.find(name.as_bytes())
    }

    /// What a token is for, unless the id is out of range.
    pub fn kind(&self, id: u32) -> Option<Kind> {
        (id < self.len()).then(|| self.inner.vocab.kind(id))
    }

    /// Whether [`AddSpecial::Yes`] puts a token before the text.
    pub fn adds_bos(&self) -> bool {
        self.inner.ids.begin.is_some()
    }

    /// Whether [`AddSpecial::Yes`] puts a token after the text.
    pub fn adds_eos(&self) -> bool {
        self.inner.ids.end.is_some()
    }

    /// The kind, as in `tokenizer.ggml.model`.
    pub fn model_name(&self) -> &str {
        &self.inner.model_name
    }

    /// The pre-tokenizer, as in `tokenizer.ggml.pre`.
    pub fn pre_name(&self) -> Option<&str> {
        self.inner.pre_name.as_deref()
    }

    /// The values of `tokenizer.ggml.pre` that byte-level vocabularies may have.
    pub fn known_pre_names() -> impl Iterator<Item = &'static str> {
        pre::names()
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} of {} tokens)", self.inner.model_name, self.len())
    }
}

/// Ids that a kind of tokenizer has when its file says nothing: those of the first model of the kind.
#[derive(Default)]
struct Defaults {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    separator: Option<u32>,
}

impl Defaults {
    fn of(model: &str) -> Self {
        match model {
            "llama" => Self { bos: Some(1), eos: Some(2), unknown: Some(0), separator: None },
            "bert" => Self { bos: Some(101), eos: None, unknown: Some(100), separator: Some(102) },
            "t5" => Self { bos: None, eos: Some(1), unknown: Some(2), separator: None },
            _ => Self::default(),
        }
    }
}

impl Ids {
    /// Finds the tokens that end a turn or a generation, by what the file says (`known`) and by name.
    fn find_ends(&mut self, vocab: &mut Vocab, known: [Option<u32>; 3]) {
        let by_name = |name: &&str| vocab.find(name.as_bytes());
        self.eot = self.eot.or_else(|| names::END_OF_TURN.iter().find_map(by_name));
        let named = names::END_OF_GENERATION.iter().chain(names::END_OF_GAP).filter_map(by_name);
        let mut ends: Vec<u32> = named.chain(known.into_iter().flatten()).chain(self.eot).collect();
        for (set, name, kind) in names::NO_END {
            if let Some(id) = vocab.find(name.as_bytes())
                && set.iter().all(|name| vocab.find(name.as_bytes()).is_some())
            {
                ends.retain(|&end| end != id);
                vocab.set_kind(name, *kind);
            }
        }
        sort_few(&mut ends, |a, b| a < b);
        ends.dedup();
        self.end_of_generation = ends;
    }
}

/// The token to add, if `key` (or else the kind of tokenizer) says that one is added.
fn added(file: &File, key: &str, default: bool, id: Option<u32>) -> Result<Option<u32>> {
    match (file.bool(key)?, id) {
        (Some(true), None) => {
            let what = "a token is to be added to every text, but the file does not say which";
            Err(Error::new(ErrorKind::Missing, what).at_key(key))
        }
        (says, id) => Ok(id.filter(|_| says.unwrap_or(default))),
    }
}

/// Which special tokens swallow white space. Files do not say; the models are known by name, as in llama.cpp.
fn strip(file: &File, vocab: &Vocab) -> Result<Strip> {
    let name = file.str("general.name")?.unwrap_or_default().to_ascii_lowercase();
    let arch = file.str("general.architecture")?.unwrap_or_default();
    let pre = file.str(pre::KEY)?.unwrap_or_default();
    let has = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let before = |mask: &str| vocab.find(mask.as_bytes()).map_or(Strip::Nothing, Strip::Before);
    Ok(
        if has(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
            || has(arch, &["nomic-bert-moe", "jina-bert-v3"])
        {
            before("<mask>")
        } else if has(&name, &["phi-3", "phi3"]) {
            Strip::After
        } else if has(&name, &["modern-bert"]) {
            before("[MASK]")
        } else {
            Strip::Nothing
        },
    )
}

/// `text` in pieces of at most [`MAX_RUN`] bytes: one, unless it is longer than any prompt.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    core::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(MAX_RUN));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// `prefix` and `text`, with `▁` for spaces.
fn escape_spaces(prefix: &str, text: &str) -> String {
    let spaces = text.bytes().filter(|&b| b == b' ').count();
    let mut escaped = String::with_capacity(prefix.len() + text.len() + 2 * spaces);
    escaped.push_str(prefix);
    text.chars().for_each(|c| escaped.push(if c == ' ' { '▁' } else { c }));
    escaped
}

/// Appends `name` with spaces for `▁`.
fn unescape_spaces(name: &[u8], out: &mut Vec<u8>) {
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix("▁".as_bytes()) {
            out.push(b' ');
            rest = after;
        } else {
            out.push(first);
            rest = after;
        }
    }
}

/// The byte that a token called `<0xNN>` stands for.
fn byte_value(name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let &[high, low] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    Some((value(high)? << 4 | value(low)?) as u8)
}

#[cfg(test)]
mod tests;
