//! Float weights times several tokens, with rows as lanes.
//!
//! [`super::floats`] multiplies along the rows: every few rows read all activations again, which come from ever farther
//! away the longer the prompt is, and every sum ends with adding lanes. Here, as in [`super::panel`], every lane is a row
//! of its own. A piece of 64 rows is transposed once into [`Cells`] (floats, or pairs of bfloats) and stays in the
//! second cache while all tokens pass by, six at a time. A cell of all 64 rows is four loads, one of a token one more,
//! broadcast: ten loads for 24 multiply-adds, whose sums stay in registers.

use super::matmul::Rows;
use super::panel::{LANES, Place};
use crate::ops::floats::Floats;
use crate::simd::{Cells, CellsKernel, Isa, Wide};

/// Cells of a row in a panel: 128 KB for all rows.
const PIECE: usize = 512;

/// Groups of [`LANES`] rows that a tile multiplies together.
const GROUPS: usize = 4;
const ROWS: usize = GROUPS * LANES;

/// Tokens that a tile multiplies together.
const TOKENS: usize = 6;

/// Columns of rows, by group.
#[repr(C, align(64))]
struct Panel([[[u8; 4 * LANES]; PIECE]; GROUPS]);

/// A piece of a tile's tokens, where their cells are not the values as they lie.
type Activations = [[[u8; 4]; PIECE]; TOKENS];

/// Multiplies rows with several tokens.
#[inline(always)]
pub(crate) fn tokens<F: Floats, C: Cells>(cells: C, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let mut panel = Panel([[[0; 4 * LANES]; PIECE]; GROUPS]);
    let mut activations = [[[0; 4]; PIECE]; TOKENS];
    for r in (0..out.width()).step_by(ROWS) {
        let n_rows = ROWS.min(out.width() - r);
        for start in (0..w.cols()).step_by(PIECE * C::WEIGHTS) {
            let len = (PIECE * C::WEIGHTS).min(w.cols() - start);
            // Groups without rows keep whatever numbers they have; their outputs go nowhere.
            for group in 0..n_rows.div_ceil(LANES) {
                let mut rows: [&[u8]; LANES] = [&[]; LANES];
                for (i, row) in rows.iter_mut().enumerate() {
                    let bytes = w.bytes(first + (r + group * LANES + i).min(out.width() - 1));
                    *row = &bytes[start * F::BYTES..][..len * F::BYTES];
                }
                transpose::<F, C>(cells, rows, &mut panel.0[group]);
            }
            let mut t = 0;
            while t < x.tokens() {
                let place = Place { out: &mut *out, first: start == 0, r, n_rows, t };
                let piece = |token| &x.token(token)[start..][..len];
                t += match x.tokens() - t {
                    TOKENS.. => tile::<C, TOKENS>(cells, &panel, piece, w.cols(), &mut activations, place),
                    4 | 5 => tile::<C, 4>(cells, &panel, piece, w.cols(), &mut activations, place),
                    2 | 3 => tile::<C, 2>(cells, &panel, piece, w.cols(), &mut activations, place),
                    _ => tile::<C, 1>(cells, &panel, piece, w.cols(), &mut activations, place),
                };
            }
        }
    }
}

/// Writes pieces of sixteen rows as columns of cells; the last cells are filled up with zeros.
#[inline(always)]
fn transpose<F: Floats, C: Cells>(cells: C, rows: [&[u8]; LANES], columns: &mut [[u8; 4 * LANES]; PIECE]) {
    // Bytes of eight cells.
    let eight = 8 * C::WEIGHTS * F::BYTES;
    let whole = rows[0].len() / eight;
    let (whole_columns, rest_columns) = columns.as_chunks_mut::<8>().0.split_at_mut(whole);
    for (i, columns) in whole_columns.iter_mut().enumerate() {
        let mut parts = rows;
        for part in &mut parts {
            *part = &part[i * eight..][..eight];
        }
        cells.side_by_side::<F>(parts, columns);
    }
    if let Some(columns) = rest_columns.first_mut() {
        let (mut filled, mut parts) = ([[0; 32]; LANES], rows);
        for (filled, part) in filled.iter_mut().zip(&mut parts) {
            let rest = &part[whole * eight..];
            filled[..rest.len()].copy_from_slice(rest);
            *part = &filled[..eight];
        }
        cells.side_by_side::<F>(parts, columns);
    }
}

/// Multiplies one tile and returns how many tokens it took.
#[inline(always)]
fn tile<'a, C: Cells, const N: usize>(
    cells: C,
    panel: &Panel,
    piece: impl Fn(usize) -> &'a [f32],
    stride: usize,
    activations: &mut Activations,
    place: Place<'_, '_>,
) -> usize {
    let x = core::array::from_fn(|i| piece(place.t + i));
    cells.enter_cells(Tile::<N> { panel, x, next: N * stride, activations, place });
    N
}

/// Products of 64 rows with some tokens, over a piece of the rows.
struct Tile<'a, 'b, const N: usize> {
    panel: &'a Panel,
    x: [&'a [f32]; N],
    /// How far behind a token's values those of the same token in the next tile are.
    next: usize,
    activations: &'a mut Activations,
    place: Place<'a, 'b>,
}

impl<C: Cells, const N: usize> CellsKernel<C> for Tile<'_, '_, N> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
    fn run(self, cells: C) {
        let Self { panel, x, next, activations, mut place } = self;
        let isa = cells.isa();
        let len = x[0].len().div_ceil(C::WEIGHTS).min(PIECE);
        let mut xs: [&[[u8; 4]]; N] = [&[]; N];
        for (t, activations) in activations.iter_mut().enumerate().take(N) {
            xs[t] = &cells.activations(x[t], activations)[..len];
        }
        place.prefetch(isa, N);
        let mut sums = [[isa.splat_wide(0.0); GROUPS]; N];
        for k in 0..len {
            // The next tile's activations; the processor sees short runs from many places and asks too late.
            isa.prefetch(x[k % N].as_ptr().wrapping_add(next + 16 * (k / N)).cast());
            let mut w = [isa.splat_i32_wide(0); GROUPS];
            for group in 0..GROUPS {
                w[group] = isa.load_quads(&panel.0[group][k]);
            }
            for t in 0..N {
                let x = isa.splat_i32_wide(i32::from_le_bytes(xs[t][k]));
                for group in 0..GROUPS {
                    sums[t][group] = cells.mul_add_cells(w[group], x, sums[t][group]);
                }
            }
        }
        for t in 0..N {
            place.put(isa, t, sums[t]);
        }
    }
}
