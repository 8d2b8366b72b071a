//! Sorting, compiled once for many callers: the standard library's own is 5 to 15 KB of a module for every new type and
//! order.

use core::cmp::Ordering;

/// Sorts numbers, such as the indices of what is really compared. Those that `order` calls equal end in any order.
pub(crate) fn sort_numbers(numbers: &mut [u32], order: &dyn Fn(u32, u32) -> Ordering) {
    numbers.sort_unstable_by(|&a, &b| order(a, b));
}

/// The numbers below `n`, sorted.
pub(crate) fn sorted_below(n: usize, order: &dyn Fn(usize, usize) -> Ordering) -> alloc::vec::Vec<u32> {
    let mut numbers: alloc::vec::Vec<u32> = (0..n as u32).collect();
    sort_numbers(&mut numbers, &|a, b| order(a as usize, b as usize));
    numbers
}
