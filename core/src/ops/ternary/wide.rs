//! Ternary weights times several tokens, with rows as lanes.
//!
//! 32 rows of up to 4096 weights are unpacked and transposed into a panel of bytes, which stays in the second cache
//! while all tokens pass by, ten at a time. Their sums stay in integers over the whole panel: twenty of the 32 registers
//! hold them, two hold weights, and each multiplication takes four activations out of memory.

use core::array;

use super::eight::{finish, total};
use super::{STEP, Step, Ternary};
use crate::ops::matmul::Rows;
use crate::ops::panel::{Ahead, LANES, Next, Place};
use crate::simd::{Wide, WideKernel};

/// Rows in the two groups that a tile multiplies together.
const ROWS: usize = 2 * LANES;
/// Steps of the rows unpacked at once: 132 KB.
const PIECE: usize = 16;

/// 256 weights of 16 rows in no format any more: 64 quads of every row, and the scales.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Weights {
    q: [[[u8; 64]; 8]; STEP / 32],
    scale: [f32; LANES],
}

const ZERO: Weights = Weights { q: [[[0; 64]; 8]; STEP / 32], scale: [0.0; LANES] };

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Ternary, I: Wide>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let (n_tokens, n_steps) = (x.tokens(), w.cols().div_ceil(STEP));
    let mut panel = [[ZERO; 2]; PIECE];
    for r in (0..out.width()).step_by(ROWS) {
        let n_rows = ROWS.min(out.width() - r);
        for start in (0..n_steps).step_by(PIECE) {
            let len = PIECE.min(n_steps - start);
            for (step, weights) in (start..).zip(&mut panel[..len]) {
                for (group, weights) in weights.iter_mut().enumerate() {
                    // Past the last row that row again; its outputs go nowhere.
                    let mut rows: [&[u8]; LANES] = [&[]; LANES];
                    for (i, row) in rows.iter_mut().enumerate() {
                        *row = w.bytes(first + (r + group * LANES + i).min(out.width() - 1));
                    }
                    unpack::<F, I>(isa, rows, step, weights);
                }
            }
            let weights = &panel[..len];
            let rows = first + r..first + r + n_rows;
            let step_bytes = STEP / F::BLOCK * F::BYTES;
            let next = Next::after(w, rows, first + out.width(), start + len, PIECE, step_bytes);
            let mut t = 0;
            while t < n_tokens {
                let tokens = match n_tokens - t {
                    10.. => 10,
                    6.. => 6,
                    3.. => 3,
                    _ => 1,
                };
                let ahead = next.share(t..t + tokens, n_tokens, len * (STEP / 32));
                let place = Place { out: &mut *out, first: start == 0, r, n_rows, t };
                let steps = &x.steps[start..];
                match tokens {
                    10 => tile::<F, I, 10>(isa, weights, steps, n_steps, place, ahead),
                    6 => tile::<F, I, 6>(isa, weights, steps, n_steps, place, ahead),
                    3 => tile::<F, I, 3>(isa, weights, steps, n_steps, place, ahead),
                    _ => tile::<F, I, 1>(isa, weights, steps, n_steps, place, ahead),
                }
                t += tokens;
            }
        }
    }
    finish(x.per_token, !F::SCALED, out);
}

/// Unpacks a step of 16 rows.
#[inline(always)]
fn unpack<F: Ternary, I: Wide>(isa: I, rows: [&[u8]; LANES], step: usize, to: &mut Weights) {
    let per_step = STEP / F::BLOCK;
    let mut blocks: [&[F::Block]; LANES] = [&[]; LANES];
    for i in 0..LANES {
        let all = F::blocks(rows[i]);
        blocks[i] = &all[step * per_step..all.len().min((step + 1) * per_step)];
        // Sixteen rows at once are more than the processor follows by itself.
        let next = blocks[i].as_ptr_range().end.cast::<u8>();
        for line in (0..per_step * F::BYTES).step_by(64) {
            isa.prefetch(next.wrapping_add(line));
        }
        if F::SCALED {
            to.scale[i] = block_scale::<F>(rows[i], step);
        }
    }
    // What is past the rows' end meets activations of zero.
    for (i, quads) in to.q[..blocks[0].len() * F::BLOCK / 32].iter_mut().enumerate() {
        let mut q = [isa.splat_bytes(0); LANES];
        for (q, blocks) in q.iter_mut().zip(blocks) {
            *q = F::quants(isa, blocks, i);
        }
        isa.quads_side_by_side(q, 0, quads);
    }
}

