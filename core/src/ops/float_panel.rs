//! Float weights times several tokens, with rows as lanes.
//!
//! [`super::floats`] multiplies along the rows: every few rows read all activations again, which come from ever farther
//! away the longer the prompt is, and every sum ends with adding lanes. Here, as in [`super::panel`], every lane is a row
//! of its own. 64 rows, 512 weights of each at a time, are widened to f32 and transposed once, and stay in the second
//! cache while all tokens pass by, six at a time. A weight of all 64 rows is four loads, a value of a token one more,
//! broadcast: ten loads for 24 multiply-adds, whose sums stay in registers.

use super::matmul::Rows;
use super::panel::{LANES, Place};
use crate::ops::floats::Floats;
use crate::simd::{Wide, WideKernel};

/// Weights of a row widened at once: 128 KB for all rows.
const PIECE: usize = 512;

/// Groups of [`LANES`] rows that a tile multiplies together.
const GROUPS: usize = 4;
const ROWS: usize = GROUPS * LANES;

/// Columns of rows, by group.
#[repr(C, align(64))]
struct Panel([[[f32; LANES]; PIECE]; GROUPS]);

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Floats, I: Wide>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let mut panel = Panel([[[0.0; LANES]; PIECE]; GROUPS]);
    for r in (0..out.width()).step_by(ROWS) {
        let n_rows = ROWS.min(out.width() - r);
        for start in (0..w.cols()).step_by(PIECE) {
            let len = PIECE.min(w.cols() - start);
            // Groups without rows keep whatever numbers they have; their outputs go nowhere.
            for group in 0..n_rows.div_ceil(LANES) {
                let mut rows: [&[u8]; LANES] = [&[]; LANES];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = w.bytes(first + (r + group * LANES + i).min(out.width() - 1));
                }
                widen::<F, I>(isa, rows, start, &mut panel.0[group][..len]);
            }
            let mut t = 0;
            while t < x.tokens() {
                let place = Place { out: &mut *out, first: start == 0, r, n_rows, t };
                let piece = |token| &x.token(token)[start..][..len];
                t += match x.tokens() - t {
                    6.. => tile::<I, 6>(isa, &panel, piece, place),
                    4 | 5 => tile::<I, 4>(isa, &panel, piece, place),
                    2 | 3 => tile::<I, 2>(isa, &panel, piece, place),
                    _ => tile::<I, 1>(isa, &panel, piece, place),
                };
            }
        }
    }
}

/// Writes weights `start..` of sixteen rows as columns.
#[inline(always)]
fn widen<F: Floats, I: Wide>(isa: I, rows: [&[u8]; LANES], start: usize, columns: &mut [[f32; LANES]]) {
    let (eights, rest) = columns.as_chunks_mut::<8>();
    for (i, columns) in eights.iter_mut().enumerate() {
        let mut weights = [isa.zero(); LANES];
        for (weights, row) in weights.iter_mut().zip(rows) {
            *weights = F::load(isa, &F::eights(row).0[start / 8 + i]);
        }
        isa.floats_side_by_side(weights, columns);
    }
    if rest.is_empty() {
        return;
    }
    let mut weights = [isa.zero(); LANES];
    for (weights, row) in weights.iter_mut().zip(rows) {
        let bytes = F::eights(row).1;
        let mut last = F::ZERO;
        last.as_mut()[..bytes.len()].copy_from_slice(bytes);
        *weights = F::load(isa, &last);
    }
    let mut last = [[0.0; LANES]; 8];
    isa.floats_side_by_side(weights, &mut last);
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Multiplies one tile and returns how many tokens it took.
#[inline(always)]
fn tile<'a, I: Wide, const TOKENS: usize>(
    isa: I,
    panel: &Panel,
    piece: impl Fn(usize) -> &'a [f32],
    place: Place<'_, '_>,
) -> usize {
    let x = core::array::from_fn(|i| piece(place.t + i));
    isa.enter_wide(Tile::<TOKENS> { panel, x, place });
    TOKENS
}

/// Products of 64 rows with some tokens, over a piece of the rows.
struct Tile<'a, 'b, const TOKENS: usize> {
    panel: &'a Panel,
    x: [&'a [f32]; TOKENS],
    place: Place<'a, 'b>,
}

impl<const TOKENS: usize> WideKernel for Tile<'_, '_, TOKENS> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
    fn run<I: Wide>(self, isa: I) {
        let Self { panel, mut x, mut place } = self;
        let len = x[0].len().min(PIECE);
        for t in 0..TOKENS {
            x[t] = &x[t][..len];
        }
        let mut sums = [[isa.splat_wide(0.0); GROUPS]; TOKENS];
        for k in 0..len {
            let mut w = [isa.splat_wide(0.0); GROUPS];
            for group in 0..GROUPS {
                w[group] = isa.load_wide(&panel.0[group][k]);
            }
            for t in 0..TOKENS {
                let x = isa.splat_wide(x[t][k]);
                for group in 0..GROUPS {
                    sums[t][group] = isa.mul_add_wide(w[group], x, sums[t][group]);
                }
            }
        }
        for t in 0..TOKENS {
            place.put(isa, t, sums[t]);
        }
    }
}
