//! Integer weights times several tokens, with eight rows as lanes: [`super::panel`] on registers of 256 or 128 bits.
//!
//! Eight rows, 256 weights of each at a time, are unpacked and laid side by side, so that eight lanes hold the same few
//! neighbouring weights of every row. Four tokens meet them in integer sums that stay in registers; the float sums wait
//! in memory meanwhile. A piece of eight rows is 24 KB, or 45 in 16 bits, and stays in the first cache, or near it,
//! while all tokens pass by. Of 1, 2, 3, 4 and 6 tokens, 4 did best in Chromium.
//!
//! Only the unpacking of a row is compiled for every format, and called through a [`Shape`]; the multiplying is shared
//! by all of them. That keeps modules for browsers small.

mod wide;

use core::array;
use core::marker::PhantomData;

use super::activations::{MAY_BE_WIDE, STEP, Step, TOGETHER};
#[cfg(target_feature = "simd128")]
use super::fours::{Fours, SCALES};
use super::integers::{self, Lanes, Sign, Unpacked};
use super::matmul::{Input, Rows};
use crate::exec::Columns;
use crate::simd::{AnyDotsKernel, Dots, DotsKernel, Isa, Kernel, SideBySide, WideDots};

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Lanes, I: SideBySide>(isa: I, rows: Rows<'_, '_>) {
    several(isa, Shape::of::<F>(), rows, None);
}

/// Multiplies rows that lie by fours with several tokens.
#[cfg(target_feature = "simd128")]
#[inline(always)]
pub(crate) fn fours<F: Fours, I: SideBySide>(isa: I, rows: Rows<'_, '_>) {
    several(isa, Shape::of::<F>(), rows, Some(unpack_four::<F, I>));
}

/// A format, as far as multiplying is concerned.
#[derive(Clone, Copy)]
pub(super) struct Shape<I> {
    /// Unpacks steps of a row, from the one of this number on.
    unpack: fn(I, &[u8], usize, &mut [Unpacked]),
    /// Weights in a group, 16 or 32.
    pub(super) group: usize,
    /// Whether groups have minima.
    mins: bool,
    /// Whether integers have signs.
    pub(super) signed: bool,
    /// Bits of those that have none.
    pub(super) bits: u32,
}

impl<I: Isa> Shape<I> {
    pub(super) fn of<F: Lanes>() -> Self {
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
    pub(super) fn unpack(&mut self, isa: I, row: &[u8], start: usize, flip: u8, to: &mut [Unpacked]) {
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

    /// [`Shape::unpack`] of one step of each row.
    #[inline(always)]
    pub(super) fn unpack_step(
        &mut self,
        isa: I,
        rows: [&[u8]; ROWS],
        step: usize,
        flip: u8,
        to: &mut [Unpacked; ROWS],
    ) {
        for (row, to) in rows.iter().zip(to) {
            self.unpack(isa, row, step, flip, array::from_mut(to));
        }
    }
}

fn unpack<F: Lanes, I: Isa>(isa: I, row: &[u8], start: usize, to: &mut [Unpacked]) {
    isa.enter(Unpack { blocks: F::blocks(row), start, to, format: PhantomData::<F> });
}

/// [`integers::unpack`] on its own.
struct Unpack<'a, F: Lanes> {
    blocks: &'a [F::Block],
    start: usize,
    to: &'a mut [Unpacked],
    format: PhantomData<F>,
}

impl<F: Lanes> Kernel for Unpack<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        integers::unpack::<F, I>(isa, self.blocks, self.start, self.to);
    }
}

/// Unpacks step `step` of four rows that lie by fours to place `to.q[..][16 * place..]`; every weight is
/// moved up by `flip`.
type UnpackFour<I> = fn(I, four: &[u8], step: usize, flip: u8, place: usize, to: &mut Weights);

