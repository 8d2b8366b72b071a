//! Dot products with a lane for each of eight rows on 64-bit Arm.

use super::side_by_side::{AnyDotsKernel, Dots, DotsKernel, SideBySide};
use super::{Dotprod, I8mm, Isa, Neon};
use core::arch::aarch64::*;
use core::arch::asm;

macro_rules! neon {
    ($($body:tt)*) => {
        // SAFETY: this module is compiled only where the whole program may use NEON; memory is reached through
        // references of just the length that is read or written.
        unsafe { $($body)* }
    };
}

impl SideBySide for Neon {
    #[inline(always)]
    fn with_dots<K: AnyDotsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output {
        match bits {
            _ if signed => kernel.run::<Folded<2>>(0),
            ..=4 => kernel.run::<Folded<8>>(0),
            _ => kernel.run::<Folded<4>>(0),
        }
    }

    #[inline(always)]
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output {
        kernel.run::<Folded<32>>(0)
    }
}

impl SideBySide for Dotprod {
    #[inline(always)]
    fn with_dots<K: AnyDotsKernel<Self>>(self, _: bool, _: u32, kernel: K) -> K::Output {
        kernel.run::<Quads>(0)
    }

    #[inline(always)]
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output {
        kernel.run::<Quads>(0)
    }
}

impl SideBySide for I8mm {
    #[inline(always)]
    fn with_dots<K: AnyDotsKernel<Self>>(self, _: bool, _: u32, kernel: K) -> K::Output {
        kernel.run::<Pairs>(0)
    }

    #[inline(always)]
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output {
        kernel.run::<Pairs>(0)
    }
}

/// Products added up in 16 bits, `N` of each lane before they are widened: 32 for weights of up to 2 bits
/// (`32 * 3 * 127` fits), 8 for weights of up to 4, 4 for weights of up to 6, 2 for weights with signs (`2 * -128 * 127`).
struct Folded<const N: usize>;

impl<const N: usize> Dots<Neon> for Folded<N> {
    const TERNARY_TOKENS: usize = 4;

    /// Quads, four neighbouring bytes of a row.
    #[inline(always)]
    fn side_by_side(isa: Neon, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(isa, rows, flip, to);
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        isa: Neon,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[int32x4_t; 2]; TOKENS] {
        neon! {
            // Of each two rows: two sums of products of the first row, two of the second.
            let mut sums = [[vdupq_n_s32(0); 4]; TOKENS];
            for from in (0..QUADS).step_by(N) {
                let mut products = [[vdupq_n_s16(0); 4]; TOKENS];
                for j in from..QUADS.min(from + N) {
                    let [low, high] = isa.load_bytes(&w[j]).map(|w| vreinterpretq_s8_u8(w));
                    for t in 0..TOKENS {
                        let x = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(x[t][j])));
                        let p = &mut products[t];
                        p[0] = vmlal_s8(p[0], vget_low_s8(low), vget_low_s8(x));
                        p[1] = vmlal_high_s8(p[1], low, x);
                        p[2] = vmlal_s8(p[2], vget_low_s8(high), vget_low_s8(x));
                        p[3] = vmlal_high_s8(p[3], high, x);
                    }
                }
                for t in 0..TOKENS {
                    for i in 0..4 {
                        sums[t][i] = vpadalq_s16(sums[t][i], products[t][i]);
                    }
                }
            }
            let mut out = [[vdupq_n_s32(0); 2]; TOKENS];
            for t in 0..TOKENS {
                out[t] = [vpaddq_s32(sums[t][0], sums[t][1]), vpaddq_s32(sums[t][2], sums[t][3])];
            }
            out
        }
    }
}

/// Dot products of four bytes.
struct Quads;

impl Dots<Dotprod> for Quads {
    const TERNARY_TOKENS: usize = 8;

    /// Quads, four neighbouring bytes of a row.
    #[inline(always)]
    fn side_by_side(isa: Dotprod, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(isa, rows, flip, to);
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        isa: Dotprod,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[int32x4_t; 2]; TOKENS] {
        let mut sums = [[neon!(vdupq_n_s32(0)); 2]; TOKENS];
        for (i, w) in w.as_chunks::<4>().0.iter().enumerate() {
            let x = x.map(|x| load(x[4 * i..4 * i + 4].as_flattened()));
            dots_with_quad::<0, TOKENS>(isa.load_bytes(&w[0]), x, &mut sums);
            dots_with_quad::<1, TOKENS>(isa.load_bytes(&w[1]), x, &mut sums);
            dots_with_quad::<2, TOKENS>(isa.load_bytes(&w[2]), x, &mut sums);
            dots_with_quad::<3, TOKENS>(isa.load_bytes(&w[3]), x, &mut sums);
        }
        sums
    }
}

