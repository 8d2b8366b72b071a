//! Which characters belong together.

use crate::tokenizer::unicode::Category;

/// What the expressions call `\p{L}`, `\p{M}`, `\p{N}`, `\p{P}`, `\p{S}` and `\s`; nothing is two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tokenizer) enum Class {
    Letter,
    Mark,
    Number,
    Punctuation,
    Symbol,
    Space,
    Other,
}

pub(in crate::tokenizer) fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => return Class::Letter,
        '0'..='9' => return Class::Number,
        _ if c.is_whitespace() => return Class::Space,
        _ => {}
    }
    match Category::of(c) {
        Category::Upper | Category::Lower | Category::Letter => Class::Letter,
        Category::Mark => Class::Mark,
        Category::Number => Class::Number,
        Category::Punctuation => Class::Punctuation,
        Category::Symbol => Class::Symbol,
        Category::Unseen | Category::Other => Class::Other,
    }
}

/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: what a capitalised word starts with.
pub(super) fn is_upper(c: char) -> bool {
    matches!(Category::of(c), Category::Upper | Category::Letter | Category::Mark)
}

/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: what it goes on with.
pub(super) fn is_lower(c: char) -> bool {
    matches!(Category::of(c), Category::Lower | Category::Letter | Category::Mark)
}

/// Sets of characters that passes look for, by the model whose expression spells them out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Set {
    Letters,
    Numbers,
    Punctuation,
    Newlines,
    /// ``[\p{P}\$\+<=>\^~\|`]``
    FalconPunctuation,
    /// The same without the backtick, in files that name no pre-tokenizer.
    DefaultPunctuation,
    /// `[^(\s|.,!?…。，、।۔،)]`: the parentheses and the bar were meant to group, but stand in the set.
    BloomWord,
    DeepseekLetters,
    /// `[!-/:-~！-／：-～‘-‟\u{3000}-。]`
    DeepseekPunctuation,
    /// `[一-龥ࠀ-一가-\u{d7ff}]`
    DeepseekIdeographs,
    /// `[一-龥\u{3040}-ゟ゠-ヿ]`
    Kana,
}

impl Set {
    pub(super) fn has(self, c: char) -> bool {
        match self {
            Self::Letters => class(c) == Class::Letter,
            Self::Numbers => class(c) == Class::Number,
            Self::Punctuation => class(c) == Class::Punctuation,
            Self::Newlines => matches!(c, '\r' | '\n'),
            Self::FalconPunctuation => c == '`' || Self::DefaultPunctuation.has(c),
            Self::DefaultPunctuation => {
                matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|') || class(c) == Class::Punctuation
            }
            Self::BloomWord => {
                !c.is_whitespace()
                    && !matches!(
                        c,
                        '(' | '|' | '.' | ',' | '!' | '?' | '…' | '。' | '，' | '、' | '।' | '۔' | '،' | ')'
                    )
            }
            Self::DeepseekLetters => is_deepseek_letter(c),
            Self::DeepseekPunctuation => matches!(
                c,
                '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。'
            ),
            Self::DeepseekIdeographs => matches!(c, '\u{800}'..='龥' | '가'..='\u{d7ff}'),
            Self::Kana => matches!(c, '一'..='龥' | '\u{3040}'..='\u{30ff}'),
        }
    }
}

/// The expression of `deepseek-llm` lists the letters that have case, as some library knew them: without the blocks
/// below, which are small letters of scripts whose capitals are listed, or were encoded late, or are mathematical.
fn is_deepseek_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    let unlisted = matches!(
        u32::from(c),
        0x560..=0x588
            | 0x10c7..=0x10ff
            | 0x1c80..=0x1c8a
            | 0x2d00..=0x2d2d
            | 0xa790..=0xa7fa
            | 0xab30..=0xab68
            | 0x10570..=0x105bc
            | 0x10d50..=0x10d85
            | 0x16e40..=0x16eff
            | 0x1d400..=0x1d7cb
            | 0x1df00..=0x1dfff
    );
    !unlisted && matches!(Category::of(c), Category::Upper | Category::Lower)
}
