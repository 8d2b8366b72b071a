//! Integer weights times one token on 128-bit registers: along some rows at once, which share the activations.
//!
//! Rows that lie by fours, and the formats in blocks of 256 that models are mostly made of ([`OneToken`]), are multiplied
//! as they are unpacked, in code of their own. All others unpack a row first, as [`super::eight`] does, and share the
//! multiplying, which keeps modules for browsers small.
//!
//! Rows come from far apart, see [`streams`]. What else decides is the order of evaluation: WebAssembly's compilers
//! evaluate the operands of a multiply-add in their order, the sum last. Of several in a row, all products would wait
//! in registers (and soon on the stack) for the first one; so such sums are added to, or the loop is kept short.

use core::array;
use core::marker::PhantomData;

use super::activations::{STEP, Step};
use super::eight::{PIECE, Shape};
use super::fours::Fours;
use super::integers::{Lanes, OneToken, Sign, Unpacked, part};
use super::matmul::{Rows, streams};
use crate::simd::{Activations, Narrow, Products, ProductsKernel};

/// Multiplies rows with one token.
#[inline(always)]
pub(crate) fn one_token<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    match F::ONE_TOKEN {
        OneToken::Blocks => blocks::<F, I>(isa, rows),
        OneToken::Unpacked => unpacked(isa, Shape::of::<F>(), rows),
    }
}

/// Multiplies rows that lie by fours with one token.
#[inline(never)]
pub(crate) fn fours<F: Fours, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    isa.with_products(F::SIGN == Sign::Signed, F::BITS, ByFours(isa, rows, PhantomData::<F>));
}

struct ByFours<'a, 'b, I, F>(I, Rows<'a, 'b>, PhantomData<F>);

impl<I: Narrow, F: Fours> ProductsKernel<I> for ByFours<'_, '_, I, F> {
    type Output = ();

    #[inline(always)]
    fn run<P: Products<I>>(self, flip: u8) {
        let Self(isa, Rows { w, x, first, out }, _) = self;
        let (out, _) = out.row(0).as_chunks_mut::<4>();
        let offset = F::OFFSET.expect("minima are some of the scale") + i32::from(flip);
        let (block, step) = (4 * F::BYTES, 4 * F::BYTES * STEP / 32);
        for numbers in streams::<4>(out.len()) {
            let [a, b, c, d] = numbers.map(|n| w.span(first + 4 * n, 4));
            let mut sums = [isa.splat_narrow(0.0); 4];
            let [a, b, c, d] = [a, b, c, d].map(|row| row.chunks(step));
            for (((((a, b), c), d), x), q) in
                a.zip(b).zip(c).zip(d).zip(x.steps).zip(P::Activations::steps(&x))
            {
                // Not stored beforehand: numbers that come back from a store of several make the loop wait.
                let starts = x.q_sum[0].iter().zip(&x.q_sum[1]).map(|(low, high)| -offset * (low + high));
                let [a, b, c, d] = [a, b, c, d].map(|four| four.chunks_exact(block));
                for ((((((a, b), c), d), q), scale), start) in
                    a.zip(b).zip(c).zip(d).zip(q).zip(&x.scale).zip(starts)
                {
                    let fours = [a, b, c, d];
                    let weights = |n: usize, v| F::quads(isa, fours[n], v);
                    let products = P::of_fours::<4>(weights, F::BITS, q, flip, start);
                    let scale = isa.splat_narrow(*scale);
                    for n in 0..4 {
                        let products = isa.mul_narrow(isa.float_i32_narrow(products[n]), scale);
                        sums[n] = isa.mul_add_narrow(products, isa.four_halves(part(fours[n], 0)), sums[n]);
                    }
                }
            }
            for (n, sum) in numbers.into_iter().zip(sums) {
                isa.store_narrow(sum, &mut out[n]);
            }
        }
    }
}

/// Rows at once where scales need registers, too.
const ABREAST: usize = 2;

/// 256 weights of a row, from a block or unpacked.
trait Weights<I: Narrow>: Copy {
    /// As [`Lanes::factors`].
    fn factors(self, isa: I, part: usize) -> (I::F32x8, I::F32x8);
    /// As [`Lanes::quants`].
    fn quants(self, isa: I, v: usize) -> I::I8x32;
}