/// To the sums of every token adds products of quads of eight rows with the token's quad `QUAD`. Only for functions that
/// hold a [`Dotprod`].
#[inline(always)]
fn dots_with_quad<const QUAD: usize, const TOKENS: usize>(
    w: [uint8x16_t; 2],
    x: [uint8x16_t; TOKENS],
    sums: &mut [[int32x4_t; 2]; TOKENS],
) {
    for t in 0..TOKENS {
        for half in 0..2 {
            // SAFETY: a `Dotprod` exists only where this instruction does; it works on registers alone.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {sums:v}.4s, {w:v}.16b, {x:v}.4b[{quad}]",
                    sums = inout(vreg) sums[t][half],
                    w = in(vreg) w[half],
                    x = in(vreg) x[t],
                    quad = const QUAD,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
}

/// Products of matrices: two rows by eight weights with two tokens.
struct Pairs;

impl Dots<I8mm> for Pairs {
    const TERNARY_TOKENS: usize = 8;

    /// Eight neighbouring bytes of a row; those of all rows are 64 bytes.
    #[inline(always)]
    fn side_by_side(isa: I8mm, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        let flip = isa.splat_bytes(flip);
        for (i, [a, b]) in rows.as_chunks().0.iter().enumerate() {
            let [a, b] = [a, b].map(|row| isa.load_bytes(row));
            for half in 0..2 {
                let [a, b] = [a, b].map(|row| neon!(veorq_u8(row[half], flip[half])));
                for (eight, rows) in zip(a, b).into_iter().enumerate() {
                    let to = &mut to[4 * half + 2 * eight + i / 2].as_chunks_mut::<16>().0[i % 2];
                    neon!(vst1q_u8(to.as_mut_ptr(), rows));
                }
            }
        }
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        isa: I8mm,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[int32x4_t; 2]; TOKENS] {
        const { assert!(TOKENS.is_multiple_of(2), "tokens come in pairs") }
        // Of two rows and two tokens each: the first row's products with both, then the second's. The four sums of a
        // pair of tokens are `sums[t][0..2]` and `sums[t + 1][0..2]`, by rows.
        let mut sums = [[neon!(vdupq_n_s32(0)); 2]; TOKENS];
        for j in (0..QUADS).step_by(4) {
            for t in (0..TOKENS).step_by(2) {
                let [a, b] = [x[t], x[t + 1]].map(|x| load(x[j..j + 4].as_flattened()));
                for (eight, x) in zip(a, b).into_iter().enumerate() {
                    for half in 0..2 {
                        let w = isa.load_bytes(&w[j + 2 * eight + half]);
                        for i in 0..2 {
                            sums[t + half][i] = add_products(w[i], x, sums[t + half][i]);
                        }
                    }
                }
            }
        }
        for t in (0..TOKENS).step_by(2) {
            let [low, high] = [sums[t], sums[t + 1]];
            neon! {
                sums[t] = [vuzp1q_s32(low[0], low[1]), vuzp1q_s32(high[0], high[1])];
                sums[t + 1] = [vuzp2q_s32(low[0], low[1]), vuzp2q_s32(high[0], high[1])];
            }
        }
        sums
    }
}

/// Adds products of eight bytes of two rows with eight of two tokens. Only for functions that hold an [`I8mm`].
#[inline(always)]
fn add_products(w: uint8x16_t, x: uint8x16_t, mut sums: int32x4_t) -> int32x4_t {
    // SAFETY: an `I8mm` exists only where this instruction does; it works on registers alone.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sums:v}.4s, {w:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The lower halves of both, then the upper ones.
#[inline(always)]
fn zip(a: uint8x16_t, b: uint8x16_t) -> [uint8x16_t; 2] {
    neon! {
        let (a, b) = (vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b));
        [vreinterpretq_u8_u64(vzip1q_u64(a, b)), vreinterpretq_u8_u64(vzip2q_u64(a, b))]
    }
}

/// Quads, four neighbouring bytes, of eight rows side by side.
#[inline(always)]
fn quads_side_by_side<I: Isa<F32x8 = [float32x4_t; 2], I8x32 = [uint8x16_t; 2]>>(
    isa: I,
    rows: [&[u8; 32]; 8],
    flip: u8,
    to: &mut [[u8; 32]; 8],
) {
    let flip = isa.splat_bytes(flip);
    let mut quads = [isa.zero(); 8];
    for (quads, row) in quads.iter_mut().zip(rows) {
        let row = isa.load_bytes(row);
        for i in 0..2 {
            quads[i] = neon!(vreinterpretq_f32_u8(veorq_u8(row[i], flip[i])));
        }
    }
    for (quads, to) in isa.transpose(quads).into_iter().zip(to) {
        isa.store_bytes(quads.map(|quads| neon!(vreinterpretq_u8_f32(quads))), to);
    }
}

/// From memory, of any alignment.
#[inline(always)]
fn load(x: &[u8]) -> uint8x16_t {
    let x: &[u8; 16] = x.try_into().expect("16 bytes");
    neon!(vld1q_u8(x.as_ptr()))
}
