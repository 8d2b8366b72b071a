//! 64-bit Arm with products of matrices of bytes: Graviton since 3, Apple since M2, phones since about 2021.
//!
//! Prompts gain from them, see `neon_dots.rs`; one token is multiplied as with [`Dotprod`].

use super::{Dotprod, Isa, Kernel};
use crate::ops::eight;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};

/// Proof that the processor has products of matrices of bytes, and all that [`Dotprod`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct I8mm(Dotprod);

impl I8mm {
    /// The proof, without proof.
    ///
    /// # Safety
    /// The processor must have the matrix product extension (`i8mm`).
    pub const unsafe fn new_unchecked(dotprod: Dotprod) -> Self {
        Self(dotprod)
    }
}

impl Isa for I8mm {
    type F32x8 = <Dotprod as Isa>::F32x8;
    type I32x8 = <Dotprod as Isa>::I32x8;
    type I8x32 = <Dotprod as Isa>::I8x32;

    const REGISTERS: usize = Dotprod::REGISTERS;

    like_the_level_below!();
    like_the_level_below! {
        fn spread(bits: u32, value: u8) -> Self::I8x32;
        fn negate(v: Self::I8x32, signs: u32) -> Self::I8x32;
        fn dot_u7(w: Self::I8x32, x: Self::I8x32) -> Self::I32x8;
        fn dot_i8(w: Self::I8x32, x: Self::I8x32) -> Self::I32x8;
    }

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn tokens<F: Lanes>(self, rows: Rows<'_, '_>) {
        eight::tokens::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn ternary_tokens<F: Ternary>(self, rows: Rows<'_, '_>) {
        ternary::eight::tokens::<F, Self>(self, rows);
    }
}