#[cfg(target_feature = "simd128")]
fn unpack_four<F: Fours, I: Isa>(isa: I, four: &[u8], step: usize, flip: u8, place: usize, to: &mut Weights) {
    let offset = F::OFFSET.expect("minima are some of the scale") + i32::from(flip);
    for (g, block) in four.chunks_exact(4 * F::BYTES).skip(step * (STEP / 32)).take(STEP / 32).enumerate() {
        for v in 0..4 {
            let mut two = [0; 32];
            isa.store_bytes(F::quads(isa, block, v), &mut two);
            for (half, quad) in two.as_chunks::<16>().0.iter().enumerate() {
                to.q[8 * g + 4 * half + v][16 * place..][..16].copy_from_slice(&quad.map(|q| q ^ flip));
            }
        }
        let mut scale = [0; 8];
        for (scale, bytes) in scale.iter_mut().zip(block[..SCALES].as_chunks().0) {
            *scale = u16::from_le_bytes(*bytes);
        }
        let scale = isa.widen_f16(scale);
        let min = isa.mul(scale, isa.splat(offset as f32));
        for (factor, to) in [(scale, &mut to.scale), (min, &mut to.min)] {
            let mut eight = [0.0; ROWS];
            isa.store(factor, &mut eight);
            to[g][4 * place..][..4].copy_from_slice(&eight[..4]);
        }
    }
}

/// Steps of a row that are unpacked before they are multiplied.
pub(super) const PIECE: usize = 8;

/// Rows unpacked together.
pub(super) const ROWS: usize = 8;
/// Tokens multiplied together.
const TOKENS: usize = TOGETHER;

/// 256 weights of 8 rows, in no format any more.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Weights {
    /// By fours of weights of every row, or by pairs, in an order that suits the dot products.
    q: Units,
    /// Where integer sums of every 32 weights start, or of every 16; only for [`WideDots`].
    start: [[u8; 4 * ROWS]; STARTS],
    /// The scale of every 32 weights, or of every 16.
    scale: [[f32; ROWS]; STEP / 16],
    /// The same of minima, where there are any.
    min: [[f32; ROWS]; STEP / 16],
}

impl Weights {
    const ZERO: Self = Self {
        q: [[0; 4 * ROWS]; UNITS],
        start: [[0; 4 * ROWS]; STARTS],
        scale: [[0.0; ROWS]; STEP / 16],
        min: [[0.0; ROWS]; STEP / 16],
    };
}

/// The weights of a step of eight rows, as bytes.
type Quads = [[u8; 4 * ROWS]; STEP / 4];

/// The same, with room for 16 bits each where there may be [`WideDots`].
type Units = [[u8; 4 * ROWS]; UNITS];
const UNITS: usize = if MAY_BE_WIDE { STEP / 2 } else { STEP / 4 };
const STARTS: usize = if MAY_BE_WIDE { STEP / 16 } else { 0 };

/// What depends on the dot products, behind pointers: everything else is compiled once for all of them.
struct Way<I: Isa> {
    /// What every weight is xored with.
    flip: u8,
    side_by_side: fn(I, &[Unpacked; ROWS], flip: u8, quads: usize, &mut Weights),
    rearrange: fn(I, quads: usize, &mut Weights),
    multiply: fn(Multiply<'_, '_, I>),
}

/// Finds the [`Way`] of an instruction set's fastest dot products.
struct Ways<I>(PhantomData<I>);

impl<I: SideBySide> DotsKernel<I> for Ways<I> {
    type Output = Way<I>;

    #[inline(always)]
    fn run<D: Dots<I>>(self, flip: u8) -> Way<I> {
        Way {
            flip,
            side_by_side: |isa, rows, flip, _, to| {
                isa.enter(SideBySideBy { isa, rows, flip, to, dots: PhantomData::<D> });
            },
            rearrange: |isa, _, to| isa.enter(RearrangeBy { isa, to, dots: PhantomData::<D> }),
            multiply: |task| task.isa.enter(MultiplyBy(task, PhantomData::<D>)),
        }
    }
}

