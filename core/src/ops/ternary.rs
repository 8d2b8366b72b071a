//! Ternary weights times bytes, as BitNet b1.58 is trained (W1.58A8): a weight is `scale * (q - 1)` with `q` of 0, 1, 2,
//! and all activations of a token share one scale.
//!
//! That leaves integers nearly to themselves. Where the whole tensor has one scale (I2_S), a row's product is one
//! integer sum, `sum of q * x - sum of x`, with a single multiplication behind it: the same on every processor, to the
//! bit, whatever the order. Where blocks have scales of their own (TQ1_0, TQ2_0), they count once for 256 weights.
//!
//! One token reads the blocks as they lie. Several tokens unpack some rows to a byte per weight and multiply all tokens
//! with those: along the rows, or on processors with 512-bit registers with rows as lanes (see [`super::panel`], whose
//! way this is, without the scales in it).

#[cfg(target_arch = "x86_64")]
pub(crate) mod wide;

use super::activations::{STEP, Step, Token};
use super::integers::{self, Lanes};
use super::matmul::{Rows, streams};
use crate::exec::Columns;
use crate::simd::{Isa, Kernel};

/// Multiplies rows with one token or several, whichever there are.
#[inline(always)]
pub(crate) fn run<F: Ternary, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    if rows.x.per_token.is_empty() {
        // Rounded by groups, for other weights that read the same values.
        integers::run::<F, I>(isa, rows);
    } else if rows.x.tokens() == 1 {
        one_token::<F, I>(isa, rows);
    } else {
        isa.ternary_tokens::<F>(rows);
    }
}

/// A format of ternary weights.
pub trait Ternary: Lanes {
    /// Whether blocks have scales of their own.
    const SCALED: bool = Self::TAIL == 0;
}

/// The scale of the block for step `step` of a row.
#[inline(always)]
fn block_scale<F: Ternary>(row: &[u8], step: usize) -> f32 {
    let (mut scale, mut min) = ([0.0], [0.0]);
    F::scales(&row[step * F::BYTES..][..F::BYTES], &mut scale, &mut min);
    scale[0]
}

/// Reads every weight once, from two [`streams`].
#[inline(always)]
fn one_token<F: Ternary, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    for [a, b] in streams(out.width()) {
        let two = [w.bytes(first + a), w.bytes(first + b)];
        [out.row(0)[a], out.row(0)[b]] = dot_rows::<F, I, 2>(isa, two, x.steps, x.per_token[0]);
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

/// The sum of a step's activations.
#[inline(always)]
fn total(x: &Step) -> i32 {
    let mut sums = x.q_sum[0];
    for (sum, other) in sums.iter_mut().zip(&x.q_sum[1]) {
        *sum += other;
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}

/// Rows unpacked together, and tokens multiplied together.
const ROWS: usize = 4;
const TOKENS: usize = 2;
/// Steps of a row unpacked at once: four rows of them are 16 KB.
const PIECE: usize = 16;

/// A step of a row in no format any more.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Unpacked {
    q: [[u8; 32]; 8],
    scale: f32,
}

/// Multiplies rows with several tokens, along the rows.
#[inline(always)]
pub(crate) fn tokens<F: Ternary, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let n_steps = w.cols().div_ceil(STEP);
    let per_step = STEP / F::BLOCK;
    let mut piece = [[Unpacked { q: [[0; 32]; 8], scale: 1.0 }; PIECE]; ROWS];
    for r in (0..out.width()).step_by(ROWS) {
        let n_rows = ROWS.min(out.width() - r);
        for start in (0..n_steps).step_by(PIECE) {
            let len = PIECE.min(n_steps - start);
            for (i, piece) in piece[..n_rows].iter_mut().enumerate() {
                let row = w.bytes(first + r + i);
                let blocks = F::blocks(row)[start * per_step..].chunks(per_step);
                for (s, (blocks, to)) in blocks.zip(&mut piece[..len]).enumerate() {
                    for i in 0..blocks.len() * F::BLOCK / 32 {
                        isa.store_bytes(F::quants(isa, blocks, i), &mut to.q[i]);
                    }
                    if F::SCALED {
                        to.scale = block_scale::<F>(row, start + s);
                    }
                }
            }
            for t in (0..x.tokens()).step_by(TOKENS) {
                // A last token alone is multiplied twice rather than needing a tile of its own.
                let pair = [t, (t + 1).min(x.tokens() - 1)];
                let steps = pair.map(|t| &x.steps[t * n_steps + start..][..len]);
                let weights = [&piece[0][..len], &piece[1][..len], &piece[2][..len], &piece[3][..len]];
                let sums = if F::SCALED {
                    isa.enter(Tile::<true> { weights, steps })
                } else {
                    isa.enter(Tile::<false> { weights, steps })
                };
                for (i, &t) in pair.iter().enumerate().take(x.tokens() - t) {
                    for (out, sums) in out.row(t)[r..r + n_rows].iter_mut().zip(sums) {
                        *out = if start == 0 { sums[i] } else { *out + sums[i] };
                    }
                }
            }
        }
    }
    finish::<F>(x.per_token, out);
}

