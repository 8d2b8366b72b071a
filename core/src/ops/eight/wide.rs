//! The multiplying of [`super`] in 16 bits.
//!
//! Numbers take twice the room, and V8 has few registers to spare. So a group of weights meets all tokens before the next
//! one does: little changes in that loop, and the sums of many tokens wait in memory. With the groups as the inner loop, as
//! bytes have it, prompts took 8 % longer.

use core::marker::PhantomData;

use super::{Multiply, Place, ROWS, Shape, TOKENS, Weights, add_scaled, bytes, groups_of, put_all, quads_of};
use crate::ops::activations::{MAY_BE_WIDE, STEP, Wide32};
use crate::ops::integers::Unpacked;
use crate::simd::{Isa, Kernel, SideBySide, WideDots};

/// How many times [`TOKENS`] tokens have sums that wait: 8 KB of them.
pub(super) const WAITING: usize = if MAY_BE_WIDE { 64 } else { 0 };

/// Lays a step of rows side by side and widens it for groups of so many `quads`.
pub(super) struct SideBySideBy<'a, I, D> {
    pub isa: I,
    pub rows: &'a [Unpacked; ROWS],
    pub quads: usize,
    pub to: &'a mut Weights,
    pub dots: PhantomData<D>,
}

impl<I: SideBySide, D: WideDots<I>> Kernel for SideBySideBy<'_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        let Self { isa, rows, quads, to, .. } = self;
        for (i, to) in quads_of(&mut to.q).as_chunks_mut().0.iter_mut().enumerate() {
            D::side_by_side(isa, bytes(rows, i), to);
        }
        D::widen(isa, &mut to.q, quads, &mut to.start);
    }
}

/// The same for rows that lie by fours, and so side by side already.
pub(super) struct WidenBy<'a, I, D> {
    pub isa: I,
    pub quads: usize,
    pub to: &'a mut Weights,
    pub dots: PhantomData<D>,
}

impl<I: SideBySide, D: WideDots<I>> Kernel for WidenBy<'_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        D::widen(self.isa, &mut self.to.q, self.quads, &mut self.to.start);
    }
}

/// Multiplies a piece of 8 rows with all tokens.
pub(super) struct MultiplyBy<'a, 'b, I: Isa, D>(pub Multiply<'a, 'b, I>, pub PhantomData<D>);

impl<I: SideBySide, D: WideDots<I>> Kernel for MultiplyBy<'_, '_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        let Multiply { isa, shape, weights, groups, x, sums, place: Place { out, start, r, .. } } = self.0;
        let tiles = x.tokens().div_ceil(TOKENS);
        for first in (0..tiles).step_by(sums.len()) {
            let n = sums.len().min(tiles - first);
            let sums = &mut sums[..n];
            sums.fill([isa.zero(); TOKENS]);
            for (s, w) in weights.iter().enumerate() {
                for group in 0..groups_of(s, groups) {
                    let i = (start + s) * (STEP / 32) + group;
                    let x = &x.wide[i * tiles + first..][..n];
                    if shape.group == 32 {
                        add_group::<I, D, 8>(isa, shape, (w, group), x, sums);
                    } else {
                        add_group::<I, D, 4>(isa, shape, (w, 2 * group), x, sums);
                        add_group::<I, D, 4>(isa, shape, (w, 2 * group + 1), x, sums);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                put_all(isa, sums.iter().copied(), start == 0, out, (first + i) * TOKENS, r);
            }
        }
    }
}

/// Adds the products of group `g` of 8 rows, which has `QUADS` fours, and all of `x`.
#[inline(always)]
fn add_group<I: SideBySide, D: WideDots<I>, const QUADS: usize>(
    isa: I,
    shape: &Shape<I>,
    (w, g): (&Weights, usize),
    x: &[Wide32],
    sums: &mut [[I::F32x8; TOKENS]],
) {
    let (q, half) = (&w.q.as_chunks().0.as_chunks().0[g], g % (8 / QUADS));
    D::dots::<QUADS, _>(isa, &w.start[g], q, half, x, sums, |x, products, sums| {
        let (head, sum) = x.known::<QUADS>(half);
        add_scaled(isa, shape, (w, g), products, |t| head.scale[t], |t| sum[t], sums);
    });
}
