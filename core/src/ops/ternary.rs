//! Ternary weights times bytes, as BitNet b1.58 is trained (W1.58A8): a weight is `scale * (q - 1)` with `q` of 0, 1, 2,
//! and all activations of a token share one scale.
//!
//! That leaves integers nearly to themselves. Where the whole tensor has one scale (I2_S), a row's product is one
//! integer sum, `sum of q * x - sum of x`, with a single multiplication behind it: the same on every processor, to the
//! bit, whatever the order. Where blocks have scales of their own (TQ1_0, TQ2_0), they count once for 256 weights.
//!
//! One token reads the blocks as they lie. Several tokens unpack some rows to a byte per weight and lay those side by side,
//! as other weights do ([`super::panel`], [`super::eight`]), but without scales in the way of the sums. Where there are
//! no vectors, several tokens are multiplied one after the other.

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon"),
    target_feature = "simd128"
))]
pub(crate) mod eight;
#[cfg(target_arch = "x86_64")]
pub(crate) mod wide;

use super::activations::{STEP, Step, Token};
use super::integers::{self, Lanes};
use super::matmul::{Rows, streams};
use crate::simd::Isa;

/// Multiplies rows with one token or several, whichever there are.
#[inline(always)]
pub(crate) fn run<F: Ternary, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    if rows.x.per_token.is_empty() {
        // Rounded by steps, for other weights that read the same values.
        integers::run::<F, I>(isa, rows);
    } else if rows.x.tokens() == 1 {
        one_by_one::<F, I>(isa, rows);
    } else {
        isa.ternary_tokens::<F>(rows);
    }
}

/// A format of ternary weights.
pub trait Ternary: Lanes {
    /// Whether blocks have scales of their own.
    const SCALED: bool = Self::TAIL == 0;
}

/// Reads every weight once for each token, from two [`streams`].
#[inline(always)]
pub(crate) fn one_by_one<F: Ternary, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let n_steps = w.cols().div_ceil(STEP);
    for (t, (&token, steps)) in x.per_token.iter().zip(x.steps.chunks_exact(n_steps)).enumerate() {
        let out = out.row(t);
        for [a, b] in streams(out.len()) {
            let two = [w.bytes(first + a), w.bytes(first + b)];
            [out[a], out[b]] = dot_rows::<F, I, 2>(isa, two, steps, token);
        }
    }
}

#[inline(always)]
fn dot_rows<F: Ternary, I: Isa, const ROWS: usize>(
    isa: I,
    rows: [&[u8]; ROWS],
    steps: &[Step],
    token: Token,
) -> [f32; ROWS] {
    let nothing = isa.dot_u7(isa.splat_bytes(0), isa.splat_bytes(0));
    let (mut sums, mut products, mut mins) = ([[nothing; 2]; ROWS], [isa.zero(); ROWS], [isa.zero(); ROWS]);
    let per_step = STEP / F::BLOCK;
    let whole = F::blocks(rows[0]).len() / per_step;
    for (step, x) in steps[..whole].iter().enumerate() {
        for r in 0..ROWS {
            let blocks = &F::blocks(rows[r])[step * per_step..][..per_step];
            let w = [quants::<F, I>(isa, blocks, 0), quants::<F, I>(isa, blocks, 4)];
            sums[r][0] = isa.dot_u2(w[0], part(x, 0), sums[r][0]);
            sums[r][1] = isa.dot_u2(w[1], part(x, 1), sums[r][1]);
            if F::SCALED {
                let (scale, _) = F::factors(isa, blocks, 0);
                let sum = isa.float_i32(isa.add_i32(sums[r][0], sums[r][1]));
                products[r] = isa.mul_add(sum, scale, products[r]);
                mins[r] = isa.mul_add(scale, isa.load(&x.sum), mins[r]);
                sums[r] = [nothing; 2];
            }
        }
    }
    let mut out = [0.0; ROWS];
    for r in 0..ROWS {
        if F::SCALED {
            out[r] = token.scale * isa.sum(products[r]) - isa.sum(mins[r]);
            continue;
        }
        let rest = &F::blocks(rows[r])[whole * per_step..];
        if !rest.is_empty() {
            // Half a step.
            sums[r][0] = isa.dot_u2(quants::<F, I>(isa, rest, 0), part(&steps[whole], 0), sums[r][0]);
        }
        // Sums below 2^24 are exact as floats.
        let sum = isa.sum(isa.float_i32(isa.add_i32(sums[r][0], sums[r][1])));
        out[r] = token.scale * (sum - token.total as f32);
    }
    out
}

/// The integers of 128 weights of a step, from the 32 with number `i` on.
#[inline(always)]
fn quants<F: Ternary, I: Isa>(isa: I, blocks: &[F::Block], i: usize) -> [I::I8x32; 4] {
    [
        F::quants(isa, blocks, i),
        F::quants(isa, blocks, i + 1),
        F::quants(isa, blocks, i + 2),
        F::quants(isa, blocks, i + 3),
    ]
}

/// The activations that they meet.
#[inline(always)]
fn part(x: &Step, half: usize) -> &[[u8; 32]; 4] {
    &x.q.as_chunks().0[half]
}