/// The scale of the block for step `step` of a row.
#[inline(always)]
fn block_scale<F: Ternary>(row: &[u8], step: usize) -> f32 {
    let (mut scale, mut min) = ([0.0], [0.0]);
    F::scales(&row[step * F::BYTES..][..F::BYTES], &mut scale, &mut min);
    scale[0]
}

/// Multiplies one tile.
#[inline(always)]
fn tile<F: Ternary, I: Wide, const TOKENS: usize>(
    isa: I,
    weights: &[[Weights; 2]],
    steps: &[Step],
    stride: usize,
    place: Place<'_, '_>,
    ahead: Ahead<'_>,
) {
    let x = array::from_fn(|i| &steps[(place.t + i) * stride..][..weights.len()]);
    if F::SCALED {
        isa.enter_wide(Tile::<true, TOKENS> { weights, x, stride, place, ahead });
    } else {
        isa.enter_wide(Tile::<false, TOKENS> { weights, x, stride, place, ahead });
    }
}

/// Products of 32 rows with some tokens, over a piece of the rows.
struct Tile<'a, 'b, const SCALED: bool, const TOKENS: usize> {
    weights: &'a [[Weights; 2]],
    x: [&'a [Step]; TOKENS],
    /// Steps of a token.
    stride: usize,
    place: Place<'a, 'b>,
    ahead: Ahead<'a>,
}

impl<const SCALED: bool, const TOKENS: usize> WideKernel for Tile<'_, '_, SCALED, TOKENS> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
    fn run<I: Wide>(self, isa: I) {
        let Self { weights, x, stride, mut place, mut ahead } = self;
        let next_tile = TOKENS * stride * size_of::<Step>();
        let mut sums = [[isa.splat_i32_wide(0); 2]; TOKENS];
        let mut products = [[isa.splat_wide(0.0); 2]; TOKENS];
        for s in 0..weights.len() {
            let w: &[Weights; 2] = &weights[s];
            if s + 1 == weights.len() {
                place.prefetch(isa, TOKENS);
            }
            let mut steps: [&Step; TOKENS] = [&x[0][s]; TOKENS];
            for t in 0..TOKENS {
                steps[t] = &x[t][s];
                if SCALED {
                    sums[t] = [isa.splat_i32_wide(-total(steps[t])); 2];
                }
            }
            for i in 0..STEP / 32 {
                if i % 2 == 0 {
                    for t in 0..TOKENS {
                        // The next tile's activations; the processor sees short runs from many places and asks too late.
                        let line = (&raw const *steps[t]).cast::<u8>().wrapping_add(next_tile + 32 * i);
                        isa.prefetch(line);
                    }
                }
                ahead.prefetch(isa);
                for j in 0..8 {
                    let q = [isa.load_quads(&w[0].q[i][j]), isa.load_quads(&w[1].q[i][j])];
                    for t in 0..TOKENS {
                        let x = &steps[t].q[i].as_chunks().0[j];
                        sums[t][0] = isa.dot_quads(q[0], x, sums[t][0]);
                        sums[t][1] = isa.dot_quads(q[1], x, sums[t][1]);
                    }
                }
            }
            if SCALED {
                for group in 0..2 {
                    let scale = isa.load_wide(&w[group].scale);
                    for t in 0..TOKENS {
                        let sum = isa.float_i32_wide(sums[t][group]);
                        products[t][group] = isa.mul_add_wide(sum, scale, products[t][group]);
                    }
                }
            }
        }
        for t in 0..TOKENS {
            let mut last = products[t];
            if !SCALED {
                last = [isa.float_i32_wide(sums[t][0]), isa.float_i32_wide(sums[t][1])];
            }
            place.put(isa, t, last);
        }
    }
}
