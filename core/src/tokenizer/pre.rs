//! Pre-tokenizers: how byte-level vocabularies cut text into words, inside which bytes are joined.
//!
//! A model's tokenizer names a regular expression, or several, each of which cuts the pieces of the one before. GGUF
//! keeps only a name (`tokenizer.ggml.pre`). Here a [`Row`] gives such a name its [`Pass`]es, and every kind of pass
//! is a hand-written function that says how long the first piece of a text is; none looks at a character more than a
//! few times, so cutting takes linear time on any text.
//!
//! Sources: the regular expressions in the models' `tokenizer.json`; which name means which from llama.cpp's
//! `llama-vocab.cpp`. Where llama.cpp writes an expression differently because its engine lacks something (case in
//! `gpt-4o`), the original counts.

pub(super) mod class;
mod pass;

use alloc::format;
use alloc::string::String;

use crate::error::{Error, ErrorKind, Result};
use class::Set;
use pass::{Contractions, Numbers, Pass, Tail, Word, Words};

pub(super) const KEY: &str = "tokenizer.ggml.pre";

/// What a name means.
#[derive(Debug)]
pub(super) struct Row {
    names: &'static [&'static str],
    passes: &'static [Pass],
    pub(super) whole_words: WholeWords,
    pub(super) begin: Begin,
}

/// Whether a word that is a token is that token, even where joining its bytes would give others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WholeWords {
    /// It is (`ignore_merges` in `tokenizer.json`).
    First,
    /// Only joining counts.
    Joined,
}

/// Whether texts begin with the token for that, when the file does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// They do.
    Marked,
    /// They do not.
    Plain,
}

/// GPT-3.5's expression, and with it Llama 3's and many more; what varies is in [`Words`].
const LLAMA3: Words = Words {
    contractions: Contractions::Apart,
    word: Word::Letters,
    numbers: Numbers::UpTo(3),
    tail: Tail::Newlines,
};
const QWEN2: Words = Words { numbers: Numbers::UpTo(1), ..LLAMA3 };
/// GPT-4o's: words end where capitals start.
const GPT4O: Words = Words {
    contractions: Contractions::Attached,
    word: Word::Cased,
    tail: Tail::NewlinesAndSlashes,
    ..LLAMA3
};

const fn joined(names: &'static [&'static str], passes: &'static [Pass]) -> Row {
    Row { names, passes, whole_words: WholeWords::Joined, begin: Begin::Plain }
}

/// The first row is for files that name none.
#[rustfmt::skip] // a table
static ROWS: &[Row] = &[
    joined(&["default"], &[
        Pass::Runs(Set::DefaultPunctuation), Pass::Gpt2, Pass::Runs(Set::Numbers), Pass::ThreeDigits,
    ]),
    joined(
        &["gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v1-en", "jina-v2-es", "jina-v2-de",
          "jina-v2-code", "roberta-bpe", "a.x-4.0", "mellum", "modern-bert", "mpt", "olmo", "jais", "trillion",
          "granite-docling", "exaone4"],
        &[Pass::Gpt2],
    ),
    joined(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[Pass::Each(Set::Numbers), Pass::Gpt2],
    ),
    joined(&["falcon"], &[Pass::Runs(Set::FalconPunctuation), Pass::Gpt2, Pass::ThreeDigits]),
    Row {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
                 "jina-v5-nano"],
        passes: &[Pass::Words(LLAMA3)],
        whole_words: WholeWords::First,
        begin: Begin::Marked,
    },
    joined(&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], &[Pass::Words(LLAMA3)]),
    joined(
        &["qwen2", "stablelm2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "solar-open",
          "grok-2", "bailingmoe", "bailingmoe2", "llada-moe"],
        &[Pass::Words(QWEN2)],
    ),
    joined(&["qwen35"], &[Pass::Words(Words { word: Word::LettersAndMarks, ..QWEN2 })]),
    joined(&["seed-coder"], &[Pass::Words(Words { tail: Tail::Nothing, ..QWEN2 })]),
    joined(&["ufakzeka"], &[Pass::Words(Words { contractions: Contractions::None, ..QWEN2 })]),
    Row {
        whole_words: WholeWords::First,
        ..joined(
            &["minicpm5"],
            &[Pass::Groups(Set::Numbers, 3), Pass::Words(Words { numbers: Numbers::All, ..LLAMA3 })],
        )
    },
    joined(&["gpt-4o", "o200k", "llama4", "kanana2", "talkie", "minimax-m2"], &[Pass::Words(GPT4O)]),
    Row {
        whole_words: WholeWords::First,
        ..joined(&["granite-embed-multi-97m"], &[Pass::Words(GPT4O)])
    },
    Row {
        names: &["tekken"],
        passes: &[Pass::Words(Words { contractions: Contractions::None, numbers: Numbers::UpTo(1), ..GPT4O })],
        whole_words: WholeWords::First,
        begin: Begin::Marked,
    },
    joined(&["deepseek-llm"], &[
        Pass::Each(Set::Newlines), Pass::SpacedRuns(Set::DeepseekLetters),
        Pass::SpacedRuns(Set::DeepseekPunctuation), Pass::LastSpaces, Pass::Runs(Set::DeepseekIdeographs),
        Pass::Runs(Set::Numbers),
    ]),
    joined(&["deepseek-coder"], &[
        Pass::Each(Set::Newlines), Pass::SpacedRuns(Set::Letters), Pass::SpacedRuns(Set::Punctuation),
        Pass::Runs(Set::DeepseekIdeographs), Pass::Each(Set::Numbers),
    ]),
    joined(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[
        Pass::Groups(Set::Numbers, 3), Pass::Runs(Set::Kana), Pass::Deepseek3,
    ]),
    joined(&["poro-chat", "bloom", "gpt3-finnish"], &[Pass::OptionalSpaceRuns(Set::BloomWord)]),
    joined(&["viking"], &[Pass::OptionalSpaceRuns(Set::BloomWord), Pass::Each(Set::Numbers)]),
];

/// The row for the file's `tokenizer.ggml.pre`.
pub(super) fn row(name: Option<&str>) -> Result<&'static Row> {
    let Some(name) = name else { return Ok(&ROWS[0]) };
    ROWS.iter().find(|row| row.names.contains(&name)).ok_or_else(|| {
        let mut known = String::new();
        for name in names() {
            known.push_str(if known.is_empty() { "" } else { ", " });
            known.push_str(name);
        }
        let what = format!("found the pre-tokenizer `{name}`, this version knows {known}");
        Error::new(ErrorKind::Unsupported, what).at_key(KEY)
    })
}

/// Every pre-tokenizer's name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|row| row.names.iter().copied())
}

impl Row {
    /// Calls `word` for each word of `text`, in order; together they are the text.
    pub(super) fn split<'t>(&self, text: &'t str, word: &mut impl FnMut(&'t str)) {
        split(self.passes, text, word);
    }
}

fn split<'t>(passes: &[Pass], mut text: &'t str, word: &mut impl FnMut(&'t str)) {
    let [pass, rest @ ..] = passes else { return word(text) };
    while !text.is_empty() {
        let (piece, after) = text.split_at(pass.first(text));
        split(rest, piece, word);
        text = after;
    }
}

#[cfg(test)]
mod tests;
