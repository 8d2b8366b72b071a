//! Integer weights times several tokens, with rows as lanes.
//!
//! [`super::integers`] multiplies a row with a token along the row, and has to add up the lanes in the end. Here
//! every lane is a row of its own: 16 rows, 256 weights of each at a time, are unpacked from the file's blocks and
//! transposed once, so that one register holds the same four neighbouring weights of all 16 rows. Four activations of
//! a token, the same for all rows, are broadcast from memory and meet them in one instruction, whose sums need no
//! adding across lanes and take their scales from a vector too. Two such groups of 16 rows and up to 6 tokens keep
//! 24 accumulators in registers; the panel of 32 rows stays in the second cache while all tokens pass by.
//!
//! The instruction wants unsigned weights, so signed ones are moved up by 128. All that is to be taken away again,
//! that offset and the format's own ([`Lanes::OFFSET`]), is paid by starting the integer sums below zero; formats
//! with a minimum of its own for every group subtract it times the sum of the group's activations.

use core::array;
use core::ops::Range;

use super::activations::{STEP, Step};
use super::integers::{Lanes, Sign};
use super::matmul::{Matrix, Rows};
use crate::exec::Columns;
use crate::quant::Rounding;
use crate::simd::{Isa, Wide, WideKernel};

/// Steps of a row unpacked at once. Every piece of a row reads the outputs again and writes them, so pieces are as long
/// as the second cache allows: two groups of rows are 74 KB then (96 with scales for 16 weights).
const PIECE: usize = 8;

/// Rows in a group, and in the two groups that a tile multiplies together.
pub(super) const LANES: usize = 16;
const ROWS: usize = 2 * LANES;

/// 256 weights of 16 rows, in no format any more.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Weights {
    /// For every 32 weights eight quads of every row.
    q: [[[u8; 64]; 8]; STEP / 32],
    /// The scale of every 32 weights, or of every 16.
    scale: [[f32; LANES]; STEP / 16],
    /// The same of minima; only where formats have their own.
    min: [[f32; LANES]; STEP / 16],
}

impl Weights {
    const ZERO: Self = Self { q: [[[0; 64]; 8]; 8], scale: [[0.0; LANES]; 16], min: [[0.0; LANES]; 16] };
}

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Lanes, I: Wide>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let (n_tokens, n_steps) = (x.tokens(), w.cols().div_ceil(STEP));
    let per_step = STEP / F::BLOCK;
    let mut panel = [[Weights::ZERO; 2]; PIECE];
    for r in (0..out.width()).step_by(ROWS) {
        let n_rows = ROWS.min(out.width() - r);
        for start in (0..n_steps).step_by(PIECE) {
            let piece = start..n_steps.min(start + PIECE);
            for (step, weights) in piece.clone().zip(&mut panel) {
                let range = step * per_step..((step + 1) * per_step).min(w.cols() / F::BLOCK);
                for (group, weights) in weights.iter_mut().enumerate() {
                    let mut blocks: [&[F::Block]; LANES] = [&[]; LANES];
                    for (i, blocks) in blocks.iter_mut().enumerate() {
                        // Past the last row that row again; its outputs go nowhere.
                        let row = w.bytes(first + (r + group * LANES + i).min(out.width() - 1));
                        *blocks = &F::blocks(row)[range.clone()];
                        // Sixteen rows at once are more than the processor follows by itself.
                        let next = blocks.as_ptr_range().end.cast::<u8>();
                        for line in (0..per_step * F::BYTES).step_by(64) {
                            isa.prefetch(next.wrapping_add(line));
                        }
                    }
                    unpack::<F, I>(isa, blocks, weights);
                }
            }
            let weights = &panel[..piece.len()];
            let groups = (w.cols() - start * STEP).div_ceil(32);
            let rows = first + r..first + r + n_rows;
            let next = Next::after(w, rows, first + out.width(), piece.end, PIECE, per_step * F::BYTES);
            let mut t = 0;
            while t < n_tokens {
                let tokens = (n_tokens - t).min(6);
                let ahead = next.share(t..t + tokens, n_tokens, groups.min(piece.len() * (STEP / 32)));
                let place = Place { out: &mut *out, first: start == 0, r, n_rows, t };
                let steps = &x.steps[start..];
                match tokens {
                    6 => tile::<F, I, 6>(isa, weights, groups, steps, n_steps, place, ahead),
                    5 => tile::<F, I, 5>(isa, weights, groups, steps, n_steps, place, ahead),
                    4 => tile::<F, I, 4>(isa, weights, groups, steps, n_steps, place, ahead),
                    3 => tile::<F, I, 3>(isa, weights, groups, steps, n_steps, place, ahead),
                    2 => tile::<F, I, 2>(isa, weights, groups, steps, n_steps, place, ahead),
                    _ => tile::<F, I, 1>(isa, weights, groups, steps, n_steps, place, ahead),
                }
                t += tokens;
            }
        }
    }
}

