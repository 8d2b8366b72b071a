//! Integer weights times activations on 128-bit registers.
//!
//! Only the unpacking of a row is compiled for every format, and called through a [`Shape`]; the multiplying is shared
//! by all of them. That keeps modules for browsers small, and is fast: code of a format's own that multiplies as it
//! unpacks took longer for one token, too.
//!
//! Several tokens take rows as lanes: [`super::panel`] for half of its registers and a quarter of their width. Eight rows, 256 weights of each at a time, are unpacked and laid side by side, so that one register holds the same few
//! neighbouring weights of four rows. Four tokens meet two such registers: 8 integer sums stay in registers, the float
//! sums wait in memory meanwhile. A piece of eight rows is 24 KB, half of a first cache, and stays there while all
//! tokens pass by. Of 1, 2, 3, 4 and 6 tokens with 8 rows, 4 did best in Chromium.
//!
//! One token goes along the rows, some at once, which share the activations.

use core::array;

use super::activations::{STEP, Step};
use super::integers::{self, Lanes, Sign, Unpacked};
use super::matmul::Rows;
use crate::exec::Columns;
use crate::simd::{Dots, DotsKernel, Narrow};

/// A format, as far as multiplying is concerned.
#[derive(Clone, Copy)]
struct Shape<I> {
    /// Unpacks steps of a row, from the one of this number on.
    unpack: fn(I, &[u8], usize, &mut [Unpacked]),
    /// Weights in a group, 16 or 32.
    group: usize,
    /// Whether groups have minima.
    mins: bool,
    /// Whether integers have signs.
    signed: bool,
    /// Bits of those that have none.
    bits: u32,
}

impl<I: Narrow> Shape<I> {
    fn of<F: Lanes>() -> Self {
        Self {
            unpack: unpack::<F, I>,
            group: F::GROUP.min(32),
            mins: F::OFFSET != Some(0),
            signed: F::SIGN == Sign::Signed,
            bits: F::BITS,
        }
    }

    /// Unpacks steps of a row. That weights are moved up, by `flip`, counts as a minimum.
    #[inline(always)]
    fn unpack(&mut self, isa: I, row: &[u8], start: usize, flip: u8, to: &mut [Unpacked]) {
        (self.unpack)(isa, row, start, to);
        if flip == 0 {
            return;
        }
        self.mins = true;
        for Unpacked { scale, min, .. } in to {
            for (scale, min) in scale.iter().zip(min) {
                let moved = isa.mul_add(isa.load(scale), isa.splat(f32::from(flip)), isa.load(min));
                isa.store(moved, min);
            }
        }
    }
}

fn unpack<F: Lanes, I: Narrow>(isa: I, row: &[u8], start: usize, to: &mut [Unpacked]) {
    integers::unpack::<F, I>(isa, F::blocks(row), start, to);
}

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    several(isa, Shape::of::<F>(), rows);
}

/// Steps of a row that are unpacked before they are multiplied.
const PIECE: usize = 8;

/// Rows unpacked together.
const ROWS: usize = 8;
/// Tokens multiplied together.
const TOKENS: usize = 4;

/// 256 weights of 8 rows, in no format any more.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Weights {
    /// By fours of weights, of every row, in an order that suits the dot products.
    q: [[u8; 4 * ROWS]; STEP / 4],
    /// The scale of every 32 weights, or of every 16.
    scale: [[f32; ROWS]; STEP / 16],
    /// The same of minima, where there are any.
    min: [[f32; ROWS]; STEP / 16],
}

impl Weights {
    const ZERO: Self =
        Self { q: [[0; 4 * ROWS]; STEP / 4], scale: [[0.0; ROWS]; STEP / 16], min: [[0.0; ROWS]; STEP / 16] };
}

#[inline(never)]
fn several<I: Narrow>(isa: I, shape: Shape<I>, rows: Rows<'_, '_>) {
    isa.with_dots(shape.signed, shape.bits, Several { isa, shape, rows });
}

struct Several<'a, 'b, I> {
    isa: I,
    shape: Shape<I>,
    rows: Rows<'a, 'b>,
}

impl<I: Narrow> DotsKernel<I> for Several<'_, '_, I> {
    type Output = ();