impl<I: SideBySide> AnyDotsKernel<I> for Ways<I> {
    #[inline(always)]
    fn run_wide<D: WideDots<I>>(self) -> Way<I> {
        Way {
            flip: 0,
            side_by_side: |isa, rows, _, quads, to| {
                isa.enter(wide::SideBySideBy { isa, rows, quads, to, dots: PhantomData::<D> });
            },
            rearrange: |isa, quads, to| isa.enter(wide::WidenBy { isa, quads, to, dots: PhantomData::<D> }),
            multiply: |task| task.isa.enter(wide::MultiplyBy(task, PhantomData::<D>)),
        }
    }
}

#[inline(never)]
fn several<I: SideBySide>(isa: I, shape: Shape<I>, rows: Rows<'_, '_>, fours: Option<UnpackFour<I>>) {
    let way = isa.with_dots(shape.signed, shape.bits, Ways(PhantomData));
    isa.enter(Several { isa, shape, rows, fours, way });
}

struct Several<'a, 'b, I: Isa> {
    isa: I,
    shape: Shape<I>,
    rows: Rows<'a, 'b>,
    /// Where rows lie by fours: what unpacks them.
    fours: Option<UnpackFour<I>>,
    way: Way<I>,
}

impl<I: SideBySide> Kernel for Several<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        let Self { isa, mut shape, rows: Rows { w, x, first, out }, fours, way } = self;
        let (n_steps, quads) = (w.cols().div_ceil(STEP), shape.group / 4);
        let mut unpacked = [Unpacked::ZERO; ROWS];
        let mut panel = [Weights::ZERO; PIECE];
        let mut sums = [[isa.zero(); TOKENS]; wide::WAITING];
        for r in (0..out.width()).step_by(ROWS) {
            for start in (0..n_steps).step_by(PIECE) {
                let piece = start..n_steps.min(start + PIECE);
                // Past the last row that row again; its outputs go nowhere.
                if let Some(unpack_four) = fours {
                    shape.mins |= way.flip != 0;
                    let two = [r, (r + 4).min(out.width() - 4)].map(|r| w.span(first + r, 4));
                    for (step, weights) in piece.clone().zip(&mut panel) {
                        for (place, four) in two.into_iter().enumerate() {
                            unpack_four(isa, four, step, way.flip, place, weights);
                        }
                        (way.rearrange)(isa, quads, weights);
                    }
                } else {
                    let row = |i: usize| w.bytes(first + (r + i).min(out.width() - 1));
                    let rows: [&[u8]; ROWS] = array::from_fn(row);
                    for (step, weights) in piece.clone().zip(&mut panel) {
                        shape.unpack_step(isa, rows, step, way.flip, &mut unpacked);
                        factors_side_by_side(isa, &shape, &unpacked, weights);
                        (way.side_by_side)(isa, &unpacked, way.flip, quads, weights);
                    }
                }
                let groups = w.cols() / 32 - start * (STEP / 32);
                let (weights, place) = (&panel[..piece.len()], Place { out, start, n_steps, r });
                (way.multiply)(Multiply { isa, shape: &shape, weights, groups, x, sums: &mut sums, place });
            }
        }
    }
}

/// Lays a step of rows side by side as the dot products want it.
struct SideBySideBy<'a, I, D> {
    isa: I,
    rows: &'a [Unpacked; ROWS],
    flip: u8,
    to: &'a mut Weights,
    dots: PhantomData<D>,
}

impl<I: SideBySide, D: Dots<I>> Kernel for SideBySideBy<'_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        let Self { isa, rows, flip, to, .. } = self;
        side_by_side::<I, D>(isa, rows, flip, quads_of(&mut to.q));
    }
}

/// The same for rows that lie by fours already.
struct RearrangeBy<'a, I, D> {
    isa: I,
    to: &'a mut Weights,
    dots: PhantomData<D>,
}

