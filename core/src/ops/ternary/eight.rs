//! Ternary weights times several tokens, with eight rows as lanes: [`super::wide`] on registers of 256 or 128 bits.
//!
//! 32 rows of up to 2048 weights are unpacked into four panels, each of eight rows that lie side by side, as
//! [`crate::ops::eight`] does it; they stay in the second cache while all tokens pass by, four or eight at a time. Since
//! weights are small and share a scale, products are added up in integers over 256 weights of a row, in 16 bits for as
//! long as they fit.

use core::array;
use core::marker::PhantomData;

use super::{STEP, Step, Ternary, Token};
use crate::exec::Columns;
use crate::ops::eight::{ROWS, Shape, put, quads, side_by_side};
use crate::ops::integers::Unpacked;
use crate::ops::matmul::Rows;
use crate::simd::{Dots, DotsKernel, Isa, Kernel, SideBySide};

/// Panels that tokens meet one after the other.
const PANELS: usize = 4;
/// Steps of the rows unpacked at once, at most: 66 KB.
const PIECE: usize = 8;

/// 256 weights of 8 rows, in no format any more.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Weights {
    /// By fours of weights, of every row, in an order that suits the dot products.
    q: [[u8; 4 * ROWS]; STEP / 4],
    scale: [f32; ROWS],
}

impl Weights {
    const ZERO: Self = Self { q: [[0; 4 * ROWS]; STEP / 4], scale: [0.0; ROWS] };
}

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Ternary, I: SideBySide>(isa: I, rows: Rows<'_, '_>) {
    several(isa, Shape::of::<F>(), rows);
}

#[inline(never)]
fn several<I: SideBySide>(isa: I, shape: Shape<I>, rows: Rows<'_, '_>) {
    isa.with_ternary_dots(Several { isa, shape, rows });
}

struct Several<'a, 'b, I> {
    isa: I,
    shape: Shape<I>,
    rows: Rows<'a, 'b>,
}

impl<I: SideBySide> DotsKernel<I> for Several<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dots<I>>(self, flip: u8) {
        let Self { isa, mut shape, rows: Rows { w, x, first, out } } = self;
        let n_steps = w.cols().div_ceil(STEP);
        // As few pieces as may be, of the same length: each reads the outputs again.
        let piece = n_steps.div_ceil(n_steps.div_ceil(PIECE));
        let mut unpacked = [Unpacked::ZERO; ROWS];
        let mut panels = [[Weights::ZERO; PIECE]; PANELS];
        for r in (0..out.width()).step_by(PANELS * ROWS) {
            let n_panels = (out.width() - r).div_ceil(ROWS).min(PANELS);
            for start in (0..n_steps).step_by(piece) {
                let len = piece.min(n_steps - start);
                for (p, panel) in panels[..n_panels].iter_mut().enumerate() {
                    // Past the last row that row again; its outputs go nowhere.
                    let row = |i: usize| w.bytes(first + (r + p * ROWS + i).min(out.width() - 1));
                    let rows: [&[u8]; ROWS] = array::from_fn(row);
                    for (step, weights) in (start..).zip(&mut panel[..len]) {
                        shape.unpack_step(isa, rows, step, flip, &mut unpacked);
                        for (scale, row) in weights.scale.iter_mut().zip(&unpacked) {
                            *scale = row.scale[0][0];
                        }
                        side_by_side::<I, D>(isa, &unpacked, flip, &mut weights.q);
                    }
                }
                let (panels, place) = (&panels[..n_panels], Place { out, start, len, n_steps, r });
                isa.enter(Multiply { isa, panels, steps: x.steps, place, dots: PhantomData::<D> });
            }
        }
        finish(x.per_token, false, out);
    }
}

/// Where sums go, and which steps they are of.
struct Place<'a, 'b> {
    out: &'a mut Columns<'b, f32>,
    /// The piece's first step; from the second piece on, sums are added to what is there.
    start: usize,
    len: usize,
    /// Steps of a token.
    n_steps: usize,
    r: usize,
}

/// Multiplies a piece of some panels with all tokens.
struct Multiply<'a, 'b, I, D> {
    isa: I,
    panels: &'a [[Weights; PIECE]],
    steps: &'a [Step],
    place: Place<'a, 'b>,
    dots: PhantomData<D>,
}

impl<I: SideBySide, D: Dots<I>> Kernel for Multiply<'_, '_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        match D::TERNARY_TOKENS {
            8 => self.by::<8>(),
            _ => self.by::<4>(),
        }
    }
}

impl<I: SideBySide, D: Dots<I>> Multiply<'_, '_, I, D> {
    #[inline(always)]
    fn by<const TOKENS: usize>(self) {
        let Self { isa, panels, steps, place: Place { out, start, len, n_steps, r }, .. } = self;
        let last = out.rows() - 1;
        for t in (0..=last).step_by(TOKENS) {
            // A last token stands in for those that are missing.
            let x: [&[Step]; TOKENS] =
                array::from_fn(|i| &steps[(t + i).min(last) * n_steps + start..][..len]);
            let mut totals = [[0.0; TOKENS]; PIECE];
            for (s, totals) in totals[..len].iter_mut().enumerate() {
                for i in 0..TOKENS {
                    totals[i] = total(&x[i][s]) as f32;
                }
            }
            for (p, panel) in panels.iter().enumerate() {
                let sums = tile::<I, D, TOKENS>(isa, &panel[..len], x, &totals);
                let r = r + p * ROWS;
                let rows = r..out.width().min(r + ROWS);
                for (i, sums) in sums.into_iter().enumerate().take(last + 1 - t) {
                    put(isa, sums, start == 0, &mut out.row(t + i)[rows.clone()]);
                }
            }
        }
    }
}

/// The products of 8 rows with some tokens over a piece of the rows.
#[inline(always)]
fn tile<I: SideBySide, D: Dots<I>, const TOKENS: usize>(
    isa: I,
    weights: &[Weights],
    x: [&[Step]; TOKENS],
    totals: &[[f32; TOKENS]; PIECE],
) -> [I::F32x8; TOKENS] {
    let mut sums = [isa.zero(); TOKENS];
    for (s, w) in weights.iter().enumerate() {
        // Of one group: all that the step has.
        let mut q = [quads(&x[0][s].q, 0); TOKENS];
        for t in 1..TOKENS {
            q[t] = quads(&x[t][s].q, 0);
        }
        let products = D::dots::<TOKENS, { STEP / 4 }>(isa, &w.q, q);
        let scale = isa.load(&w.scale);
        for t in 0..TOKENS {
            // Both are integers: with weights of one scale these sums are exact below 2^24.
            sums[t] = isa.mul_add(isa.float_i32(products[t]), scale, sums[t]);
            sums[t] = isa.neg_mul_add(isa.splat(totals[s][t]), scale, sums[t]);
        }
    }
    sums
}

/// The sum of a step's activations.
#[inline(always)]
pub(super) fn total(x: &Step) -> i32 {
    let mut sums = x.q_sum[0];
    for (sum, other) in sums.iter_mut().zip(&x.q_sum[1]) {
        *sum += other;
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
}

/// Sums become products: the offset of the weights goes, where it is still there, and the scale of the token comes.
#[inline(always)]
pub(super) fn finish(tokens: &[Token], offset: bool, out: &mut Columns<'_, f32>) {
    for (t, token) in tokens.iter().enumerate() {
        let offset = if offset { token.total as f32 } else { 0.0 };
        for out in out.row(t) {
            *out = token.scale * (*out - offset);
        }
    }
}
