//! Float weights times float activations: multiplied and summed in f32, in many lanes.

use super::matmul::{Rows, streams};
use crate::quant::Format;
use crate::simd::Isa;

/// A format whose weights are numbers that a vector loads as they lie.
pub trait Floats: Format {
    /// The bytes of eight weights.
    type Eight: AsMut<[u8]>;

    /// Eight weights that are zero.
    const ZERO: Self::Eight;

    /// Whether they are bfloats: products of several tokens may then round the activations to bfloats too.
    const BFLOATS: bool;

    /// A row's bytes by eights, and what is left.
    fn eights(row: &[u8]) -> (&[Self::Eight], &[u8]);

    /// Eight weights.
    fn load<I: Isa>(isa: I, bytes: &Self::Eight) -> I::F32x8;
}

/// Sums of one row side by side, which hide the latency of a multiply-add.
const SUMS: usize = 4;

/// Multiplies rows with one token or several, whichever there are.
#[inline(always)]
pub(crate) fn run<F: Floats, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    if rows.x.tokens() == 1 {
        if I::REGISTERS >= 32 { one_token::<F, I, 4>(isa, rows) } else { one_token::<F, I, 2>(isa, rows) }
    } else {
        isa.float_tokens::<F>(rows)
    }
}

/// Reads every weight once, from several [`streams`].
#[inline(always)]
fn one_token<F: Floats, I: Isa, const STREAMS: usize>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let x = x.token(0);
    for rows in streams::<STREAMS>(out.width()) {
        let mut w_rows: [&[u8]; STREAMS] = [&[]; STREAMS];
        for s in 0..STREAMS {
            w_rows[s] = w.bytes(first + rows[s]);
        }
        let sums = dot_rows::<F, I, STREAMS>(isa, w_rows, x);
        for s in 0..STREAMS {
            out.row(0)[rows[s]] = sums[s];
        }
    }
}

#[inline(always)]
fn dot_rows<F: Floats, I: Isa, const ROWS: usize>(isa: I, w: [&[u8]; ROWS], x: &[f32]) -> [f32; ROWS] {
    let (x, x_rest) = x.as_chunks::<8>();
    let (x4, x1) = x.as_chunks::<SUMS>();
    let mut fours: [&[[F::Eight; SUMS]]; ROWS] = [&[]; ROWS];
    let mut ones: [&[F::Eight]; ROWS] = [&[]; ROWS];
    for r in 0..ROWS {
        let (w4, w1) = F::eights(w[r]).0.as_chunks();
        (fours[r], ones[r]) = (&w4[..x4.len()], &w1[..x1.len()]);
    }
    let mut sums = [[isa.zero(); SUMS]; ROWS];
    for i in 0..x4.len() {
        for j in 0..SUMS {
            let x = isa.load(&x4[i][j]);
            for r in 0..ROWS {
                sums[r][j] = isa.mul_add(F::load(isa, &fours[r][i][j]), x, sums[r][j]);
            }
        }
    }
    for i in 0..x1.len() {
        let x = isa.load(&x1[i]);
        for r in 0..ROWS {
            sums[r][i] = isa.mul_add(F::load(isa, &ones[r][i]), x, sums[r][i]);
        }
    }
    let mut out = [0.0; ROWS];
    for r in 0..ROWS {
        if !x_rest.is_empty() {
            let (mut last, mut x) = (F::ZERO, [0.0; 8]);
            let rest = F::eights(w[r]).1;
            last.as_mut()[..rest.len()].copy_from_slice(rest);
            x[..x_rest.len()].copy_from_slice(x_rest);
            sums[r][SUMS - 1] = isa.mul_add(F::load(isa, &last), isa.load(&x), sums[r][SUMS - 1]);
        }
        out[r] = isa.sum(isa.add(isa.add(sums[r][0], sums[r][1]), isa.add(sums[r][2], sums[r][3])));
    }
    out
}

#[inline(always)]
pub(crate) fn tokens<F: Floats, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    match rows.x.tokens() {
        6.. if I::REGISTERS >= 32 => tiles::<F, I, 4, 6>(isa, rows),
        _ => tiles::<F, I, 2, 4>(isa, rows),
    }
}

/// Cuts the work into tiles of `ROWS` rows and `TOKENS` tokens; those at the ends compute some sums twice.
#[inline(always)]
fn tiles<F: Floats, I: Isa, const ROWS: usize, const TOKENS: usize>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let (last_row, last_token) = (out.width() - 1, x.tokens() - 1);
    for r in (0..=last_row).step_by(ROWS) {
        let w = core::array::from_fn(|i| w.bytes(first + (r + i).min(last_row)));
        for t in (0..=last_token).step_by(TOKENS) {
            let x = core::array::from_fn(|i| x.token((t + i).min(last_token)));
            let sums = tile::<F, I, ROWS, TOKENS>(isa, w, x);
            for (i, token) in (t..=last_token).take(TOKENS).enumerate() {
                for (out, sums) in out.row(token)[r..].iter_mut().zip(&sums) {
                    *out = sums[i];
                }
            }
        }
    }
}

#[inline(always)]
fn tile<F: Floats, I: Isa, const ROWS: usize, const TOKENS: usize>(
    isa: I,
    w: [&[u8]; ROWS],
    x: [&[f32]; TOKENS],
) -> [[f32; TOKENS]; ROWS] {
    let n = x[0].len() / 8;
    let mut eights: [&[F::Eight]; ROWS] = [&[]; ROWS];
    let mut xs: [&[[f32; 8]]; TOKENS] = [&[]; TOKENS];
    for r in 0..ROWS {
        eights[r] = &F::eights(w[r]).0[..n];
    }
    for t in 0..TOKENS {
        xs[t] = &x[t].as_chunks().0[..n];
    }
    let mut sums = [[isa.zero(); TOKENS]; ROWS];
    for i in 0..n {
        let mut x = [isa.zero(); TOKENS];
        for t in 0..TOKENS {
            x[t] = isa.load(&xs[t][i]);
        }
        for r in 0..ROWS {
            let w = F::load(isa, &eights[r][i]);
            for t in 0..TOKENS {
                sums[r][t] = isa.mul_add(w, x[t], sums[r][t]);
            }
        }
    }
    if !x[0].len().is_multiple_of(8) {
        for r in 0..ROWS {
            let rest = F::eights(w[r]).1;
            let mut last = F::ZERO;
            last.as_mut()[..rest.len()].copy_from_slice(rest);
            let w = F::load(isa, &last);
            for t in 0..TOKENS {
                let rest = &x[t][8 * n..];
                let mut last = [0.0; 8];
                last[..rest.len()].copy_from_slice(rest);
                sums[r][t] = isa.mul_add(w, isa.load(&last), sums[r][t]);
            }
        }
    }
    let mut out = [[0.0; TOKENS]; ROWS];
    for r in 0..ROWS {
        for t in 0..TOKENS {
            out[r][t] = isa.sum(sums[r][t]);
        }
    }
    out
}