impl<I: SideBySide, D: Dots<I>> Kernel for RearrangeBy<'_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        for quads in quads_of(&mut self.to.q).as_chunks_mut().0 {
            D::rearrange(self.isa, quads);
        }
    }
}

/// The place of bytes.
#[inline(always)]
fn quads_of(units: &mut Units) -> &mut Quads {
    units.first_chunk_mut().expect("room for bytes")
}

/// Lays the scales and minima of a step of 8 rows side by side.
#[inline(always)]
fn factors_side_by_side<I: Isa>(isa: I, shape: &Shape<I>, rows: &[Unpacked; ROWS], to: &mut Weights) {
    for part in 0..32 / shape.group {
        // Loops: what `array::map` calls is not inlined everywhere.
        let (mut scale, mut min) = ([&rows[0].scale[part]; ROWS], [&rows[0].min[part]; ROWS]);
        for (i, row) in rows.iter().enumerate() {
            (scale[i], min[i]) = (&row.scale[part], &row.min[part]);
        }
        to.scale.as_chunks_mut().0[part] = floats_side_by_side(isa, scale);
        if shape.mins {
            to.min.as_chunks_mut().0[part] = floats_side_by_side(isa, min);
        }
    }
}

/// Lays the weights of a step of 8 rows side by side.
#[inline(always)]
pub(super) fn side_by_side<I: SideBySide, D: Dots<I>>(
    isa: I,
    rows: &[Unpacked; ROWS],
    flip: u8,
    to: &mut Quads,
) {
    for (i, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
        D::side_by_side(isa, bytes(rows, i), flip, to);
    }
}

/// Weights `32 i` and those that follow, of every row.
#[inline(always)]
fn bytes(rows: &[Unpacked; ROWS], i: usize) -> [&[u8; 32]; ROWS] {
    let mut q = [&rows[0].q[i]; ROWS];
    for (q, row) in q.iter_mut().zip(rows) {
        *q = &row.q[i];
    }
    q
}

