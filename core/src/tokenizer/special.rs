//! Tokens that are found in the text as they stand, before anything else looks at it.
//!
//! The longest go first, as in llama.cpp: where two overlap, the longer one wins even when it starts later, and of
//! two equally long ones the one with the lower id, then the left one. Taking each length in turn would read the text
//! once per length; instead one pass notes the longest token at every place, and only where such finds overlap does a
//! heap settle who goes first.

use alloc::borrow::Cow;
use alloc::collections::BinaryHeap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::vocab::{Kind, Vocab};
use super::{GUARD, ParseSpecial};
use crate::order::{sort, sort_few};

const GUARD_BYTES: &[u8] = {
    const BYTES: [u8; 3] = {
        let mut bytes = [0; 3];
        GUARD.encode_utf8(&mut bytes);
        bytes
    };
    &BYTES
};

/// What white space around a token is swallowed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strip {
    /// None.
    Nothing,
    /// Before the token with this id.
    Before(u32),
    /// After all such tokens, except `<unk>`, `<s>` and `<|endoftext|>`.
    After,
}

/// Where a token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) id: u32,
}

/// The tokens to look for.
#[derive(Debug)]
pub(super) struct Specials {
    /// Sorted by name, so that a range of them shares a prefix.
    sorted: Vec<u32>,
    /// Where in `sorted` the names with this first byte start; one more entry for the end.
    by_first: Vec<u32>,
    strip: Strip,
}

impl Specials {
    pub(super) fn new(vocab: &Vocab, strip: Strip) -> Self {
        // A name that is a part of a character is in no text.
        let looked_for = |&id: &u32| {
            matches!(vocab.kind(id), Kind::Control | Kind::UserDefined | Kind::Unknown)
                && !vocab.name(id).is_empty()
                && core::str::from_utf8(vocab.name(id)).is_ok()
        };
        let mut sorted: Vec<u32> = (0..vocab.len() as u32).filter(looked_for).collect();
        sort(&mut sorted, &|&a, &b| vocab.name(a).cmp(vocab.name(b)));
        let start = |byte: usize| sorted.partition_point(|&id| usize::from(vocab.name(id)[0]) < byte) as u32;
        let by_first = (0..=256).map(start).collect();
        Self { sorted, by_first, strip }
    }

    /// Finds them in `text`, from left to right.
    pub(super) fn find(&self, vocab: &Vocab, text: &str, parse: ParseSpecial) -> Vec<Found> {
        let parse = match parse {
            ParseSpecial::Yes => Parse::All,
            ParseSpecial::Unguarded => Parse::Unguarded,
            ParseSpecial::No => Parse::UserDefined,
        };
        let search = Search { specials: self, vocab, text: text.as_bytes(), parse };
        let mut found = Vec::new();
        let mut cluster: Vec<Found> = Vec::new();
        let mut cluster_end = 0;
        for start in 0..text.len() {
            let Some(candidate) = search.longest(start, usize::MAX) else { continue };
            if start >= cluster_end {
                search.settle(&mut cluster, &mut found);
            }
            cluster_end = cluster_end.max(candidate.end);
            cluster.push(candidate);
        }
        search.settle(&mut cluster, &mut found);
        found
    }

    /// `text` with a [`GUARD`] before each character of a control token's name.
    pub(super) fn guard<'t>(&self, vocab: &Vocab, text: &'t str) -> Cow<'t, str> {
        let search = Search { specials: self, vocab, text: text.as_bytes(), parse: Parse::Control };
        let mut guarded = String::new();
        let mut name_end = 0;
        for (start, c) in text.char_indices() {
            if let Some(found) = search.longest(start, usize::MAX) {
                if name_end == 0 {
                    guarded.push_str(&text[..start]);
                }
                name_end = name_end.max(found.end);
            }
            if start < name_end {
                guarded.push(GUARD);
            }
            if name_end > 0 {
                guarded.push(c);
            }
        }
        if name_end > 0 { Cow::Owned(guarded) } else { Cow::Borrowed(text) }
    }

    /// The text left of a token and right of it, without the white space that goes with the token.
    pub(super) fn trim<'t>(
        &self,
        vocab: &Vocab,
        id: u32,
        before: &'t str,
        after: &'t str,
    ) -> (&'t str, &'t str) {
        let space = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];
        match self.strip {
            Strip::Before(mask) if mask == id => (before.trim_end_matches(space), after),
            Strip::After if !matches!(vocab.name(id), b"<unk>" | b"<s>" | b"<|endoftext|>") => {
                (before, after.trim_start_matches(space))
            }
            _ => (before, after),
        }
    }
}

struct Search<'a> {
    specials: &'a Specials,
    vocab: &'a Vocab,
    text: &'a [u8],
    parse: Parse,
}

/// Which of the tokens are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parse {
    All,
    /// Those without a [`GUARD`] before them.
    Unguarded,
    UserDefined,
    Control,
}

impl Search<'_> {
    /// The longest token at `start` that ends by `limit`.
    fn longest(&self, start: usize, limit: usize) -> Option<Found> {
        if self.parse == Parse::Unguarded && self.text[..start].ends_with(GUARD_BYTES) {
            return None;
        }
        let first = usize::from(self.text[start]);
        let by_first = &self.specials.by_first;
        let mut range = &self.specials.sorted[by_first[first] as usize..by_first[first + 1] as usize];
        let mut longest = None;
        for end in start + 1..=self.text.len().min(limit) {
            let depth = end - start;
            let &id = range.first()?;
            if self.vocab.name(id).len() == depth {
                if self.wanted(id) {
                    longest = Some(Found { start, end, id });
                }
                range = &range[1..];
            }
            let Some(&next) = self.text.get(end) else { break };
            let byte = |id: u32| self.vocab.name(id)[depth];
            let from = range.partition_point(|&id| byte(id) < next);
            let to = from + range[from..].partition_point(|&id| byte(id) == next);
            range = &range[from..to];
            if range.is_empty() {
                break;
            }
        }
        longest
    }

    fn wanted(&self, id: u32) -> bool {
        match self.parse {
            Parse::All | Parse::Unguarded => true,
            Parse::UserDefined => self.vocab.kind(id) == Kind::UserDefined,
            Parse::Control => self.vocab.kind(id) != Kind::UserDefined,
        }
    }

    /// Decides between finds that overlap: moves those that stay to `found`, in order.
    fn settle(&self, cluster: &mut Vec<Found>, found: &mut Vec<Found>) {
        if cluster.len() <= 1 {
            return found.append(cluster);
        }
        let first = found.len();
        let base = cluster[0].start;
        let end = cluster.iter().map(|c| c.end).max().unwrap_or(base);
        // What is taken is at least as long as what comes after it, so a token overlaps something taken exactly when
        // its first or last byte is taken.
        let mut taken = alloc::vec![false; end - base];
        let rank = |c: Found| (c.end - c.start, Reverse((c.id, c.start)));
        let mut heap: BinaryHeap<_> = cluster.drain(..).map(rank).collect();
        while let Some((len, Reverse((id, start)))) = heap.pop() {
            let candidate = start - base..start - base + len;
            if taken[candidate.start] {
                continue;
            }
            if taken[candidate.end - 1] {
                let free = candidate.clone().find(|&at| taken[at]).unwrap_or(candidate.end);
                heap.extend(self.longest(start, base + free).map(rank));
                continue;
            }
            taken[candidate].fill(true);
            found.push(Found { start, end: start + len, id });
        }
        sort_few(&mut found[first..], |a, b| a.start < b.start);
    }
}
