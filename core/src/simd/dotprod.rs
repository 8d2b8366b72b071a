//! 64-bit Arm with dot products of bytes: phones since about 2018, Apple since M1, Graviton since 2.
//!
//! The library's function for the instruction is not stable, so it is written as assembly.

use super::{Isa, Kernel, Neon};
use crate::ops::eight;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use core::arch::aarch64::*;
use core::arch::asm;

/// Proof that the processor has byte dot products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dotprod(Neon);

impl Dotprod {
    /// The proof, without proof.
    ///
    /// # Safety
    /// The processor must have the dot product extension (`asimddp`).
    pub const unsafe fn new_unchecked() -> Self {
        Self(Neon)
    }
}

/// Sums of four signed products each, of 16 bytes. Only for functions that hold a [`Dotprod`].
#[inline(always)]
fn dot(w: uint8x16_t, x: uint8x16_t) -> int32x4_t {
    // SAFETY: a `Dotprod` exists only where this instruction does; it works on registers alone.
    unsafe {
        let mut sums = vdupq_n_s32(0);
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
        sums
    }
}

impl Isa for Dotprod {
    type F32x8 = <Neon as Isa>::F32x8;
    type I32x8 = <Neon as Isa>::I32x8;
    type I8x32 = <Neon as Isa>::I8x32;

    const REGISTERS: usize = Neon::REGISTERS;

    like_the_level_below!();
    like_the_level_below! {
        fn spread(bits: u32, value: u8) -> Self::I8x32;
        fn negate(v: Self::I8x32, signs: u32) -> Self::I8x32;
    }

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn dot_u7(self, w: Self::I8x32, x: Self::I8x32) -> Self::I32x8 {
        // Up to 127, unsigned and signed bytes are the same.
        self.dot_i8(w, x)
    }

    #[inline(always)]
    fn dot_i8(self, w: Self::I8x32, x: Self::I8x32) -> Self::I32x8 {
        [dot(w[0], x[0]), dot(w[1], x[1])]
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