/// Eight rows of eight floats as columns.
#[inline(always)]
fn floats_side_by_side<I: Isa>(isa: I, rows: [&[f32; 8]; ROWS]) -> [[f32; ROWS]; 8] {
    let mut columns = [isa.zero(); ROWS];
    for (column, row) in columns.iter_mut().zip(rows) {
        *column = isa.load(row);
    }
    let mut out = [[0.0; ROWS]; 8];
    for (column, to) in isa.transpose(columns).into_iter().zip(&mut out) {
        isa.store(column, to);
    }
    out
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

/// A piece of 8 rows times all tokens.
struct Multiply<'a, 'b, I: Isa> {
    isa: I,
    shape: &'a Shape<I>,
    weights: &'a [Weights],
    groups: usize,
    x: &'a Input<'a>,
    /// Room for sums, where there may be [`WideDots`].
    sums: &'a mut [[I::F32x8; TOKENS]],
    place: Place<'a, 'b>,
}

/// In a function of its own: inlined beside the unpacking, prompts took 8 % longer in Chromium.
struct MultiplyBy<'a, 'b, I: Isa, D>(Multiply<'a, 'b, I>, PhantomData<D>);

impl<I: SideBySide, D: Dots<I>> Kernel for MultiplyBy<'_, '_, I, D> {
    type Output = ();

    #[inline(always)]
    fn run<J: Isa>(self, _: J) {
        let Multiply { isa, shape, weights, groups, x, place: Place { out, start, n_steps, r }, .. } = self.0;
        let last = out.rows() - 1;
        for t in (0..=last).step_by(TOKENS) {
            // A last token stands in for those that are missing.
            let steps = array::from_fn(|i| &x.steps[(t + i).min(last) * n_steps + start..][..weights.len()]);
            let sums = match shape.group {
                32 => tile::<I, D, 8>(isa, shape, weights, groups, steps),
                _ => tile::<I, D, 4>(isa, shape, weights, groups, steps),
            };
            put_all(isa, sums, start == 0, out, t, r);
        }
    }
}

/// [`put`] of some tokens from `t` on, in rows from `r` on; those past the last go nowhere.
#[inline(always)]
fn put_all<I: Isa>(
    isa: I,
    sums: impl IntoIterator<Item = I::F32x8>,
    set: bool,
    out: &mut Columns<'_, f32>,
    t: usize,
    r: usize,
) {
    let rows = r..out.width().min(r + ROWS);
    for (i, sums) in sums.into_iter().enumerate().take(out.rows() - t) {
        put(isa, sums, set, &mut out.row(t + i)[rows.clone()]);
    }
}

/// Sets the outputs of up to 8 rows, or adds to them.
#[inline(always)]
pub(super) fn put<I: Isa>(isa: I, sums: I::F32x8, set: bool, out: &mut [f32]) {
    if let Some(out) = out.first_chunk_mut() {
        return isa.store(if set { sums } else { isa.add(sums, isa.load(out)) }, out);
    }
    for (out, sum) in out.iter_mut().zip(isa.to_array(sums)) {
        *out = if set { sum } else { *out + sum };
    }
}

/// The products of 8 rows with some tokens over a piece of the rows, in groups of `QUADS` fours.
#[inline(always)]
fn tile<I: SideBySide, D: Dots<I>, const QUADS: usize>(
    isa: I,
    shape: &Shape<I>,
    weights: &[Weights],
    groups: usize,
    x: [&[Step]; TOKENS],
) -> [I::F32x8; TOKENS] {
    // Groups for every scale of activations.
    let parts = 8 / QUADS;
    let mut sums = [isa.zero(); TOKENS];
    for (s, w) in weights.iter().enumerate() {
        let mut steps: [&Step; TOKENS] = [&x[0][s]; TOKENS];
        for t in 0..TOKENS {
            steps[t] = &x[t][s];
        }
        for g in 0..groups_of(s, groups) * parts {
            let mut q = [quads(&steps[0].q, g); TOKENS];
            for t in 1..TOKENS {
                q[t] = quads(&steps[t].q, g);
            }
            let products = D::dots::<TOKENS, QUADS>(isa, &w.q.as_chunks().0[g], q);
            let scale = |t: usize| steps[t].scale[g / parts];
            let total =
                |t: usize| if parts == 1 { steps[t].sum[g] } else { steps[t].half_sum.as_flattened()[g] };
            add_scaled(isa, shape, (w, g), products, scale, total, &mut sums);
        }
    }
    sums
}

/// How many of so many groups of 32 weights step `s` has.
#[inline(always)]
fn groups_of(s: usize, groups: usize) -> usize {
    (groups - s * (STEP / 32)).min(STEP / 32)
}

/// Adds the products of group `g` times its scales, without its minima. Of each token that takes the activations' `scale`,
/// and that times the `total` of them.
#[inline(always)]
fn add_scaled<I: Isa>(
    isa: I,
    shape: &Shape<I>,
    (w, g): (&Weights, usize),
    products: [I::I32x8; TOKENS],
    scale: impl Fn(usize) -> f32,
    total: impl Fn(usize) -> f32,
    sums: &mut [I::F32x8; TOKENS],
) {
    let scales = isa.load(&w.scale[g]);
    for (t, (sum, products)) in sums.iter_mut().zip(products).enumerate() {
        *sum = isa.mul_add(isa.float_i32(products), isa.mul(scales, isa.splat(scale(t))), *sum);
    }
    if shape.mins {
        let min = isa.load(&w.min[g]);
        for (t, sum) in sums.iter_mut().enumerate() {
            *sum = isa.neg_mul_add(min, isa.splat(total(t)), *sum);
        }
    }
}

/// The activations of group `g`, by fours.
#[inline(always)]
pub(super) fn quads<const QUADS: usize>(q: &[[u8; 32]], g: usize) -> &[[u8; 4]; QUADS] {
    &q.as_flattened().as_chunks().0.as_chunks().0[g]
}
