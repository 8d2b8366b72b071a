//! Shared bytes that can be cut into ranges without copying: a memory map, a `Vec`, flash, browser memory.

use alloc::sync::Arc;
use core::fmt;
use core::ops::{Deref, Range};

/// A range of bytes that somebody keeps alive. Cloning and slicing cost a reference count.
///
/// The owner must return the same bytes at every call of `as_ref`, as vectors, maps and statics do.
/// One that shrinks between calls makes accesses panic; it cannot cause anything worse.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// All bytes of `owner`.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        Self { owner: Arc::new(owner), range }
    }

    /// The bytes `range` of these, or `None` when they are not all there.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let range = self.range.start + range.start..self.range.start + range.end;
        Some(Self { owner: Arc::clone(&self.owner), range })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn slices_of_slices_stay_inside() {
        let bytes = Bytes::new(vec![0u8, 1, 2, 3, 4]);
        let middle = bytes.slice(1..4).unwrap();
        assert_eq!(*middle, [1, 2, 3]);
        assert_eq!(*middle.slice(1..3).unwrap(), [2, 3]);
        assert!(middle.slice(0..4).is_none());
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = 3..2;
        assert!(middle.slice(reversed).is_none());
        assert!(bytes.slice(usize::MAX - 1..usize::MAX).is_none());
    }
}
