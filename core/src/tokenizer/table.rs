//! A hash table of numbers: the keys lie elsewhere, in the file or in an array beside it.
//!
//! Open addressing, at most half full, with a byte of each hash beside the slots, so that a search reads a key only
//! when it is almost certainly the right one. A file that was built to make its keys collide is refused when it is
//! loaded: no search is ever longer than [`MAX_PROBES`].

use alloc::vec;
use alloc::vec::Vec;

/// More neighbours than any honest set of keys produces in a half-empty table (tens, for a million keys).
const MAX_PROBES: usize = 1024;

/// Numbers found by the hash of a key that the caller keeps.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// 0: free; else a byte of the hash.
    tags: Vec<u8>,
    values: Vec<u32>,
}

/// The keys collide as honest ones never do.
#[derive(Debug)]
pub(super) struct Collisions;

impl Table {
    /// An empty table with room for `len` numbers.
    pub(super) fn new(len: usize) -> Self {
        let slots = len.saturating_mul(2).next_power_of_two().max(16);
        Self { tags: vec![0; slots], values: vec![0; slots] }
    }

    /// The number under `hash` whose key satisfies `is_key`.
    pub(super) fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        for at in self.probes(hash) {
            match self.tags[at] {
                0 => return None,
                found if found == tag && is_key(self.values[at]) => return Some(self.values[at]),
                _ => {}
            }
        }
        None
    }

    /// Adds a number whose key is not there yet. At most the `len` numbers of [`Table::new`] may be added.
    pub(super) fn insert(&mut self, hash: u64, value: u32) -> Result<(), Collisions> {
        let free = self.probes(hash).find(|&at| self.tags[at] == 0).ok_or(Collisions)?;
        self.tags[free] = tag(hash);
        self.values[free] = value;
        Ok(())
    }

    /// The slots to look at, in order.
    fn probes(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.tags.len() - 1;
        let start = hash as usize;
        (0..MAX_PROBES.min(mask + 1)).map(move |i| start.wrapping_add(i) & mask)
    }
}

/// The byte of a hash that the slot's number does not depend on, never 0.
fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8 | 1
}

/// FNV-1a, which grows byte by byte, so that all prefixes of a text cost one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher(u64);

impl Hasher {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    #[must_use]
    pub(super) fn and(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    pub(super) fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// Spreads a number over all 64 bits (the finalizer of `SplitMix64`: Steele, Lea, Flood 2014).
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_under_their_keys_only() {
        let keys: Vec<u64> = (0..5000).map(|i| i * i).collect();
        let mut table = Table::new(keys.len());
        for (i, &key) in keys.iter().enumerate() {
            table.insert(mix(key), i as u32).unwrap();
        }
        for (i, &key) in keys.iter().enumerate() {
            assert_eq!(table.find(mix(key), |v| keys[v as usize] == key), Some(i as u32));
        }
        assert_eq!(table.find(mix(3), |v| keys[v as usize] == 3), None);
    }

    #[test]
    fn keys_made_to_collide_are_refused() {
        let mut table = Table::new(5000);
        let inserted = (0..5000).take_while(|&i| table.insert(42, i).is_ok()).count();
        assert_eq!(inserted, MAX_PROBES);
        assert_eq!(table.find(42, |_| false), None);
    }
}
