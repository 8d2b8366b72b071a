//! Who works on the next token: all threads, or the caller's alone.
//!
//! Threads pay where each has a core of its own. Where another program holds one, they take turns on the others, and
//! handing each step over only costs; no system tells that beforehand. But one token is as much work as the next: so
//! tokens are timed, and now and then some are done the other way, whose times decide whether more are. The threads
//! remember for the next session which way is usual, and when the other is to be tried.

/// Tokens of a try. Their mean counts: where a core is busy, most tokens are fast with all threads, and some wait long.
const TRY: usize = 8;

/// Tokens before the other way is tried for the first time, as many as it is compared with, and the most there are between
/// two tries: every try that changes nothing doubles them.
const WAIT: (u32, u32) = (TRY as u32, 256);

pub(super) struct Team {
    /// The usual way: the caller's thread alone.
    alone: bool,
    /// Times of the last tokens that went the usual way, and the sum of those of a try.
    usual: [u64; TRY],
    tried: u64,
    /// When the token began that is under way.
    began: Option<u64>,
    /// Tokens until the other way is tried, and how many there were; from 0 on it is.
    left: u32,
    wait: u32,
    /// Tokens of this try.
    n: usize,
}

impl Team {
    fn new(alone: bool) -> Self {
        Self { alone, usual: [0; TRY], tried: 0, began: None, left: WAIT.0, wait: WAIT.0, n: 0 }
    }

    /// Goes on where an earlier session was: with what [`Self::ends`] returned, or else 0.
    pub(super) fn remembered(found: u32) -> Self {
        let [left, wait] = [found >> 16, found >> 1 & 0x7fff].map(|n| n.clamp(WAIT.0, WAIT.1));
        Self { left, wait, ..Self::new(found & 1 == 1) }
    }

    /// A token begins, at a time in microseconds; nothing where there is no clock, or for what is not a single token.
    pub(super) fn begins(&mut self, now: Option<u64>) {
        self.began = now;
    }

    /// Whether the caller's thread works alone on what has begun.
    pub(super) fn is_alone(&self) -> bool {
        self.began.is_some() && self.alone != (self.left == 0)
    }

    /// What has begun is done. Tells what to remember.
    pub(super) fn ends(&mut self, now: Option<u64>) -> Option<u32> {
        let began = self.began.take()?;
        self.took(now?.saturating_sub(began));
        Some(self.left << 16 | self.wait << 1 | u32::from(self.alone))
    }

    fn took(&mut self, time: u64) {
        if self.left > 0 {
            self.usual.rotate_left(1);
            self.usual[TRY - 1] = time;
            self.left -= 1;
            (self.n, self.tried) = (0, 0);
            return;
        }
        self.n += 1;
        // Threads that slept wake late for their first token.
        let Some(n @ 1..) = self.n.checked_sub(usize::from(self.alone)) else { return };
        self.tried = self.tried.saturating_add(time);
        let usual = self.usual.iter().fold(0, |sum: u64, &time| sum.saturating_add(time));
        let hopeless = self.tried / n as u64 > usual / TRY as u64 / 4 * 5;
        if !hopeless && n < TRY {
            return;
        }
        if !hopeless && self.tried < usual / 32 * 31 {
            *self = Self::new(!self.alone);
        } else {
            self.wait = (2 * self.wait).min(WAIT.1);
            self.left = self.wait;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does tokens that take so long with all threads and alone; returns how many were done alone.
    fn run(team: &mut Team, tokens: usize, times: [u64; 2]) -> usize {
        run_by(team, tokens, |_| times)
    }

    /// The same where times depend on the token.
    fn run_by(team: &mut Team, tokens: usize, times: impl Fn(usize) -> [u64; 2]) -> usize {
        let mut now = 0;
        let mut alone = 0;
        for i in 0..tokens {
            team.begins(Some(now));
            alone += usize::from(team.is_alone());
            now += times(i)[usize::from(team.is_alone())];
            assert!(team.ends(Some(now)).is_some());
        }
        alone
    }

    #[test]
    fn the_faster_way_is_found_and_the_other_costs_little() {
        let mut team = Team::new(false);
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
    fn sessions_go_on_where_the_last_one_was() {
        let mut found = 0;
        let mut sessions = |n: usize, times: [u64; 2]| {
            let mut session = || {
                let mut team = Team::remembered(found);
                let alone = run(&mut team, 50, times);
                team.begins(Some(0));
                found = team.ends(Some(times[usize::from(team.is_alone())])).expect("it was timed");
                alone
            };
            (0..n).map(|_| session()).sum::<usize>()
        };
        let alone = sessions(10, [600, 1000]);
        assert!(alone <= 8, "{alone} tokens alone although threads are faster");
        sessions(10, [3000, 1000]);
        let alone = sessions(20, [3000, 1000]);
        assert!(alone >= 1000 - 8, "{alone} tokens alone although threads are slower");
        sessions(10, [600, 1000]);
        let alone = sessions(20, [600, 1000]);
        assert!(alone <= 8, "{alone} tokens alone although threads are faster again");
    }

    #[test]
    fn whatever_is_remembered_can_be_gone_on_with() {
        for found in [0, 1, u32::MAX, 0x8000_0000, 0x0000_fffe] {
            let alone = run(&mut Team::remembered(found), 1000, [600, 1000]);
            assert!(alone < 300, "{alone} tokens alone although threads are faster");
        }
    }

    #[test]
    fn a_few_tokens_that_wait_long_count() {
        let alone = run_by(&mut Team::new(false), 1000, |i| [if i % 4 == 0 { 3000 } else { 600 }, 1000]);
        assert!(alone > 700, "{alone} tokens alone although threads take 1200 on average");
    }

    #[test]
    fn nothing_is_tried_without_a_clock_or_with_several_tokens() {
        let mut team = Team::new(false);
        for _ in 0..1000 {
            team.begins(None);
            assert!(!team.is_alone());
            assert_eq!(team.ends(None), None);
        }
    }

    #[test]
    fn what_makes_no_difference_changes_nothing() {
        let mut team = Team::new(false);
        let tries = run(&mut team, 1000, [1000, 990]);
        assert!(tries <= 8 * TRY, "{tries} tokens alone");
    }
}
