//! Integer weights times several tokens on 128-bit registers, with rows as lanes: [`super::panel`] for half of its
//! registers and a quarter of their width.
//!
//! Eight rows, 256 weights of each at a time, are unpacked from the file's blocks and laid side by side, so that one
//! register holds the same few neighbouring weights of four rows. Four tokens meet two such registers: 8 integer sums
//! stay in registers, the float sums wait in memory meanwhile. A piece of eight rows is 24 KB, half of a first cache,
//! and stays there while all tokens pass by.
//!
//! Only the unpacking is compiled for every format; the multiplying is shared by all of them.
//!
//! Of 1, 2, 3, 4 and 6 tokens with 8 rows, 4 did best in Chromium.

use core::array;

use super::activations::{STEP, Step};
use super::integers::{Lanes, Sign};
use super::matmul::Rows;
use crate::exec::Columns;
use crate::simd::{Narrow, SignedWeights};

/// Steps of a row unpacked at once.
const PIECE: usize = 8;

/// Rows unpacked together.
const ROWS: usize = 8;
/// Tokens multiplied together.
const TOKENS: usize = 4;

/// 256 weights of 8 rows, in no format any more.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Weights {
    /// By fours of weights, of every row, in an order that suits the instruction set.
    q: [[u8; 4 * ROWS]; STEP / 4],
    /// The scale of every 32 weights, or of every 16.
    scale: [[f32; ROWS]; STEP / 16],
    /// The same of minima; only where formats have their own.
    min: [[f32; ROWS]; STEP / 16],
}

impl Weights {
    const ZERO: Self =
        Self { q: [[0; 4 * ROWS]; STEP / 4], scale: [[0.0; ROWS]; STEP / 16], min: [[0.0; ROWS]; STEP / 16] };
}

/// How a format's integers are multiplied.
#[derive(Clone, Copy)]
struct Way {
    /// Weights in a group, 16 or 32.
    group: usize,
    /// What is to be taken away from every integer.
    offset: i32,
    /// Whether groups have minima beside that.
    own_mins: bool,
    /// Whether weights are signed and need [`SignedWeights::Slow`].
    slow: bool,
}

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let signed = if F::SIGN == Sign::Signed { isa.signed_weights() } else { SignedWeights::Plain };
    let flip = if signed == SignedWeights::MovedUp { 0x80 } else { 0 };
    let way = Way {
        group: F::GROUP.min(32),
        offset: F::OFFSET.unwrap_or(0) + i32::from(flip),
        own_mins: F::OFFSET.is_none(),
        slow: signed == SignedWeights::Slow,
    };
    let n_steps = w.cols().div_ceil(STEP);
    let per_step = STEP / F::BLOCK;
    let mut panel = [Weights::ZERO; PIECE];
    for r in (0..out.width()).step_by(ROWS) {
        // Past the last row that row again; its outputs go nowhere.
        let blocks: [&[F::Block]; ROWS] =
            array::from_fn(|i| F::blocks(w.bytes(first + (r + i).min(out.width() - 1))));
        for start in (0..n_steps).step_by(PIECE) {
            let piece = start..n_steps.min(start + PIECE);
            for (step, weights) in piece.clone().zip(&mut panel) {
                let range = step * per_step..((step + 1) * per_step).min(blocks[0].len());
                unpack::<F, I>(isa, array::from_fn(|i| &blocks[i][range.clone()]), flip, weights);
            }
            let groups = w.cols() / 32 - start * (STEP / 32);
            multiply(isa, way, &panel[..piece.len()], groups, x.steps, Place { out, start, n_steps, r });
        }
    }
}

/// Unpacks a step of 8 rows.
#[inline(always)]
fn unpack<F: Lanes, I: Narrow>(isa: I, rows: [&[F::Block]; ROWS], flip: u8, to: &mut Weights) {
    let zero = isa.zero();
    for part in 0..32 / F::GROUP.min(32) {
        let (mut scale, mut min) = ([zero; ROWS], [zero; ROWS]);
        for i in 0..ROWS {
            (scale[i], min[i]) = F::factors(isa, rows[i], part);
        }
        isa.floats_side_by_side(scale, &mut to.scale.as_chunks_mut().0[part]);
        if F::OFFSET.is_none() {
            isa.floats_side_by_side(min, &mut to.min.as_chunks_mut().0[part]);
        }
    }
    let n = rows[0].len() * F::BLOCK / 32;
    for (i, to) in to.q.as_chunks_mut().0[..n].iter_mut().enumerate() {
        let mut q = [isa.splat_bytes(0); ROWS];
        for (q, row) in q.iter_mut().zip(rows) {
            *q = F::quants(isa, row, i);
        }
        isa.side_by_side(q, flip, to);
    }
}

