//! What a kernel may ask of an instruction set with 128-bit registers, beside [`Isa`]: four lanes.

use core::hint::black_box;

use super::Isa;
use crate::ops::activations::{Input, Split};

/// An instruction set with four lanes.
pub trait Narrow: Isa {
    /// Four `f32`.
    type F32x4: Copy;
    /// Four `i32`.
    type I32x4: Copy;

    /// The first four lanes, and the last.
    fn halves(self, v: Self::F32x8) -> [Self::F32x4; 2];
    /// `x` in every lane.
    fn splat_narrow(self, x: f32) -> Self::F32x4;
    /// Four halves. What would be infinite or no number counts as a number.
    fn four_halves(self, bits: &[u8; 8]) -> Self::F32x4;
    /// To memory.
    fn store_narrow(self, v: Self::F32x4, to: &mut [f32; 4]);
    /// `a + b`.
    fn add_narrow(self, a: Self::F32x4, b: Self::F32x4) -> Self::F32x4;
    /// `a - b`.
    fn sub_narrow(self, a: Self::F32x4, b: Self::F32x4) -> Self::F32x4;
    /// `a * b`.
    fn mul_narrow(self, a: Self::F32x4, b: Self::F32x4) -> Self::F32x4;
    /// `a * b + c`.
    fn mul_add_narrow(self, a: Self::F32x4, b: Self::F32x4, c: Self::F32x4) -> Self::F32x4;
    /// The sum of the lanes, in any order.
    fn sum_narrow(self, v: Self::F32x4) -> f32;
    /// Converts from integers below 2^24, exactly.
    fn float_i32_narrow(self, v: Self::I32x4) -> Self::F32x4;

    /// Runs a kernel with the fastest products for weights that have a sign, or else have no more than `bits` bits, at
    /// most 6.
    fn with_products<K: ProductsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output;
}

/// Work that needs products.
pub trait ProductsKernel<I: Narrow> {
    /// What the work returns.
    type Output;

    /// Does the work; `flip` is what every weight is to be xored with.
    fn run<P: Products<I>>(self, flip: u8) -> Self::Output;
}

/// A way to multiply bytes along a row: weights with activations, which are at least -127.
pub trait Products<I: Narrow> {
    /// What [`Self::of_fours`] takes for 32 activations.
    type Activations: Activations;

    /// The products of 32 weights, each `^ flip`, and activations, in four sums.
    fn of_32(w: I::I8x32, x: &[u8; 32], flip: u8) -> I::I32x4;

    /// The same of the first 16, and of the last.
    fn of_16(w: I::I8x32, x: &[u8; 32], flip: u8) -> [I::I32x4; 2];

    /// The products of 32 weights of four rows, `N` times, with the same activations: a sum of every row, to which `start`
    /// is added. `w(n, v)` are those of quads `v` and `v + 4`, as [`crate::ops::fours::Fours::quads`] has them, of `bits`
    /// bits: 8 with a sign, at most 5 without.
    fn of_fours<const N: usize>(
        w: impl Fn(usize, usize) -> I::I8x32,
        bits: u32,
        x: &Self::Activations,
        flip: u8,
        start: i32,
    ) -> [I::I32x4; N];
}

/// A form of a token's activations, 32 of them.
pub trait Activations: Sized + 'static {
    /// The token's, by steps.
    fn steps<'a>(x: &Input<'a>) -> impl Iterator<Item = &'a [Self; 8]>;
}

impl Activations for [u8; 32] {
    #[inline(always)]
    fn steps<'a>(x: &Input<'a>) -> impl Iterator<Item = &'a [Self; 8]> {
        x.steps.iter().map(|step| &step.q)
    }
}

impl Activations for Split {
    #[inline(always)]
    fn steps<'a>(x: &Input<'a>) -> impl Iterator<Item = &'a [Self; 8]> {
        x.split.iter()
    }
}

/// The quads of 32 weights by twos, 0 to 3: a loop of which the compiler does not know that it has four turns.
///
/// Of four in a row it would multiply those of one row after the other, and all activations would wait for the next row
/// on the stack.
#[inline(always)]
pub(super) fn quads() -> impl Iterator<Item = usize> {
    (0..black_box(4)).map(|v| v & 3)
}