    fn run<D: Dots<I>>(self, flip: u8) {
        let Self { isa, mut shape, rows: Rows { w, x, first, out } } = self;
        let n_steps = w.cols().div_ceil(STEP);
        let mut unpacked = [Unpacked::ZERO; ROWS];
        let mut panel = [Weights::ZERO; PIECE];
        for r in (0..out.width()).step_by(ROWS) {
            // Past the last row that row again; its outputs go nowhere.
            let rows: [&[u8]; ROWS] = array::from_fn(|i| w.bytes(first + (r + i).min(out.width() - 1)));
            for start in (0..n_steps).step_by(PIECE) {
                let piece = start..n_steps.min(start + PIECE);
                for (step, weights) in piece.clone().zip(&mut panel) {
                    for (row, to) in rows.iter().zip(&mut unpacked) {
                        shape.unpack(isa, row, step, flip, array::from_mut(to));
                    }
                    side_by_side::<I, D>(isa, &shape, &unpacked, flip, weights);
                }
                let groups = w.cols() / 32 - start * (STEP / 32);
                let place = Place { out, start, n_steps, r };
                multiply::<I, D>(isa, &shape, &panel[..piece.len()], groups, x.steps, place);
            }
        }
    }
}

/// Lays a step of 8 rows side by side.
#[inline(always)]
fn side_by_side<I: Narrow, D: Dots<I>>(
    isa: I,
    shape: &Shape<I>,
    rows: &[Unpacked; ROWS],
    flip: u8,
    to: &mut Weights,
) {
    for part in 0..32 / shape.group {
        isa.floats_side_by_side(
            rows.each_ref().map(|row| &row.scale[part]),
            &mut to.scale.as_chunks_mut().0[part],
        );
        if shape.mins {
            isa.floats_side_by_side(
                rows.each_ref().map(|row| &row.min[part]),
                &mut to.min.as_chunks_mut().0[part],
            );
        }
    }
    for (i, to) in to.q.as_chunks_mut().0.iter_mut().enumerate() {
        D::side_by_side(rows.each_ref().map(|row| &row.q[i]), flip, to);
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
fn multiply<I: Narrow, D: Dots<I>>(
    isa: I,
    shape: &Shape<I>,
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
        let sums = match shape.group {
            32 => tile::<I, D, 8>(isa, shape, weights, groups, x),
            _ => tile::<I, D, 4>(isa, shape, weights, groups, x),
        };
        for (i, sums) in sums.into_iter().enumerate().take(last + 1 - t) {
            put(isa, sums, start == 0, &mut out.row(t + i)[r..r + n_rows]);
        }
    }
}

/// Sets the outputs of up to 8 rows, or adds to them.
#[inline(always)]
fn put<I: Narrow>(isa: I, sums: [I::F32x4; 2], set: bool, out: &mut [f32]) {
    if let [low, high] = out.as_chunks_mut().0 {
        for (sum, out) in sums.into_iter().zip([low, high]) {
            let sum = if set { sum } else { isa.add_narrow(sum, isa.load_narrow(out)) };
            isa.store_narrow(sum, out);
        }
        return;
    }
    let mut eight = [0.0; ROWS];
    for (sum, to) in sums.into_iter().zip(eight.as_chunks_mut().0) {
        isa.store_narrow(sum, to);
    }
    for (out, sum) in out.iter_mut().zip(eight) {
        *out = if set { sum } else { *out + sum };
    }
}

/// The products of 8 rows with some tokens over a piece of the rows, in groups of `4 * QUADS`.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
fn tile<I: Narrow, D: Dots<I>, const QUADS: usize>(
    isa: I,
    shape: &Shape<I>,
    weights: &[Weights],
    groups: usize,
    x: [&[Step]; TOKENS],
) -> [[I::F32x4; 2]; TOKENS] {
    // Groups for every scale of activations.
    let parts = 8 / QUADS;
    let mut sums = [[isa.splat_narrow(0.0); 2]; TOKENS];
    for (s, w) in weights.iter().enumerate() {
        let mut steps: [&Step; TOKENS] = [&x[0][s]; TOKENS];
        for t in 1..TOKENS {
            steps[t] = &x[t][s];
        }
        let n = (groups - s * (STEP / 32)).min(STEP / 32);
        for g in 0..n * parts {
            let mut q = [quads(&x[0][s].q, g); TOKENS];
            for t in 1..TOKENS {
                q[t] = quads(&steps[t].q, g);
            }
            let products = D::dots::<TOKENS, QUADS>(&w.q.as_chunks().0[g], q);
            for four in 0..2 {
                let scales = isa.load_narrow(&w.scale[g].as_chunks().0[four]);
                for t in 0..TOKENS {
                    let scale = isa.mul_narrow(scales, isa.splat_narrow(steps[t].scale[g / parts]));
                    let products = isa.float_i32_narrow(products[t][four]);
                    sums[t][four] = isa.mul_add_narrow(products, scale, sums[t][four]);
                }
            }
            if shape.mins {
                for four in 0..2 {
                    let min = isa.load_narrow(&w.min[g].as_chunks().0[four]);
                    for t in 0..TOKENS {
                        let sum =
                            if parts == 1 { steps[t].sum[g] } else { steps[t].half_sum.as_flattened()[g] };
                        sums[t][four] = isa.neg_mul_add_narrow(min, isa.splat_narrow(sum), sums[t][four]);
                    }
                }
            }
        }
    }
    sums
}

/// The activations of group `g`, by fours.
#[inline(always)]
fn quads<const QUADS: usize>(q: &[[u8; 32]; 8], g: usize) -> &[[u8; 4]; QUADS] {
    &q.as_flattened().as_chunks().0.as_chunks().0[g]
}

/// Rows that one token meets together.
const ABREAST: usize = 2;

/// Multiplies rows with one token.
#[inline(always)]
pub(crate) fn one_token<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    one(isa, Shape::of::<F>(), rows);
}