/// Integer sums become products: the offset of the weights goes, the scale of the token comes.
#[inline(always)]
fn finish<F: Ternary>(tokens: &[Token], out: &mut Columns<'_, f32>) {
    for (t, token) in tokens.iter().enumerate() {
        let offset = if F::SCALED { 0.0 } else { token.total as f32 };
        for out in out.row(t) {
            *out = token.scale * (*out - offset);
        }
    }
}

/// Sums of [`ROWS`] rows and [`TOKENS`] tokens over a piece, with the blocks' scales where they have them.
struct Tile<'a, const SCALED: bool> {
    weights: [&'a [Unpacked]; ROWS],
    steps: [&'a [Step]; TOKENS],
}

impl<const SCALED: bool> Kernel for Tile<'_, SCALED> {
    type Output = [[f32; TOKENS]; ROWS];

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let nothing = isa.dot_u7(isa.splat_bytes(0), isa.splat_bytes(0));
        let mut sums = [[nothing; TOKENS]; ROWS];
        let mut products = [[isa.zero(); TOKENS]; ROWS];
        let mut offsets = [[0.0; TOKENS]; ROWS];
        for s in 0..self.steps[0].len() {
            let x: [&Step; TOKENS] = [&self.steps[0][s], &self.steps[1][s]];
            let totals = if SCALED { [total(x[0]) as f32, total(x[1]) as f32] } else { [0.0; TOKENS] };
            for r in 0..ROWS {
                let w = &self.weights[r][s];
                for half in 0..2 {
                    let q = part_of(isa, &w.q, 4 * half);
                    for t in 0..TOKENS {
                        sums[r][t] = isa.dot_u2(q, part(x[t], half), sums[r][t]);
                    }
                }
                if SCALED {
                    for t in 0..TOKENS {
                        products[r][t] =
                            isa.mul_add(isa.float_i32(sums[r][t]), isa.splat(w.scale), products[r][t]);
                        offsets[r][t] += w.scale * totals[t];
                        sums[r][t] = nothing;
                    }
                }
            }
        }
        let mut out = [[0.0; TOKENS]; ROWS];
        for r in 0..ROWS {
            for t in 0..TOKENS {
                out[r][t] = if SCALED {
                    isa.sum(products[r][t]) - offsets[r][t]
                } else {
                    isa.sum(isa.float_i32(sums[r][t]))
                };
            }
        }
        out
    }
}

#[inline(always)]
fn part_of<I: Isa>(isa: I, q: &[[u8; 32]; 8], i: usize) -> [I::I8x32; 4] {
    [isa.load_bytes(&q[i]), isa.load_bytes(&q[i + 1]), isa.load_bytes(&q[i + 2]), isa.load_bytes(&q[i + 3])]
}