/// Where sums go.
struct Place<'a, 'b> {
    out: &'a mut Columns<'b, f32>,
    /// The piece's first step; from the second piece on, sums are added to what is there.
    start: usize,
    /// Steps of a token.
    n_steps: usize,
    r: usize,
}

/// Multiplies a piece of 8 rows with all tokens.
#[inline(never)]
fn multiply<I: Narrow>(
    isa: I,
    way: Way,
    weights: &[Weights],
    groups: usize,
    steps: &[Step],
    place: Place<'_, '_>,
) {
    let Place { out, start, n_steps, r } = place;
    let n_rows = ROWS.min(out.width() - r);
    let last = out.rows() - 1;
    for t in (0..=last).step_by(TOKENS) {
        // A last token stands in for those that are missing.
        let x = array::from_fn(|i| &steps[(t + i).min(last) * n_steps + start..][..weights.len()]);
        let mut sums = [[isa.splat_narrow(0.0); 2]; TOKENS];
        if way.slow {
            tile::<I, true>(isa, way, weights, groups, x, &mut sums);
        } else {
            tile::<I, false>(isa, way, weights, groups, x, &mut sums);
        }
        for (i, sums) in sums.iter().enumerate().take(last + 1 - t) {
            let mut eight = [0.0; ROWS];
            for (half, to) in sums.iter().zip(eight.as_chunks_mut().0) {
                isa.store_narrow(*half, to);
            }
            for (out, sum) in out.row(t + i)[r..r + n_rows].iter_mut().zip(eight) {
                *out = if start == 0 { sum } else { *out + sum };
            }
        }
    }
}

/// Adds the products of 8 rows with some tokens over a piece of the rows.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
fn tile<I: Narrow, const SLOW: bool>(
    isa: I,
    way: Way,
    weights: &[Weights],
    groups: usize,
    x: [&[Step]; TOKENS],
    sums: &mut [[I::F32x4; 2]; TOKENS],
) {
    let fours = way.group / 4;
    for (s, w) in weights.iter().enumerate() {
        let mut steps: [&Step; TOKENS] = [&x[0][s]; TOKENS];
        for t in 1..TOKENS {
            steps[t] = &x[t][s];
        }
        let n = (groups - s * (STEP / 32)).min(STEP / 32);
        for g in 0..n * 32 / way.group {
            let mut acc = [[isa.splat_i32_narrow(0); 2]; TOKENS];
            for t in 0..TOKENS {
                let q_sum = if way.group == 32 {
                    steps[t].q_sum[0][g] + steps[t].q_sum[1][g]
                } else {
                    steps[t].q_sum[g % 2][g / 2]
                };
                acc[t] = [isa.splat_i32_narrow(-way.offset * q_sum); 2];
            }
            let mut q: [&[u8]; TOKENS] = [&[]; TOKENS];
            for t in 0..TOKENS {
                q[t] = &steps[t].q.as_flattened()[g * way.group..][..way.group];
            }
            isa.dots::<TOKENS, SLOW>(&w.q[g * fours..][..fours], q, &mut acc);
            for four in 0..2 {
                let scales = isa.load_narrow(&w.scale[g].as_chunks().0[four]);
                for t in 0..TOKENS {
                    let scale = isa.mul_narrow(scales, isa.splat_narrow(steps[t].scale[g * way.group / 32]));
                    let products = isa.float_i32_narrow(acc[t][four]);
                    sums[t][four] = isa.mul_add_narrow(products, scale, sums[t][four]);
                }
            }
            if way.own_mins {
                for four in 0..2 {
                    let min = isa.load_narrow(&w.min[g].as_chunks().0[four]);
                    for t in 0..TOKENS {
                        let sum = if way.group == 32 {
                            steps[t].sum[g]
                        } else {
                            steps[t].half_sum.as_flattened()[g]
                        };
                        sums[t][four] = isa.neg_mul_add_narrow(min, isa.splat_narrow(sum), sums[t][four]);
                    }
                }
            }
        }
    }
}