/// Unpacks a step of 16 rows.
#[inline(always)]
fn unpack<F: Lanes, I: Wide>(isa: I, rows: [&[F::Block]; LANES], to: &mut Weights) {
    let flip = if F::SIGN == Sign::Signed { 0x80 } else { 0 };
    let zero = isa.zero();
    for part in 0..32 / F::GROUP.min(32) {
        let (mut scale, mut min) = ([zero; LANES], [zero; LANES]);
        for i in 0..LANES {
            (scale[i], min[i]) = F::factors(isa, rows[i], part);
        }
        isa.floats_side_by_side(scale, &mut to.scale.as_chunks_mut().0[part]);
        if F::OFFSET.is_none() {
            isa.floats_side_by_side(min, &mut to.min.as_chunks_mut().0[part]);
        }
    }
    for (i, quads) in to.q[..rows[0].len() * F::BLOCK / 32].iter_mut().enumerate() {
        let mut q = [isa.splat_bytes(0); LANES];
        for (q, row) in q.iter_mut().zip(rows) {
            *q = F::quants(isa, row, i);
        }
        isa.quads_side_by_side(q, flip, quads);
    }
}

/// Which bytes the next panel will be unpacked from.
pub(super) struct Next<'a> {
    w: &'a Matrix<'a>,
    rows: Range<usize>,
    /// Of each of these rows.
    bytes: Range<usize>,
}

impl<'a> Next<'a> {
    /// The last tokens with which they are asked for; more, and their activations would drive them out of the second
    /// cache again.
    const TOKENS: usize = 192;

    /// Those behind a panel of `rows` that ends before step `end`: of the same rows, or of the rows behind them, which
    /// end at `last`. `steps` of them, as far as rows go.
    pub fn after(
        w: &'a Matrix<'a>,
        rows: Range<usize>,
        last: usize,
        end: usize,
        steps: usize,
        step_bytes: usize,
    ) -> Self {
        let len = w.bytes(0).len();
        let start = end * step_bytes;
        let (rows, start) =
            if start < len { (rows, start) } else { (rows.end..last.min(rows.end + ROWS), 0) };
        Self { w, rows, bytes: start..len.min(start + steps * step_bytes) }
    }

    /// The part of them that the tile of `tokens` out of `n` asks for, in so many `pieces`.
    #[inline(always)]
    pub fn share(&self, tokens: Range<usize>, n: usize, pieces: usize) -> Ahead<'_> {
        let window = n.min(Self::TOKENS);
        let row = |t: usize| self.rows.start + self.rows.len() * (t + window).saturating_sub(n) / window;
        let rows = row(tokens.start)..row(tokens.end);
        Ahead {
            next: self,
            each: (rows.len() * self.bytes.len().div_ceil(64)).div_ceil(pieces),
            rows,
            row: &[],
        }
    }
}

/// A part of these bytes, which a tile asks for little by little: the processor waits when asked for many lines at once.
pub(super) struct Ahead<'a> {
    next: &'a Next<'a>,
    /// Lines of the cache to ask for each time.
    each: usize,
    /// The rows after the current one.
    rows: Range<usize>,
    /// What is left of the current one.
    row: &'a [u8],
}

