//! Integer weights times one token on 128-bit registers: along the rows, some at once, which share the activations.
//!
//! A row is unpacked before it is multiplied, as [`super::eight`] does; code of a format's own that multiplies as it
//! unpacks took longer.

use super::activations::{STEP, Step};
use super::eight::{PIECE, Shape};
use super::integers::{Lanes, Unpacked};
use super::matmul::Rows;
use crate::simd::{Narrow, Products, ProductsKernel};

/// Rows that one token meets together.
const ABREAST: usize = 2;

/// Multiplies rows with one token.
#[inline(always)]
pub(crate) fn one_token<F: Lanes, I: Narrow>(isa: I, rows: Rows<'_, '_>) {
    one(isa, Shape::of::<F>(), rows);
}

#[inline(never)]
fn one<I: Narrow>(isa: I, shape: Shape<I>, rows: Rows<'_, '_>) {
    isa.with_products(shape.signed, shape.bits, One { isa, shape, rows });
}

struct One<'a, 'b, I> {
    isa: I,
    shape: Shape<I>,
    rows: Rows<'a, 'b>,
}

impl<I: Narrow> ProductsKernel<I> for One<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn run<P: Products<I>>(self, flip: u8) {
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
                    32 => along::<I, P, false>(isa, rows, flip, groups, &x.steps[start..], sums),
                    _ => along::<I, P, true>(isa, rows, flip, groups, &x.steps[start..], sums),
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
fn along<I: Narrow, P: Products<I>, const SIXTEEN: bool>(
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
                        let halves = P::of_16(q, &x.q[v], flip);
                        for half in 0..2 {
                            let scale = isa.splat_narrow(scales[i][2 * (v - 4 * part) + half]);
                            let products = isa.float_i32_narrow(halves[half]);
                            sums[i].products = isa.mul_add_narrow(products, scale, sums[i].products);
                        }
                    } else {
                        let products = isa.float_i32_narrow(P::of_32(q, &x.q[v], flip));
                        let scale = isa.splat_narrow(scales[i][v]);
                        sums[i].products = isa.mul_add_narrow(products, scale, sums[i].products);
                    }
                }
            }
        }
    }
    sums
}
