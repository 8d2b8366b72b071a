//! What a kernel may ask of an instruction set with 128-bit registers, beside [`Isa`]: four lanes, one row each.

use super::Isa;

/// An instruction set with four lanes, and sixteen registers of them.
pub trait Narrow: Isa {
    /// Four `f32`.
    type F32x4: Copy;
    /// Four `i32`.
    type I32x4: Copy;

    /// `x` in every lane.
    fn splat_narrow(self, x: f32) -> Self::F32x4;
    /// From memory, of any alignment.
    fn load_narrow(self, x: &[f32; 4]) -> Self::F32x4;
    /// To memory.
    fn store_narrow(self, v: Self::F32x4, to: &mut [f32; 4]);
    /// `a + b`.
    fn add_narrow(self, a: Self::F32x4, b: Self::F32x4) -> Self::F32x4;
    /// `a * b`.
    fn mul_narrow(self, a: Self::F32x4, b: Self::F32x4) -> Self::F32x4;
    /// `a * b + c`.
    fn mul_add_narrow(self, a: Self::F32x4, b: Self::F32x4, c: Self::F32x4) -> Self::F32x4;
    /// `c - a * b`.
    fn neg_mul_add_narrow(self, a: Self::F32x4, b: Self::F32x4, c: Self::F32x4) -> Self::F32x4;
    /// Converts from integers below 2^24, exactly.
    fn float_i32_narrow(self, v: Self::I32x4) -> Self::F32x4;
    /// Transposes eight rows of eight floats.
    fn floats_side_by_side(self, rows: [&[f32; 8]; 8], to: &mut [[f32; 8]; 8]);

    /// Runs a kernel with the fastest dot products for weights that have a sign, or else have no more than `bits` bits,
    /// at most 6.
    fn with_dots<K: DotsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output;
}

/// Work that needs dot products.
pub trait DotsKernel<I: Narrow> {
    /// What the work returns.
    type Output;

    /// Does the work; `flip` is what every weight is to be xored with before the dot products meet it.
    fn run<D: Dots<I>>(self, flip: u8) -> Self::Output;
}

/// A way to multiply bytes: weights with activations, which are at least -127.
pub trait Dots<I: Narrow> {
    /// Lays 32 bytes of each of eight rows side by side, in the order that [`Dots::dots`] takes, each byte `^ flip`.
    fn side_by_side(rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]);

    /// The products of weights of every row, 16 or 32 in `QUADS` fours, and as many activations of every token, summed
    /// in a lane for each row.
    fn dots<const TOKENS: usize, const QUADS: usize>(
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[I::I32x4; 2]; TOKENS];

    /// The products of 32 weights, each `^ flip`, and activations, in four sums.
    fn of_32(w: &[u8; 32], x: &[u8; 32], flip: u8) -> I::I32x4;

    /// The same of the first 16, and of the last.
    fn of_16(w: &[u8; 32], x: &[u8; 32], flip: u8) -> [I::I32x4; 2];
}
