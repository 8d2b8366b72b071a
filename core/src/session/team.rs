//! Who works on the next token: all threads, or the caller's alone.
//!
//! Threads pay where each has a core of its own. Where another program holds one, they take turns on the others, and
//! handing each step over only costs; no system tells that beforehand. But one token is as much work as the next: so
//! tokens are timed, and now and then one is done the other way, whose time decides whether more are.

/// Tokens before the other way is tried for the first time, and the most there are between two tries: every try that
/// changes nothing doubles them.
const WAIT: (u32, u32) = (32, 256);

pub(super) struct Team {
    /// The usual way: the caller's thread alone.
    alone: bool,
    /// Times of the last tokens that went the usual way, and of those of a try.
    usual: [u64; 3],
    tried: [u64; 3],
    /// When the token began that is under way.
    began: Option<u64>,
    /// Tokens until the other way is tried, and how many there were; from 0 on it is.
    left: u32,
    wait: u32,
    /// Tokens of this try.
    n: usize,
}

impl Team {
    pub(super) fn new() -> Self {
        Self { alone: false, usual: [0; 3], tried: [0; 3], began: None, left: WAIT.0, wait: WAIT.0, n: 0 }
    }

    /// A token begins, at a time in microseconds; nothing where there is no clock, or for what is not a single token.
    pub(super) fn begins(&mut self, now: Option<u64>) {
        self.began = now;
    }

    /// Whether the caller's thread works alone on what has begun.
    pub(super) fn is_alone(&self) -> bool {
        self.began.is_some() && self.alone != (self.left == 0)
    }

    /// What has begun is done.
    pub(super) fn ends(&mut self, now: Option<u64>) {
        if let (Some(began), Some(now)) = (self.began.take(), now) {
            self.took(now.saturating_sub(began));
        }
    }

    fn took(&mut self, time: u64) {
        if self.left > 0 {
            self.usual.rotate_left(1);
            self.usual[2] = time;
            self.left -= 1;
            self.n = 0;
            return;
        }
        self.n += 1;
        // Threads that slept wake late for their first token.
        let Some(counts) = self.n.checked_sub(1 + usize::from(self.alone)) else { return };
        self.tried[counts] = time;
        let usual = middle(self.usual);
        let hopeless = time.saturating_mul(4) > usual.saturating_mul(5);
        if !hopeless && counts < 2 {
            return;
        }
        if !hopeless && middle(self.tried).saturating_mul(32) < usual.saturating_mul(31) {
            *self = Self { alone: !self.alone, ..Self::new() };
        } else {
            self.wait = (2 * self.wait).min(WAIT.1);
            self.left = self.wait;
        }
    }
}

/// Of three, so that one token which was interrupted decides nothing.
fn middle([a, b, c]: [u64; 3]) -> u64 {
    a.min(b).max(a.max(b).min(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does tokens that take so long with all threads and alone; returns how many were done alone.
    fn run(team: &mut Team, tokens: usize, times: [u64; 2]) -> usize {
        let mut now = 0;
        let mut alone = 0;
        for _ in 0..tokens {
            team.begins(Some(now));
            alone += usize::from(team.is_alone());
            now += times[usize::from(team.is_alone())];
            team.ends(Some(now));
        }
        alone
    }

    #[test]
    fn the_faster_way_is_found_and_the_other_costs_little() {
        let mut team = Team::new();
        let tries = run(&mut team, 1000, [600, 1000]);
        assert!((1..=8).contains(&tries), "{tries} tokens alone although threads are faster");
        // Somebody else takes a core.
        let alone = run(&mut team, 1000, [1200, 1000]);
        assert!(alone > 700, "{alone} tokens alone although threads are slower");
        // And gives it back.
        let alone = run(&mut team, 1000, [600, 1000]);
        assert!(alone < 300, "{alone} tokens alone although threads are faster again");
    }

    #[test]
    fn nothing_is_tried_without_a_clock_or_with_several_tokens() {
        let mut team = Team::new();
        for _ in 0..1000 {
            team.begins(None);
            assert!(!team.is_alone());
            team.ends(None);
        }
    }

    #[test]
    fn what_makes_no_difference_changes_nothing() {
        let mut team = Team::new();
        assert!(run(&mut team, 1000, [1000, 990]) < 30);
    }
}
