//! Sorting in little code: the standard library's own is 5 to 15 KB of a module for every new type and order. Equal items
//! end in any order, and no input takes more than `O(n log n)` steps.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// Which of two comes first.
pub(crate) type Order<'a, T> = &'a dyn Fn(&T, &T) -> Ordering;

/// The numbers below `n`, sorted.
pub(crate) fn sorted_below(n: usize, order: &dyn Fn(usize, usize) -> Ordering) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..n as u32).collect();
    sort(&mut numbers, &|&a, &b| order(a as usize, b as usize));
    numbers
}

/// Sorts by parts around an item of the middle, and what that does not divide by a heap (introsort, Musser 1997).
pub(crate) fn sort<T: Copy>(items: &mut [T], order: Order<'_, T>) {
    if !items.is_sorted_by(|a, b| order(a, b).is_le()) {
        sort_parts(items, order, most_parts(items.len()));
    }
}

fn sort_parts<T: Copy>(mut items: &mut [T], order: Order<'_, T>, mut depth: u32) {
    while items.len() > FEW {
        if depth == 0 {
            return sort_few(items, |a, b| order(a, b).is_lt());
        }
        depth -= 1;
        let middle = divide(items, order);
        let (before, after) = items.split_at_mut(middle);
        let after = &mut after[1..];
        let (short, long) = if before.len() < after.len() { (before, after) } else { (after, before) };
        sort_parts(short, order, depth);
        items = long;
    }
    for end in 1..items.len() {
        let item = items[end];
        let mut at = end;
        while at > 0 && order(&item, &items[at - 1]).is_lt() {
            items[at] = items[at - 1];
            at -= 1;
        }
        items[at] = item;
    }
}

/// Moves the first `n` in `order` (not 0) to the front, the last of them behind the others.
pub(crate) fn split<T: Copy>(mut items: &mut [T], mut n: usize, order: Order<'_, T>) {
    for _ in 0..most_parts(items.len()) {
        if items.len() <= FEW {
            break;
        }
        let middle = divide(items, order);
        match n.cmp(&(middle + 1)) {
            Ordering::Less => items = &mut items[..middle],
            Ordering::Equal => return,
            Ordering::Greater => {
                n -= middle + 1;
                items = &mut items[middle + 1..];
            }
        }
    }
    sort_parts(items, order, 0);
}

/// What is sorted without dividing it.
const FEW: usize = 12;

/// How often as many items are divided at most: twice as often as halving them takes.
fn most_parts(n: usize) -> u32 {
    2 * n.max(1).ilog2()
}

/// Moves all that come before a certain item to the front, behind them the item, whose place is returned.
#[inline(never)]
fn divide<T: Copy>(items: &mut [T], order: Order<'_, T>) -> usize {
    items.swap(0, median(items, order, 0, items.len()));
    let pivot = items[0];
    let mut n_before = 0;
    for i in 1..items.len() {
        // Whether an item comes before is anybody's guess: it is counted, not branched on.
        let before = order(&items[i], &pivot).is_lt();
        items.swap(n_before + 1, i);
        n_before += usize::from(before);
    }
    items.swap(0, n_before);
    n_before
}

/// The place of an item that is likely near the middle: of a few items the median of three, of many that of three such.
fn median<T>(items: &[T], order: Order<'_, T>, from: usize, len: usize) -> usize {
    let eighth = len / 8;
    let mut places = [from, from + 4 * eighth, from + 7 * eighth];
    if len >= 64 {
        places = places.map(|from| median(items, order, from, eighth));
    }
    let [a, b, c] = places;
    let less = |a: usize, b: usize| order(&items[a], &items[b]).is_lt();
    match (less(a, b), less(b, c)) {
        (ab, bc) if ab == bc => b,
        (ab, _) if ab == less(a, c) => c,
        _ => a,
    }
}

/// Sorts what is short or sorted only once, by a heap.
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Lists of many lengths: of random numbers, of few different ones, sorted, falling, and organ pipes.
    fn lists() -> impl Iterator<Item = Vec<u32>> {
        let lengths = (0..40).chain([100, 1000, 5000]);
        lengths.flat_map(|n: u32| {
            let random = |i: u32| i.wrapping_mul(0x9e37_79b1).rotate_left(13).wrapping_mul(0x85eb_ca6b);
            let shapes: [&dyn Fn(u32) -> u32; 6] =
                [&random, &|i| random(i) % 3, &|i| i, &|i| n - i, &|i| i.min(n - i), &|_| 7];
            shapes.map(|shape| (0..n).map(shape).collect())
        })
    }

    #[test]
    fn all_is_sorted_as_the_standard_library_does() {
        for list in lists() {
            let mut expected = list.clone();
            expected.sort();
            let mut sorted = list.clone();
            sort(&mut sorted, &u32::cmp);
            assert_eq!(sorted, expected);
            sorted.clone_from(&list);
            sort_few(&mut sorted, |a, b| a < b);
            assert_eq!(sorted, expected);
            let below = sorted_below(list.len(), &|a, b| list[a].cmp(&list[b]).then(a.cmp(&b)));
            let mut expected: Vec<u32> = (0..list.len() as u32).collect();
            expected.sort_by_key(|&i| list[i as usize]);
            assert_eq!(below, expected);
        }
    }

    #[test]
    fn the_first_of_all_are_split_off() {
        for list in lists() {
            let mut sorted = list.clone();
            sorted.sort();
            let n = list.len();
            for first in [1, 2, n / 3, n / 2, n].into_iter().filter(|first| (1..=n).contains(first)) {
                let mut items = list.clone();
                split(&mut items, first, &u32::cmp);
                assert_eq!(items[first - 1], sorted[first - 1]);
                items[..first].sort();
                items[first..].sort();
                assert_eq!(items, sorted);
            }
        }
    }

    /// McIlroy's adversary (1999): it says of two items what makes the sort's choices the worst.
    #[test]
    fn no_order_takes_long() {
        const N: usize = 1 << 14;
        let run = |sort: &dyn Fn(&mut [u32], Order<'_, u32>)| {
            let unset = N as u32;
            let values: Vec<Cell<u32>> = (0..N).map(|_| Cell::new(unset)).collect();
            // The first is the largest of all: they are not sorted already.
            values[0].set(unset + 1);
            let (set, candidate, asked) = (Cell::new(0), Cell::new(0), Cell::new(0));
            let order = |&a: &u32, &b: &u32| {
                asked.set(asked.get() + 1);
                let (x, y) = (&values[a as usize], &values[b as usize]);
                if x.get() == unset && y.get() == unset {
                    let frozen = if a == candidate.get() { x } else { y };
                    frozen.set(set.get());
                    set.set(set.get() + 1);
                }
                if x.get() == unset {
                    candidate.set(a);
                } else if y.get() == unset {
                    candidate.set(b);
                }
                x.get().cmp(&y.get())
            };
            let mut items: Vec<u32> = (0..N as u32).collect();
            sort(&mut items, &order);
            asked.get()
        };
        // Without a limit to its dividing it would ask three times as often.
        let most = 5 * N * N.ilog2() as usize;
        for asked in
            [run(&|items, order| sort(items, order)), run(&|items, order| split(items, N / 2, order))]
        {
            assert!(asked < most, "{asked} of {most}");
        }
    }
}