/// Adds the products of some rows with a token over a step of them: `n` vectors, in groups of 32 or else 16.
#[inline(always)]
fn step<I: Narrow, P: Products<I>, W: Weights<I>, const SIXTEEN: bool>(
    isa: I,
    rows: [W; ABREAST],
    n: usize,
    flip: u8,
    x: &Step,
    mut sums: [I::F32x4; ABREAST],
) -> [I::F32x4; ABREAST] {
    for part in 0..if SIXTEEN { 2 } else { 1 } {
        let (x_scale, x_sum, vectors) = if SIXTEEN {
            let scale = isa.double(x.half_scales(part));
            (scale, isa.load(&x.half_sum[part]), 4 * part..(4 * part + 4).min(n))
        } else {
            (isa.load(&x.scale), isa.load(&x.sum), 0..n)
        };
        let x_sum = isa.halves(x_sum);
        let mut scales = [[0.0; 8]; ABREAST];
        for i in 0..ABREAST {
            let (scale, min) = rows[i].factors(isa, part);
            isa.store(isa.mul(scale, x_scale), &mut scales[i]);
            for (min, x_sum) in isa.halves(min).into_iter().zip(x_sum) {
                sums[i] = isa.sub_narrow(sums[i], isa.mul_narrow(min, x_sum));
            }
        }
        for v in vectors {
            for i in 0..ABREAST {
                let (q, x) = (rows[i].quants(isa, v), &x.q[v]);
                if SIXTEEN {
                    for (half, products) in P::of_16(q, x, flip).into_iter().enumerate() {
                        let scale = isa.splat_narrow(scales[i][2 * (v - 4 * part) + half]);
                        sums[i] =
                            isa.add_narrow(sums[i], isa.mul_narrow(isa.float_i32_narrow(products), scale));
                    }
                } else {
                    let products = isa.float_i32_narrow(P::of_32(q, x, flip));
                    let scale = isa.splat_narrow(scales[i][v]);
                    sums[i] = isa.add_narrow(sums[i], isa.mul_narrow(products, scale));
                }
            }
        }
    }
    sums
}

#[inline(never)]
fn blocks<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    isa.with_products(F::SIGN == Sign::Signed, F::BITS, Blocks(isa, rows, PhantomData::<F>));
}

/// Rows of blocks of 256 weights without signs.
struct Blocks<'a, 'b, I, F>(I, Rows<'a, 'b>, PhantomData<F>);

impl<I: Narrow, F: Lanes> ProductsKernel<I> for Blocks<'_, '_, I, F> {
    type Output = ();

    #[inline(always)]
    fn run<P: Products<I>>(self, flip: u8) {
        let Self(isa, Rows { w, x, first, out }, _) = self;
        let out = out.row(0);
        for numbers in streams::<ABREAST>(out.len()) {
            let [a, b] = numbers.map(|r| F::blocks(w.bytes(first + r)).iter());
            let mut sums = [isa.splat_narrow(0.0); ABREAST];
            for ((a, b), x) in a.zip(b).zip(x.steps) {
                let rows = [Block::<F>(a), Block(b)];
                sums = match F::GROUP {
                    16 => step::<I, P, _, true>(isa, rows, STEP / 32, flip, x, sums),
                    _ => step::<I, P, _, false>(isa, rows, STEP / 32, flip, x, sums),
                };
            }
            for (r, sum) in numbers.into_iter().zip(sums) {
                out[r] = isa.sum_narrow(sum);
            }
        }
    }
}

struct Block<'a, F: Lanes>(&'a F::Block);

impl<F: Lanes> Clone for Block<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Lanes> Copy for Block<'_, F> {}

impl<F: Lanes, I: Narrow> Weights<I> for Block<'_, F> {
    #[inline(always)]
    fn factors(self, isa: I, part: usize) -> (I::F32x8, I::F32x8) {
        F::factors(isa, array::from_ref(self.0), part)
    }

    #[inline(always)]
    fn quants(self, isa: I, v: usize) -> I::I8x32 {
        F::quants(isa, array::from_ref(self.0), v)
    }
}

#[inline(never)]
fn unpacked<I: Narrow>(isa: I, shape: Shape<I>, rows: Rows<'_, '_>) {
    isa.with_products(shape.signed, shape.bits, ByPieces(isa, shape, rows));
}

/// Rows of any format, a piece of each unpacked at a time.
struct ByPieces<'a, 'b, I>(I, Shape<I>, Rows<'a, 'b>);

impl<I: Narrow> ProductsKernel<I> for ByPieces<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<P: Products<I>>(self, flip: u8) {
        let Self(isa, mut shape, Rows { w, x, first, out }) = self;
        let n_steps = w.cols().div_ceil(STEP);
        let mut pieces = [[Unpacked::ZERO; PIECE]; ABREAST];
        let out = out.row(0);
        for numbers in streams::<ABREAST>(out.len()) {
            let mut sums = [isa.splat_narrow(0.0); ABREAST];
            for start in (0..n_steps).step_by(PIECE) {
                let len = PIECE.min(n_steps - start);
                for (piece, r) in pieces.iter_mut().zip(numbers) {
                    shape.unpack(isa, w.bytes(first + r), start, flip, &mut piece[..len]);
                }
                let [a, b] = &pieces;
                let groups = w.cols() / 32 - start * (STEP / 32);
                for (s, ((a, b), x)) in a.iter().zip(b).zip(&x.steps[start..][..len]).enumerate() {
                    let n = (groups - s * (STEP / 32)).min(STEP / 32);
                    sums = match shape.group {
                        16 => step::<I, P, _, true>(isa, [a, b], n, flip, x, sums),
                        _ => step::<I, P, _, false>(isa, [a, b], n, flip, x, sums),
                    };
                }
            }
            for (r, sum) in numbers.into_iter().zip(sums) {
                out[r] = isa.sum_narrow(sum);
            }
        }
    }
}

impl<I: Narrow> Weights<I> for &Unpacked {
    #[inline(always)]
    fn factors(self, isa: I, part: usize) -> (I::F32x8, I::F32x8) {
        (isa.load(&self.scale[part]), isa.load(&self.min[part]))
    }

    #[inline(always)]
    fn quants(self, isa: I, v: usize) -> I::I8x32 {
        isa.load_bytes(&self.q[v])
    }
}
