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
    /// `x` in every lane.
    fn splat_i32_narrow(self, x: i32) -> Self::I32x4;
    /// Converts from integers below 2^24, exactly.
    fn float_i32_narrow(self, v: Self::I32x4) -> Self::F32x4;

    /// How [`Narrow::dots`] wants weights that have signs.
    fn signed_weights(self) -> SignedWeights;
    /// Lays 32 bytes of each of eight rows side by side, in the order that [`Narrow::dots`] takes, each byte `^ flip`.
    fn side_by_side(self, rows: [Self::I8x32; 8], flip: u8, to: &mut [[u8; 32]; 8]);
    /// Transposes eight rows of eight floats.
    fn floats_side_by_side(self, rows: [Self::F32x8; 8], to: &mut [[f32; 8]; 8]);
    /// To the lanes of `sums`, two times four rows for every token, adds the products of weights of every row, 8 or
    /// more, and as many activations. The weights are at most 127, unless [`Narrow::signed_weights`] allows more;
    /// `SIGNED` is for [`SignedWeights::Slow`].
    ///
    /// # Panics
    /// When the numbers of weights and activations differ.
    fn dots<const TOKENS: usize, const SIGNED: bool>(
        self,
        w: &[[u8; 32]],
        x: [&[u8]; TOKENS],
        sums: &mut [[Self::I32x4; 2]; TOKENS],
    );
    /// The products of 32 weights and activations, in four sums; weights as for [`Narrow::dots`].
    fn dot_32<const SIGNED: bool>(self, w: Self::I8x32, x: Self::I8x32) -> Self::I32x4;
    /// The same of the first 16, and of the last.
    fn dot_16<const SIGNED: bool>(self, w: Self::I8x32, x: Self::I8x32) -> [Self::I32x4; 2];
    /// `a ^ b`.
    fn xor(self, a: Self::I8x32, b: Self::I8x32) -> Self::I8x32;
}

/// How weights with signs are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedWeights {
    /// As they are.
    Plain,
    /// Moved up by 128, so that they have none; the offset is to be taken away again.
    MovedUp,
    /// As they are, by a detour.
    Slow,
}