#[inline(never)]
fn one<I: Narrow>(isa: I, shape: Shape<I>, rows: Rows<'_, '_>) {
    isa.with_dots(shape.signed, shape.bits, One { isa, shape, rows });
}

struct One<'a, 'b, I> {
    isa: I,
    shape: Shape<I>,
    rows: Rows<'a, 'b>,
}

impl<I: Narrow> DotsKernel<I> for One<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dots<I>>(self, flip: u8) {
        let Self { isa, mut shape, rows: Rows { w, x, first, out } } = self;
        let n_steps = w.cols().div_ceil(STEP);
        let mut piece = [[Unpacked::ZERO; PIECE]; ABREAST];
        let out = out.row(0);
        for r in (0..out.len()).step_by(ABREAST) {
            let mut sums = [Sums { products: isa.splat_narrow(0.0), mins: isa.zero() }; ABREAST];
            for start in (0..n_steps).step_by(PIECE) {
                let len = PIECE.min(n_steps - start);
                for (i, piece) in piece.iter_mut().enumerate() {
                    // Past the last row that row again.
                    let row = w.bytes(first + (r + i).min(out.len() - 1));
                    shape.unpack(isa, row, start, flip, &mut piece[..len]);
                }
                let groups = w.cols() / 32 - start * (STEP / 32);
                let rows = piece.each_ref().map(|piece| &piece[..len]);
                sums = match shape.group {
                    32 => along::<I, D, false>(isa, rows, flip, groups, &x.steps[start..], sums),
                    _ => along::<I, D, true>(isa, rows, flip, groups, &x.steps[start..], sums),
                };
            }
            for (out, sums) in out[r..].iter_mut().zip(sums) {
                let mut four = [0.0; 4];
                isa.store_narrow(sums.products, &mut four);
                *out = four.iter().sum::<f32>() + isa.sum(sums.mins);
            }
        }
    }
}

/// A row's sums so far.
#[derive(Clone, Copy)]
struct Sums<P, M> {
    products: P,
    mins: M,
}

/// Adds the products of some rows with a token over a piece of them, in groups of 32 or else 16.
#[inline(always)]
fn along<I: Narrow, D: Dots<I>, const SIXTEEN: bool>(
    isa: I,
    rows: [&[Unpacked]; ABREAST],
    flip: u8,
    groups: usize,
    x: &[Step],
    mut sums: [Sums<I::F32x4, I::F32x8>; ABREAST],
) -> [Sums<I::F32x4, I::F32x8>; ABREAST] {
    for s in 0..rows[0].len() {
        let x = &x[s];
        let n = (groups - s * (STEP / 32)).min(STEP / 32);
        for part in 0..if SIXTEEN { 2 } else { 1 } {
            let (x_scale, x_sum, vectors) = if SIXTEEN {
                let scale = isa.double(x.half_scales(part));
                (scale, isa.load(&x.half_sum[part]), 4 * part..(4 * part + 4).min(n))
            } else {
                (isa.load(&x.scale), isa.load(&x.sum), 0..n)
            };
            let mut scales = [[0.0; 8]; ABREAST];
            for i in 0..ABREAST {
                let w = &rows[i][s];
                sums[i].mins = isa.neg_mul_add(isa.load(&w.min[part]), x_sum, sums[i].mins);
                isa.store(isa.mul(isa.load(&w.scale[part]), x_scale), &mut scales[i]);
            }
            for v in vectors {
                for i in 0..ABREAST {
                    let q = &rows[i][s].q[v];
                    if SIXTEEN {
                        let halves = D::of_16(q, &x.q[v], flip);
                        for half in 0..2 {
                            let scale = isa.splat_narrow(scales[i][2 * (v - 4 * part) + half]);
                            let products = isa.float_i32_narrow(halves[half]);
                            sums[i].products = isa.mul_add_narrow(products, scale, sums[i].products);
                        }
                    } else {
                        let products = isa.float_i32_narrow(D::of_32(q, &x.q[v], flip));
                        let scale = isa.splat_narrow(scales[i][v]);
                        sums[i].products = isa.mul_add_narrow(products, scale, sums[i].products);
                    }
                }
            }
        }
    }
    sums
}
