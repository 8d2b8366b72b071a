//! Sorting, compiled once for many callers: the standard library's own is 5 to 15 KB of a module for every new type and
//! order.

use core::cmp::Ordering;

/// Sorts numbers, such as the indices of what is really compared. Those that `order` calls equal end in any order.
pub(crate) fn sort_numbers(numbers: &mut [u32], order: &dyn Fn(u32, u32) -> Ordering) {
    numbers.sort_unstable_by(|&a, &b| order(a, b));
}

/// Sorts what is short or sorted only once: by a heap, in a twentieth of the standard library's code.
/// Equal ones end in any order.
pub(crate) fn sort_few<T>(items: &mut [T], less: impl Fn(&T, &T) -> bool) {
    for parent in (0..items.len() / 2).rev() {
        sink(items, parent, &less);
    }
    for end in (1..items.len()).rev() {
        items.swap(0, end);
        sink(&mut items[..end], 0, &less);
    }
}

/// Lets an item of a heap, whose largest is the first, sink below all that are larger.
#[inline(never)]
fn sink<T>(heap: &mut [T], mut parent: usize, less: &impl Fn(&T, &T) -> bool) {
    loop {
        let mut largest = parent;
        for child in [2 * parent + 1, 2 * parent + 2] {
            if child < heap.len() && less(&heap[largest], &heap[child]) {
                largest = child;
            }
        }
        if largest == parent {
            return;
        }
        heap.swap(parent, largest);
        parent = largest;
    }
}

/// The numbers below `n`, sorted.
pub(crate) fn sorted_below(n: usize, order: &dyn Fn(usize, usize) -> Ordering) -> alloc::vec::Vec<u32> {
    let mut numbers: alloc::vec::Vec<u32> = (0..n as u32).collect();
    sort_numbers(&mut numbers, &|a, b| order(a as usize, b as usize));
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_few_things_are_sorted() {
        for n in 0..40 {
            let mut items: Vec<u64> = (0..n).map(|i| i * 7919 % 13).collect();
            let mut expected = items.clone();
            expected.sort_unstable();
            sort_few(&mut items, |a, b| a < b);
            assert_eq!(items, expected);
        }
    }
}
