//! Joining neighbours until nothing joins: the loop that ranked merges and score merges share.
//!
//! A run of symbols is a linked list. A heap holds every pair of neighbours that may join, the best on top; joining
//! one makes at most two new pairs. A pair whose symbols have changed since it went into the heap is skipped when it
//! comes out. So n symbols take O(n log n) steps, whatever the text. Of equally good pairs the leftmost goes first.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// The symbol is in no vocabulary.
pub(super) const NO_TOKEN: u32 = u32::MAX;
/// No symbol: before the first, after the last.
const NONE: u32 = u32::MAX;
/// The longest run, in bytes: longer texts are cut (see [`super::pieces`]), so that positions fit 32 bits.
pub(super) const MAX_RUN: usize = 1 << 24;

/// Which neighbours join, and how urgently.
pub(super) trait Joins {
    /// What joining the neighbours makes, when it makes anything. The smallest priority joins first.
    fn join(&self, left: Part, right: Part) -> Option<Join>;
}

/// A symbol: bytes of the run, and the token they are (or [`NO_TOKEN`]).
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) token: u32,
}

/// The token that two neighbours make, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Join {
    pub(super) priority: u32,
    pub(super) token: u32,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    token: u32,
    prev: u32,
    /// Also [`NONE`] in a symbol that an earlier one has swallowed.
    next: u32,
}

/// A pair in the heap; compared by priority, then from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    priority: u32,
    left: u32,
    /// Bytes of both symbols together: anything else means that one of them has changed.
    len: u32,
    token: u32,
}

/// Memory of the loop, kept from run to run.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Pair>>,
    /// Bytes of the run.
    end: u32,
}

impl Merger {
    /// Starts a new run of at most `symbols` symbols.
    pub(super) fn begin(&mut self, symbols: usize) {
        self.symbols.clear();
        self.heap.clear();
        self.end = 0;
        if self.symbols.capacity() < symbols {
            self.symbols.reserve_exact(symbols);
        }
    }

    /// Appends the next `len` bytes of the run as one symbol. A run has at most [`MAX_RUN`] bytes.
    pub(super) fn push(&mut self, len: usize, token: u32) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        let prev = index.checked_sub(1).unwrap_or(NONE);
        self.symbols.push(Symbol { start: self.end, token, prev, next: NONE });
        self.end += len as u32;
    }

    /// Joins all that join, then calls `emit` for every symbol left.
    pub(super) fn run(&mut self, joins: &impl Joins, mut emit: impl FnMut(Part)) {
        let mut pairs = core::mem::take(&mut self.heap).into_vec();
        // Room to grow a little: see `make_room`.
        let room = self.symbols.len() + self.symbols.len() / 4 + 16;
        if pairs.capacity() < room {
            pairs.reserve_exact(room);
        }
        pairs.extend((0..self.symbols.len() as u32).filter_map(|left| self.pair(joins, left)).map(Reverse));
        self.heap = pairs.into();
        while let Some(Reverse(pair)) = self.heap.pop() {
            let Some(right) = self.still_there(pair) else { continue };
            let next = core::mem::replace(&mut self.symbols[right as usize].next, NONE);
            let left = &mut self.symbols[pair.left as usize];
            left.next = next;
            left.token = pair.token;
            let prev = left.prev;
            if next != NONE {
                self.symbols[next as usize].prev = pair.left;
            }
            self.make_room();
            let before = if prev == NONE { None } else { self.pair(joins, prev) };
            self.heap.extend(before.into_iter().chain(self.pair(joins, pair.left)).map(Reverse));
        }
        let mut at = if self.symbols.is_empty() { NONE } else { 0 };
        while at != NONE {
            emit(self.part(at));
            at = self.symbols[at as usize].next;
        }
    }

    /// A symbol and its right neighbour, if they join.
    fn pair(&self, joins: &impl Joins, left: u32) -> Option<Pair> {
        let right = self.symbols[left as usize].next;
        if right == NONE {
            return None;
        }
        let (a, b) = (self.part(left), self.part(right));
        let Join { priority, token } = joins.join(a, b)?;
        Some(Pair { priority, left, len: b.end - a.start, token })
    }

    /// Drops outdated pairs when the heap is full, rather than letting it grow. A heap that was full holds at most as
    /// many pairs as there are symbols afterwards, so this pays for itself.
    fn make_room(&mut self) {
        if self.heap.len() + 2 <= self.heap.capacity() {
            return;
        }
        let mut heap = core::mem::take(&mut self.heap);
        heap.retain(|&Reverse(pair)| self.still_there(pair).is_some());
        self.heap = heap;
    }

    /// The right symbol of a pair that has not changed.
    fn still_there(&self, pair: Pair) -> Option<u32> {
        let left = &self.symbols[pair.left as usize];
        let same = left.next != NONE && self.part(left.next).end - left.start == pair.len;
        same.then_some(left.next)
    }

    fn part(&self, index: u32) -> Part {
        let Symbol { start, token, next, .. } = self.symbols[index as usize];
        let end = if next == NONE { self.end } else { self.symbols[next as usize].start };
        Part { start, end, token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::cell::Cell;

    /// Joins equal tokens: t + t = t + 1, small ones first. Counts the questions.
    struct Doubling {
        asked: Cell<usize>,
    }

    impl Joins for Doubling {
        fn join(&self, left: Part, right: Part) -> Option<Join> {
            self.asked.set(self.asked.get() + 1);
            (left.token == right.token).then_some(Join { priority: left.token, token: left.token + 1 })
        }
    }

    fn merged(n: usize) -> (Vec<u32>, usize) {
        let mut merger = Merger::default();
        merger.begin(n);
        (0..n).for_each(|_| merger.push(1, 0));
        let doubling = Doubling { asked: Cell::new(0) };
        let mut tokens = Vec::new();
        merger.run(&doubling, |part| tokens.push(part.token));
        (tokens, doubling.asked.get())
    }

    #[test]
    fn joins_from_left_to_right_and_small_before_large() {
        assert_eq!(merged(0).0, []);
        assert_eq!(merged(1).0, [0]);
        assert_eq!(merged(13).0, [3, 2, 0]);
    }

    #[test]
    fn a_run_of_one_letter_takes_linearly_many_questions() {
        for n in [1 << 10, 1 << 16] {
            let (tokens, asked) = merged(n);
            assert_eq!(tokens, [n.trailing_zeros()]);
            assert!(asked <= 3 * n, "{asked} questions for {n} symbols");
        }
    }

    #[test]
    fn parts_keep_their_bytes() {
        let mut merger = Merger::default();
        merger.begin(3);
        for (len, token) in [(1, 5), (2, 5), (3, 9)] {
            merger.push(len, token);
        }
        let mut parts = vec![];
        merger.run(&Doubling { asked: Cell::new(0) }, |p| parts.push((p.start, p.end, p.token)));
        assert_eq!(parts, [(0, 3, 6), (3, 6, 9)]);
    }
}