/// Multiplies rows with one token, along the rows: two rows at once share the activations.
#[inline(always)]
pub(crate) fn one_token<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let signed = if F::SIGN == Sign::Signed { isa.signed_weights() } else { SignedWeights::Plain };
    let out = out.row(0);
    let last = out.len() - 1;
    for r in (0..=last).step_by(2) {
        let pair = [first + r, first + (r + 1).min(last)].map(|row| F::blocks(w.bytes(row)));
        let sums = match signed {
            SignedWeights::Plain => dot_rows::<F, I, false>(isa, pair, 0, x.steps),
            SignedWeights::MovedUp => dot_rows::<F, I, false>(isa, pair, 0x80, x.steps),
            SignedWeights::Slow => dot_rows::<F, I, true>(isa, pair, 0, x.steps),
        };
        for (out, sum) in out[r..].iter_mut().zip(sums) {
            *out = sum;
        }
    }
}

/// The sums of two rows. Where weights are moved up by 128, that counts as a minimum.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
fn dot_rows<F: Lanes, I: Narrow, const SLOW: bool>(
    isa: I,
    rows: [&[F::Block]; 2],
    flip: u8,
    steps: &[Step],
) -> [f32; 2] {
    let per_step = STEP / F::BLOCK;
    let flips = isa.splat_bytes(flip);
    let mut products = [isa.splat_narrow(0.0); 2];
    let mut mins = [isa.zero(); 2];
    for (s, x) in steps.iter().enumerate() {
        let end = rows[0].len().min((s + 1) * per_step);
        let blocks = [&rows[0][s * per_step..end], &rows[1][s * per_step..end]];
        let n = blocks[0].len() * F::BLOCK / 32;
        for part in 0..32 / F::GROUP.min(32) {
            let mut scales = [[0.0; 8]; 2];
            for i in 0..2 {
                let (scale, min) = F::factors(isa, blocks[i], part);
                let (x_scale, x_sum) = if F::GROUP >= 32 {
                    (isa.load(&x.scale), isa.load(&x.sum))
                } else {
                    (isa.double(x.half_scales(part)), isa.load(&x.half_sum[part]))
                };
                if F::OFFSET != Some(0) {
                    mins[i] = isa.neg_mul_add(min, x_sum, mins[i]);
                }
                if F::SIGN == Sign::Signed {
                    let up = isa.mul(scale, isa.splat(f32::from(flip)));
                    mins[i] = isa.neg_mul_add(up, x_sum, mins[i]);
                }
                isa.store(isa.mul(scale, x_scale), &mut scales[i]);
            }
            let vectors = if F::GROUP >= 32 { 0..n } else { 4 * part..(4 * part + 4).min(n) };
            for v in vectors {
                let activations = isa.load_bytes(&x.q[v]);
                for i in 0..2 {
                    let q = F::quants(isa, blocks[i], v);
                    let q = if F::SIGN == Sign::Signed { isa.xor(q, flips) } else { q };
                    if F::GROUP >= 32 {
                        let sum = isa.float_i32_narrow(isa.dot_32::<SLOW>(q, activations));
                        products[i] = isa.mul_add_narrow(sum, isa.splat_narrow(scales[i][v]), products[i]);
                    } else {
                        let halves = isa.dot_16::<SLOW>(q, activations);
                        for half in 0..2 {
                            let scale = isa.splat_narrow(scales[i][2 * (v - 4 * part) + half]);
                            let sum = isa.float_i32_narrow(halves[half]);
                            products[i] = isa.mul_add_narrow(sum, scale, products[i]);
                        }
                    }
                }
            }
        }
    }
    [0, 1].map(|i| {
        let mut four = [0.0; 4];
        isa.store_narrow(products[i], &mut four);
        four.iter().sum::<f32>() + isa.sum(mins[i])
    })
}
