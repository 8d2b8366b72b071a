//! What a kernel may ask of an instruction set with 512-bit registers, beside [`Isa`]: sixteen lanes, one row each.

use super::Isa;
use crate::ops::floats::Floats;

/// An instruction set with sixteen lanes, and 32 registers of them.
///
/// A quad is four neighbouring bytes of one row: sixteen rows' quads fill a register.
pub trait Wide: Isa {
    /// Sixteen `f32`.
    type F32x16: Copy;
    /// Sixteen `i32`.
    type I32x16: Copy;

    /// [`Isa::enter`] for these.
    fn enter_wide<K: WideKernel>(self, kernel: K);

    /// `x` in every lane.
    fn splat_wide(self, x: f32) -> Self::F32x16;
    /// From memory, of any alignment.
    fn load_wide(self, x: &[f32; 16]) -> Self::F32x16;
    /// To memory.
    fn store_wide(self, v: Self::F32x16, to: &mut [f32; 16]);
    /// `a + b`.
    fn add_wide(self, a: Self::F32x16, b: Self::F32x16) -> Self::F32x16;
    /// `a * b`.
    fn mul_wide(self, a: Self::F32x16, b: Self::F32x16) -> Self::F32x16;
    /// `a * b + c`.
    fn mul_add_wide(self, a: Self::F32x16, b: Self::F32x16, c: Self::F32x16) -> Self::F32x16;
    /// `c - a * b`.
    fn neg_mul_add_wide(self, a: Self::F32x16, b: Self::F32x16, c: Self::F32x16) -> Self::F32x16;
    /// `x` in every lane.
    fn splat_i32_wide(self, x: i32) -> Self::I32x16;
    /// Converts from integers below 2^24, exactly.
    fn float_i32_wide(self, v: Self::I32x16) -> Self::F32x16;

    /// Sixteen quads from memory, of any alignment.
    fn load_quads(self, x: &[u8; 64]) -> Self::I32x16;
    /// To every lane of `sum` adds the products of its unsigned quad and the signed quad `x`.
    fn dot_quads(self, w: Self::I32x16, x: &[u8; 4], sum: Self::I32x16) -> Self::I32x16;
    /// Transposes sixteen rows of eight quads, each byte of them `^ flip`.
    fn quads_side_by_side(self, rows: [Self::I8x32; 16], flip: u8, to: &mut [[u8; 64]; 8]);
    /// Transposes sixteen rows of eight floats.
    fn floats_side_by_side(self, rows: [Self::F32x8; 16], to: &mut [[f32; 16]; 8]);
}

/// [`super::Kernel`] for [`Wide`].
pub trait WideKernel {
    /// Does the work. Must be `#[inline(always)]`, like every generic function that it calls.
    fn run<I: Wide>(self, isa: I);
}

/// How the floats of sixteen rows are multiplied. A cell is 32 bits of a row: a float, or two bfloats.
pub trait Cells: Copy {
    /// The instruction set with these cells.
    type Isa: Wide;

    /// Weights in a cell.
    const WEIGHTS: usize;

    /// The instruction set with these cells.
    fn isa(self) -> Self::Isa;
    /// [`Isa::enter`] for these.
    fn enter_cells<K: CellsKernel<Self>>(self, kernel: K);

    /// Transposes the bytes of eight cells' weights in each of sixteen rows.
    fn side_by_side<F: Floats>(self, rows: [&[u8]; 16], to: &mut [[u8; 64]; 8]);
    /// A token's values as cells, where they are or in `to`.
    fn activations<'a>(self, x: &'a [f32], to: &'a mut [[u8; 4]]) -> &'a [[u8; 4]];
    /// `w * x + sum`, or the sum of both products of a cell.
    fn mul_add_cells(
        self,
        w: <Self::Isa as Wide>::I32x16,
        x: <Self::Isa as Wide>::I32x16,
        sum: <Self::Isa as Wide>::F32x16,
    ) -> <Self::Isa as Wide>::F32x16;
}

/// [`super::Kernel`] for [`Cells`].
pub trait CellsKernel<C: Cells> {
    /// Does the work. Must be `#[inline(always)]`, like every generic function that it calls.
    fn run(self, cells: C);
}
