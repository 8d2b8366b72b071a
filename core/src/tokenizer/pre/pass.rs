//! The kinds of passes: each says how long the first piece of a text is.
//!
//! A piece is what the expression matches, or the text before the next match. A pass sees one piece of the pass before
//! and nothing around it, as the references do: "end" below is the end of that piece.

use super::class::{Class, Set, class, is_lower, is_upper};

/// One regular expression, in effect.
#[derive(Debug)]
pub(super) enum Pass {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// The family of GPT-3.5 and GPT-4o.
    Words(Words),
    /// `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|`
    /// `\s*[\r\n]+|\s+(?!\S)|\s+`, the backtick being in the first set too.
    Deepseek3,
    /// `[set]`
    Each(Set),
    /// `[set]{1,n}`
    Groups(Set, usize),
    /// `[set]+`
    Runs(Set),
    /// `\s?[set]+`
    SpacedRuns(Set),
    /// ` ?[set]+`
    OptionalSpaceRuns(Set),
    /// `\s+$`
    LastSpaces,
    /// `[0-9][0-9][0-9]`
    ThreeDigits,
}

/// `CONTRACTION|[^\r\n\p{L}\p{N}]?WORD|NUMBER| ?[^\s\p{L}\p{N}]+TAIL|\s*[\r\n]+|\s+(?!\S)|\s+`
#[derive(Debug)]
pub(super) struct Words {
    pub(super) contractions: Contractions,
    pub(super) word: Word,
    pub(super) numbers: Numbers,
    pub(super) tail: Tail,
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
#[derive(Debug)]
pub(super) enum Contractions {
    None,
    /// A piece of its own.
    Apart,
    /// Part of the word before.
    Attached,
}

/// What a word is made of.
#[derive(Debug)]
pub(super) enum Word {
    /// `\p{L}+`
    Letters,
    /// `[\p{L}\p{M}]+`, and marks are not among the signs either.
    LettersAndMarks,
    /// `UPPER*LOWER+|UPPER+LOWER*`, see [`is_upper`] and [`is_lower`].
    Cased,
}

/// `\p{N}{1,n}` or `\p{N}+`
#[derive(Debug)]
pub(super) enum Numbers {
    UpTo(usize),
    All,
}

/// What may follow signs: nothing, `[\r\n]*`, `[\r\n/]*`.
#[derive(Debug)]
pub(super) enum Tail {
    Nothing,
    Newlines,
    NewlinesAndSlashes,
}

impl Pass {
    /// Bytes of the first piece of `text`, which is not empty.
    pub(super) fn first(&self, text: &str) -> usize {
        let gap = |matched: fn(&str, Set) -> usize, set| until(text, |rest| matched(rest, set));
        match *self {
            Self::Gpt2 => gpt2(text),
            Self::Words(ref words) => words.first(text),
            Self::Deepseek3 => until(text, deepseek3),
            Self::Each(set) => until(text, |rest| run_up_to(rest, 1, set)),
            Self::Groups(set, n) => until(text, |rest| run_up_to(rest, n, set)),
            Self::Runs(set) => gap(|rest, set| run(rest, |c| set.has(c)), set),
            Self::SpacedRuns(set) => gap(spaced_run, set),
            Self::OptionalSpaceRuns(set) => gap(optional_space_run, set),
            Self::LastSpaces => match text.trim_end().len() {
                0 => text.len(),
                start => start,
            },
            Self::ThreeDigits => until(text, three_digits),
        }
    }
}

/// The length of the match at the start of `text`, or else of what comes before the next one.
fn until(text: &str, matched: impl Fn(&str) -> usize) -> usize {
    match matched(text) {
        0 => {}
        len => return len,
    }
    let mut starts = text.char_indices().skip(1).map(|(at, _)| at);
    starts.find(|&at| matched(&text[at..]) > 0).unwrap_or(text.len())
}

/// Bytes of the characters at the start of `text` that satisfy `is`.
fn run(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

fn run_up_to(text: &str, n: usize, set: Set) -> usize {
    text.chars().take(n).take_while(|&c| set.has(c)).map(char::len_utf8).sum()
}

fn spaced_run(text: &str, set: Set) -> usize {
    let lead = first(text).filter(|c| c.is_whitespace()).map_or(0, char::len_utf8);
    match run(&text[lead..], |c| set.has(c)) {
        // The space may itself be in the set.
        0 => run(&text[..lead], |c| set.has(c)),
        len => lead + len,
    }
}

fn optional_space_run(text: &str, set: Set) -> usize {
    let lead = usize::from(text.starts_with(' '));
    match run(&text[lead..], |c| set.has(c)) {
        0 => 0,
        len => lead + len,
    }
}

fn three_digits(text: &str) -> usize {
    let digits = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
    if digits == 3 { 3 } else { 0 }
}

fn gpt2(text: &str) -> usize {
    let contraction = contraction(text, |a, b| a == b);
    if contraction > 0 {
        return contraction;
    }
    let lead = usize::from(text.starts_with(' '));
    let rest = &text[lead..];
    lead + match first(rest).map(class) {
        Some(kind @ (Class::Letter | Class::Number)) => run(rest, |c| class(c) == kind),
        Some(Class::Space) | None => return spaces(text),
        Some(_) => run(rest, is_sign),
    }
}

impl Words {
    fn first(&self, text: &str) -> usize {
        if matches!(self.contractions, Contractions::Apart) {
            let contraction = contraction(text, |a, b| a.eq_ignore_ascii_case(b));
            if contraction > 0 {
                return contraction;
            }
        }
        let word = self.word(text);
        if word > 0 {
            return word + self.attached(&text[word..]);
        }
        let number = match self.numbers {
            Numbers::UpTo(n) => run_up_to(text, n, Set::Numbers),
            Numbers::All => run(text, |c| Set::Numbers.has(c)),
        };
        if number > 0 {
            return number;
        }
        let lead = usize::from(text.starts_with(' '));
        let signs = match self.word {
            Word::LettersAndMarks => run(&text[lead..], |c| is_sign(c) && class(c) != Class::Mark),
            _ => run(&text[lead..], is_sign),
        };
        if signs > 0 {
            let end = lead + signs;
            return end + self.tail(&text[end..]);
        }
        newlines(text).unwrap_or_else(|| spaces(text))
    }

    /// `[^\r\n\p{L}\p{N}]?WORD`
    fn word(&self, text: &str) -> usize {
        let Some(c) = first(text) else { return 0 };
        let lead = match class(c) {
            Class::Letter | Class::Number => 0,
            _ if Set::Newlines.has(c) => 0,
            _ => c.len_utf8(),
        };
        match self.word {
            Word::Letters => after(lead, text, |rest| run(rest, |c| class(c) == Class::Letter)),
            Word::LettersAndMarks => {
                let word = |rest: &str| run(rest, |c| matches!(class(c), Class::Letter | Class::Mark));
                some(after(lead, text, word)).unwrap_or_else(|| word(text))
            }
            // The optional character may itself start the word: a mark is both.
            Word::Cased => some(after(lead, text, cased_small))
                .or_else(|| some(cased_small(text)))
                .or_else(|| some(after(lead, text, |rest| run(rest, is_upper))))
                .unwrap_or_else(|| run(text, is_upper)),
        }
    }

    fn attached(&self, rest: &str) -> usize {
        match self.contractions {
            Contractions::Attached => contraction(rest, |a, b| a.eq_ignore_ascii_case(b)),
            _ => 0,
        }
    }

    fn tail(&self, rest: &str) -> usize {
        match self.tail {
            Tail::Nothing => 0,
            Tail::Newlines => run(rest, |c| Set::Newlines.has(c)),
            Tail::NewlinesAndSlashes => run(rest, |c| c == '/' || Set::Newlines.has(c)),
        }
    }
}

/// `UPPER*LOWER+`: where no small letter follows the capitals, the last of them that is both counts as one.
fn cased_small(text: &str) -> usize {
    let upper = run(text, is_upper);
    let lower = run(&text[upper..], is_lower);
    if lower > 0 {
        return upper + lower;
    }
    let both = text[..upper].char_indices().rev().find(|&(_, c)| is_lower(c));
    both.map_or(0, |(at, c)| at + c.len_utf8())
}

fn deepseek3(text: &str) -> usize {
    let Some(c) = first(text) else { return 0 };
    let is_word = |c| matches!(class(c), Class::Letter | Class::Mark);
    let is_sign = |c| matches!(class(c), Class::Punctuation | Class::Symbol);
    if c.is_ascii_punctuation() {
        let letters = run(&text[1..], |c| c.is_ascii_alphabetic());
        if letters > 0 {
            return 1 + letters;
        }
    }
    let lead = match class(c) {
        Class::Letter | Class::Punctuation | Class::Symbol => 0,
        _ if Set::Newlines.has(c) => 0,
        _ => c.len_utf8(),
    };
    let word = some(after(lead, text, |rest| run(rest, is_word))).unwrap_or_else(|| run(text, is_word));
    if word > 0 {
        return word;
    }
    let lead = usize::from(c == ' ');
    let signs = run(&text[lead..], is_sign);
    if signs > 0 {
        let end = lead + signs;
        return end + run(&text[end..], |c| Set::Newlines.has(c));
    }
    newlines(text).unwrap_or_else(|| spaces(text))
}

/// `'s|'t|'re|'ve|'m|'ll|'d`
fn contraction(text: &str, same: impl Fn(&u8, &u8) -> bool) -> usize {
    let Some(rest) = text.as_bytes().strip_prefix(b"'") else { return 0 };
    let endings: [&[u8]; 7] = [b"s", b"t", b"re", b"ve", b"m", b"ll", b"d"];
    let found = endings
        .iter()
        .find(|ending| ending.len() <= rest.len() && ending.iter().zip(rest).all(|(a, b)| same(a, b)));
    found.map_or(0, |ending| 1 + ending.len())
}

/// `\s*[\r\n]+`: white space up to its last line break.
fn newlines(text: &str) -> Option<usize> {
    let space = &text[..run(text, char::is_whitespace)];
    space.rfind(['\r', '\n']).map(|last| last + 1)
}

/// `\s+(?!\S)|\s+`: white space, but the last of it belongs to what follows.
fn spaces(text: &str) -> usize {
    let len = run(text, char::is_whitespace);
    if len == text.len() {
        return len;
    }
    match text[..len].char_indices().next_back() {
        Some((last, _)) if last > 0 => last,
        _ => len,
    }
}

/// `[^\s\p{L}\p{N}]`
fn is_sign(c: char) -> bool {
    !matches!(class(c), Class::Letter | Class::Number | Class::Space)
}

/// `lead` bytes and then the match of `matched`; 0 without one.
fn after(lead: usize, text: &str, matched: impl Fn(&str) -> usize) -> usize {
    some(matched(&text[lead..])).map_or(0, |len| lead + len)
}

fn some(len: usize) -> Option<usize> {
    (len > 0).then_some(len)
}

fn first(text: &str) -> Option<char> {
    text.chars().next()
}