impl Ahead<'_> {
    /// Asks for the next piece.
    #[inline(always)]
    pub fn prefetch<I: Isa>(&mut self, isa: I) {
        for _ in 0..self.each {
            if self.row.is_empty() {
                let Some(row) = self.rows.next() else { return };
                self.row = &self.next.w.bytes(row)[self.next.bytes.clone()];
            }
            isa.prefetch(self.row.as_ptr());
            self.row = self.row.get(64..).unwrap_or_default();
        }
    }
}

/// Where a tile's sums go.
pub(super) struct Place<'a, 'b> {
    pub out: &'a mut Columns<'b, f32>,
    /// Whether the sums are the outputs' first part, or are added to what is there.
    pub first: bool,
    pub r: usize,
    pub n_rows: usize,
    pub t: usize,
}

impl Place<'_, '_> {
    /// Asks for the places of `n` tokens. Those of neighbouring ones are a whole row apart, often in the same set of the
    /// cache: not there.
    #[inline(always)]
    pub fn prefetch<I: Wide>(&mut self, isa: I, n: usize) {
        for t in self.t..self.t + n {
            let out = &self.out.row(t)[self.r..][..self.n_rows];
            for line in (0..size_of_val(out)).step_by(64) {
                isa.prefetch(out.as_ptr().cast::<u8>().wrapping_add(line));
            }
        }
    }

    /// Puts the sums of the tile's token `t`, a lane for each row; what is beyond `n_rows` goes nowhere.
    #[inline(always)]
    pub fn put<I: Wide, const GROUPS: usize>(&mut self, isa: I, t: usize, sums: [I::F32x16; GROUPS]) {
        let out = &mut self.out.row(self.t + t)[self.r..][..self.n_rows];
        if out.len() == GROUPS * LANES {
            for (out, sums) in out.as_chunks_mut().0.iter_mut().zip(sums) {
                let sums = if self.first { sums } else { isa.add_wide(isa.load_wide(out), sums) };
                isa.store_wide(sums, out);
            }
            return;
        }
        for (out, sums) in out.chunks_mut(LANES).zip(sums) {
            let mut last = [0.0; LANES];
            isa.store_wide(sums, &mut last);
            for (out, sum) in out.iter_mut().zip(last) {
                *out = if self.first { sum } else { *out + sum };
            }
        }
    }
}

/// Multiplies one tile.
#[inline(always)]
fn tile<F: Lanes, I: Wide, const TOKENS: usize>(
    isa: I,
    weights: &[[Weights; 2]],
    groups: usize,
    steps: &[Step],
    stride: usize,
    place: Place<'_, '_>,
    ahead: Ahead<'_>,
) {
    let x = array::from_fn(|i| &steps[(place.t + i) * stride..][..weights.len()]);
    let signs = if F::SIGN == Sign::Signed { 128 } else { 0 };
    let (offset, mins) = match F::OFFSET {
        Some(offset) => (offset + signs, Mins::None),
        None => (signs, Mins::Own),
    };
    let tile = Tile { weights, groups, offset, mins, x, stride, place, ahead };
    match (F::GROUP >= 32, F::ROUNDING != Rounding::Groups) {
        (true, true) => isa.enter_wide(TileOf::<32, true, TOKENS>(tile)),
        (true, false) => isa.enter_wide(TileOf::<32, false, TOKENS>(tile)),
        (false, true) => isa.enter_wide(TileOf::<16, true, TOKENS>(tile)),
        (false, false) => isa.enter_wide(TileOf::<16, false, TOKENS>(tile)),
    }
}

/// Whether weights have minima beside their offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mins {
    None,
    Own,
}

