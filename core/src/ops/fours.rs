//! Integer weights of rows that lie by fours ([`crate::quant::fours`]).
//!
//! WebAssembly's registers multiply them with one token in `narrow.rs` and with several in `eight.rs`. Other processors,
//! which do not ask for such rows, decode them.

use core::marker::PhantomData;

use super::decoded::Decoded;
use super::integers::Lanes;
use super::matmul::Rows;
use crate::quant::Dtype;
use crate::quant::q4_0::Q4_0;
use crate::quant::q5_0::Q5_0;
use crate::quant::q8_0::Q8_0;
use crate::simd::{Isa, Kernel, Level};

/// A format whose rows can lie by fours. Blocks are 32 weights behind their scale, a half, and have an
/// [`Lanes::OFFSET`].
pub trait Fours: Lanes {
    /// The integers of quads `v` and `v + 4`, of `v` below 4, of a block of four rows: 16 of each, 4 of a row.
    fn quads<I: Isa>(isa: I, four: &[u8], v: usize) -> I::I8x32;
}

/// Bytes of the scales that a block of four rows begins with.
pub const SCALES: usize = 8;

/// Multiplies rows that lie by fours.
pub(crate) fn multiply(level: Level, rows: Rows<'_, '_>) {
    if rows.x.steps.is_empty() {
        return level.run(Decoded(rows));
    }
    match rows.w.dtype() {
        Dtype::Q4_0 => level.run(Multiply::<Q4_0>(rows, PhantomData)),
        Dtype::Q5_0 => level.run(Multiply::<Q5_0>(rows, PhantomData)),
        Dtype::Q8_0 => level.run(Multiply::<Q8_0>(rows, PhantomData)),
        other => unreachable!("{other} does not lie by fours"),
    }
}

struct Multiply<'a, 'b, F>(Rows<'a, 'b>, PhantomData<F>);

impl<F: Fours> Kernel for Multiply<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        isa.fours::<F>(self.0);
    }
}