/// Products of 32 rows with some tokens, over a piece of the rows.
struct Tile<'a, 'b, const TOKENS: usize> {
    weights: &'a [[Weights; 2]],
    /// How many times 32 weights are left of the rows.
    groups: usize,
    offset: i32,
    mins: Mins,
    x: [&'a [Step]; TOKENS],
    /// Steps of a token.
    stride: usize,
    place: Place<'a, 'b>,
    ahead: Ahead<'a>,
}

/// The same for groups of `GROUP` weights; `SHARED` tells whether the activations of a step share a scale, which then
/// counts once, behind the step's sums.
struct TileOf<'a, 'b, const GROUP: usize, const SHARED: bool, const TOKENS: usize>(Tile<'a, 'b, TOKENS>);

impl<const GROUP: usize, const SHARED: bool, const TOKENS: usize> WideKernel
    for TileOf<'_, '_, GROUP, SHARED, TOKENS>
{
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
    fn run<I: Wide>(self, isa: I) {
        let Tile { weights, groups, offset, mins, x, stride, mut place, mut ahead } = self.0;
        let next_tile = TOKENS * stride * size_of::<Step>();
        let mut sums = [[isa.splat_wide(0.0); 2]; TOKENS];
        for s in 0..weights.len() {
            let w: &[Weights; 2] = &weights[s];
            if s + 1 == weights.len() {
                place.prefetch(isa, TOKENS);
            }
            let mut steps: [&Step; TOKENS] = [&x[0][s]; TOKENS];
            let mut starts = [[[0; 8]; 2]; TOKENS];
            for t in 0..TOKENS {
                steps[t] = &x[t][s];
                if offset == 0 {
                    continue;
                }
                let [low, high] = &steps[t].q_sum;
                for i in 0..8 {
                    starts[t][0][i] = -offset * if GROUP == 32 { low[i] + high[i] } else { low[i] };
                    starts[t][1][i] = -offset * high[i];
                }
            }
            let n = (groups - s * (STEP / 32)).min(STEP / 32);
            if mins == Mins::Own {
                for g in 0..n * 32 / GROUP {
                    let min = [isa.load_wide(&w[0].min[g]), isa.load_wide(&w[1].min[g])];
                    for t in 0..TOKENS {
                        let sum = if GROUP == 32 { steps[t].sum[g] } else { steps[t].half_sum[g / 8][g % 8] };
                        let sum = isa.splat_wide(sum);
                        sums[t][0] = isa.neg_mul_add_wide(min[0], sum, sums[t][0]);
                        sums[t][1] = isa.neg_mul_add_wide(min[1], sum, sums[t][1]);
                    }
                }
            }
            let mut of_step = [[isa.splat_wide(0.0); 2]; TOKENS];
            for i in 0..n {
                for t in 0..TOKENS {
                    // The next tile's activations; the processor sees short runs from many places and asks too late.
                    let line = (&raw const *steps[t]).cast::<u8>().wrapping_add(next_tile + 64 * i);
                    isa.prefetch(line);
                }
                ahead.prefetch(isa);
                let mut scale = [isa.splat_wide(0.0); TOKENS];
                for t in 0..TOKENS {
                    scale[t] = isa.splat_wide(steps[t].scale[i]);
                }
                for half in 0..32 / GROUP {
                    let mut acc = [[isa.splat_i32_wide(0); 2]; TOKENS];
                    for t in 0..TOKENS {
                        acc[t] = [isa.splat_i32_wide(starts[t][half][i]); 2];
                    }
                    for j in half * (GROUP / 4)..(half + 1) * (GROUP / 4) {
                        let q = [isa.load_quads(&w[0].q[i][j]), isa.load_quads(&w[1].q[i][j])];
                        for t in 0..TOKENS {
                            let x = &steps[t].q[i].as_chunks().0[j];
                            acc[t][0] = isa.dot_quads(q[0], x, acc[t][0]);
                            acc[t][1] = isa.dot_quads(q[1], x, acc[t][1]);
                        }
                    }
                    let g = 32 / GROUP * i + half;
                    for group in 0..2 {
                        let w = isa.load_wide(&w[group].scale[g]);
                        for t in 0..TOKENS {
                            let products = isa.float_i32_wide(acc[t][group]);
                            let (sum, scale) = match SHARED {
                                true => (&mut of_step[t][group], w),
                                false => (&mut sums[t][group], isa.mul_wide(w, scale[t])),
                            };
                            *sum = isa.mul_add_wide(products, scale, *sum);
                        }
                    }
                }
            }
            if SHARED {
                for t in 0..TOKENS {
                    let scale = isa.splat_wide(steps[t].scale[0]);
                    for group in 0..2 {
                        sums[t][group] = isa.mul_add_wide(of_step[t][group], scale, sums[t][group]);
                    }
                }
            }
        }
        for t in 0..TOKENS {
            place.put(isa, t, sums[t]);
        }
    }
}
