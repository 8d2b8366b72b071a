//! Integer weights times integer activations.
//!
//! A weight is `scale * q - min` ([`crate::quant::Quantized`]), an activation `s * x` with a signed byte `x`, so 16 or
//! 32 neighbouring products are `scale * s * (sum of q * x) - min * (s * sum of x)`. The first sum is integer work, and
//! the second was made with the activations, once for all rows. Offsets (a nibble that means -8 to 7) count as part of
//! the minimum, so that `q` stays small and unsigned, which is what processors multiply fastest.
//!
//! One token reads every weight once, straight from the file's blocks ([`one_token`]). Several tokens unpack a few rows
//! piece by piece into bytes and scales on the stack, which are no longer of any format, and multiply all tokens with
//! those ([`tokens`]).

use super::activations::{STEP, Step};
use super::matmul::Rows;
use crate::quant::Quantized;
use crate::simd::{Isa, Kernel};

/// A format whose groups unpack in vectors.
///
/// Blocks come as the slice of a step's blocks, 256 weights or, at the end of a row, fewer.
pub trait Lanes: Quantized {
    /// The bytes of a block.
    type Block: Copy;
    /// Whether the integers have signs.
    const SIGN: Sign;
    /// Their bits: 8 with a sign, at most 6 without.
    const BITS: u32;
    /// `Some(n)` when every minimum is `n` times its scale, so that a weight is `scale * (q - n)`.
    const OFFSET: Option<i32>;
    /// How a single token meets rows on WebAssembly's registers.
    const ONE_TOKEN: OneToken = OneToken::Unpacked;

    /// A row's bytes as blocks.
    fn blocks(row: &[u8]) -> &[Self::Block];

    /// Eight groups' scales and minima (larger groups count once for every 32 weights): groups `8 * part` and following; 0 for groups that are not there.
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], part: usize) -> (I::F32x8, I::F32x8);

    /// The integers of weights `32 * i` and following.
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32;
}

/// Whether integer weights have signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// 0 to 127.
    Unsigned,
    /// -128 to 127.
    Signed,
}

/// How a single token meets rows on WebAssembly's registers, in `narrow.rs`. Formats that most models are made of have
/// code of their own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneToken {
    /// Block by block. A block is 256 weights without signs.
    Blocks,
    /// Row by row, after unpacking.
    Unpacked,
}

/// The halves at byte `AT` of up to eight blocks.
#[inline(always)]
pub(crate) fn halves<I: Isa, const N: usize, const AT: usize>(isa: I, blocks: &[[u8; N]]) -> I::F32x8 {
    let half = |block: &[u8; N]| u16::from_le_bytes([block[AT], block[AT + 1]]);
    let mut bits = [0; 8];
    if let Some(blocks) = blocks.first_chunk::<8>() {
        // No loop with an end of its own in the way of the usual step.
        for i in 0..8 {
            bits[i] = half(&blocks[i]);
        }
    } else {
        for (bits, block) in bits.iter_mut().zip(blocks) {
            *bits = half(block);
        }
    }
    isa.widen_f16(bits)
}

/// The half at byte `at` of a block, in every lane.
#[inline(always)]
pub(crate) fn half<I: Isa>(isa: I, block: &[u8], at: usize) -> I::F32x8 {
    isa.splat_f16(u16::from_le_bytes(*part(block, at)))
}

/// The `N` bytes from `at` on.
#[inline(always)]
pub(crate) fn part<T, const N: usize>(bytes: &[T], at: usize) -> &[T; N] {
    bytes[at..].first_chunk().expect("the part lies in the block")
}

#[inline(always)]
fn dot<I: Isa>(isa: I, sign: Sign, w: I::I8x32, x: I::I8x32) -> I::I32x8 {
    match sign {
        Sign::Unsigned => isa.dot_u7(w, x),
        Sign::Signed => isa.dot_i8(w, x),
    }
}

/// Multiplies rows with one token or several, whichever there are.
#[inline(always)]
pub(crate) fn run<F: Lanes, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    if rows.x.tokens() == 1 { isa.one_token::<F>(rows) } else { isa.tokens::<F>(rows) }
}

#[inline(always)]
pub(crate) fn one_token<F: Lanes, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    let steps = rows.x.steps;
    for (r, out) in rows.out.row(0).iter_mut().enumerate() {
        *out = dot_row::<F, I>(isa, F::blocks(rows.w.bytes(rows.first + r)), steps);
    }
}

/// How far ahead of the block at work memory is asked for. Blocks straddle cache lines, which starves the processor's
/// own prefetcher.
const AHEAD: usize = 4096;

#[inline(always)]
fn dot_row<F: Lanes, I: Isa>(isa: I, row: &[F::Block], steps: &[Step]) -> f32 {
    let mut sums = Sums { products: [isa.zero(); 2], mins: isa.zero() };
    let whole = row.chunks_exact(STEP / F::BLOCK);
    let rest = whole.remainder();
    for (blocks, x) in whole.zip(steps) {
        let start = blocks.as_ptr().cast::<u8>();
        for line in (0..size_of_val(blocks)).step_by(64) {
            isa.prefetch(start.wrapping_add(AHEAD + line));
        }
        dot_step::<F, I>(isa, blocks, STEP / 32, x, &mut sums);
    }
    if !rest.is_empty() {
        dot_step::<F, I>(isa, rest, rest.len() * F::BLOCK / 32, &steps[steps.len() - 1], &mut sums);
    }
    isa.sum(isa.add(isa.add(sums.products[0], sums.products[1]), sums.mins))
}

/// A row's sums so far.
struct Sums<I: Isa> {
    products: [I::F32x8; 2],
    mins: I::F32x8,
}

/// `n` vectors of 32 weights.
#[inline(always)]
fn dot_step<F: Lanes, I: Isa>(isa: I, blocks: &[F::Block], n: usize, x: &Step, sums: &mut Sums<I>) {
    if F::GROUP >= 32 {
        let (scale, min) = F::factors(isa, blocks, 0);
        let scale = isa.to_array(isa.mul(scale, isa.load(&x.scale)));
        sums.mins = isa.neg_mul_add(min, isa.load(&x.sum), sums.mins);
        for (i, scale) in scale.into_iter().enumerate().take(n) {
            let products = dot(isa, F::SIGN, F::quants(isa, blocks, i), isa.load_bytes(&x.q[i]));
            let products = isa.float_i32(products);
            sums.products[i % 2] = isa.mul_add(products, isa.splat(scale), sums.products[i % 2]);
        }
        return;
    }
    for part in 0..n.div_ceil(4) {
        let (scale, min) = F::factors(isa, blocks, part);
        let scale = isa.to_array(isa.mul(scale, isa.double(x.half_scales(part))));
        sums.mins = isa.neg_mul_add(min, isa.load(&x.half_sum[part]), sums.mins);
        for i in 0..4 {
            let quants = F::quants(isa, blocks, 4 * part + i);
            let products = dot(isa, F::SIGN, quants, isa.load_bytes(&x.q[4 * part + i]));
            let products = isa.float_i32(products);
            let scale = isa.splat2(scale[2 * i], scale[2 * i + 1]);
            sums.products[i % 2] = isa.mul_add(products, scale, sums.products[i % 2]);
        }
    }
}

/// 256 weights of one row in no format any more: what a tile takes in one step.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Unpacked {
    pub q: [[u8; 32]; 8],
    pub scale: [[f32; 8]; 2],
    pub min: [[f32; 8]; 2],
}

impl Unpacked {
    pub const ZERO: Self = Self { q: [[0; 32]; 8], scale: [[0.0; 8]; 2], min: [[0.0; 8]; 2] };
}

/// Rows unpacked together: each activation that is loaded meets this many weights.
const ROWS: usize = 4;
/// Tokens multiplied together: each weight that is loaded meets this many activations.
const TOKENS: usize = 2;
/// Steps of a row unpacked at once: 4 rows times 8 steps are 12 KB, which leaves room in the first cache.
const PIECE: usize = 8;

#[inline(always)]
pub(crate) fn tokens<F: Lanes, I: Isa>(isa: I, rows: Rows<'_, '_>) {
    let Rows { w, x, first, out } = rows;
    let n_steps = w.cols().div_ceil(STEP);
    let mut piece = [[Unpacked::ZERO; PIECE]; ROWS];
    for r in (0..out.width()).step_by(ROWS) {
        let n_rows = ROWS.min(out.width() - r);
        for start in (0..n_steps).step_by(PIECE) {
            let len = PIECE.min(n_steps - start);
            for (i, piece) in piece[..n_rows].iter_mut().enumerate() {
                unpack::<F, I>(isa, F::blocks(w.bytes(first + r + i)), start, &mut piece[..len]);
            }
            for t in (0..x.tokens()).step_by(TOKENS) {
                // A last token alone is multiplied twice rather than needing a tile of its own.
                let pair = [t, (t + 1).min(x.tokens() - 1)];
                let steps = pair.map(|t| &x.steps[t * n_steps + start..][..len]);
                let weights = [&piece[0][..len], &piece[1][..len], &piece[2][..len], &piece[3][..len]];
                let sums = match (F::SIGN, F::GROUP.min(32)) {
                    (Sign::Unsigned, 32) => isa.enter(Tile::<true, 32> { weights, steps }),
                    (Sign::Signed, 32) => isa.enter(Tile::<false, 32> { weights, steps }),
                    (Sign::Unsigned, _) => isa.enter(Tile::<true, 16> { weights, steps }),
                    (Sign::Signed, _) => isa.enter(Tile::<false, 16> { weights, steps }),
                };
                for (i, t) in pair.into_iter().enumerate() {
                    for (out, sums) in out.row(t)[r..r + n_rows].iter_mut().zip(sums) {
                        // The first piece sets, the others add.
                        *out = if start == 0 { sums[i] } else { *out + sums[i] };
                    }
                    if pair[1] == t {
                        break;
                    }
                }
            }
        }
    }
}

/// Unpacks steps `start..` of a row; what is past the row's end has scale 0.
#[inline(always)]
pub(crate) fn unpack<F: Lanes, I: Isa>(isa: I, row: &[F::Block], start: usize, piece: &mut [Unpacked]) {
    let per_step = STEP / F::BLOCK;
    for (blocks, to) in row[start * per_step..].chunks(per_step).zip(piece) {
        let n = blocks.len() * F::BLOCK / 32;
        for part in 0..32 / F::GROUP.min(32) {
            let (scale, min) = F::factors(isa, blocks, part);
            isa.store(scale, &mut to.scale[part]);
            isa.store(min, &mut to.min[part]);
        }
        for i in 0..n {
            isa.store_bytes(F::quants(isa, blocks, i), &mut to.q[i]);
        }
        // Scales that are not there are 0, and so are the activations: whatever bytes remain here count for nothing.
    }
}

/// Products of [`ROWS`] rows with [`TOKENS`] tokens, which share every load.
struct Tile<'a, const UNSIGNED: bool, const GROUP: usize> {
    weights: [&'a [Unpacked]; ROWS],
    steps: [&'a [Step]; TOKENS],
}

impl<const UNSIGNED: bool, const GROUP: usize> Kernel for Tile<'_, UNSIGNED, GROUP> {
    type Output = [[f32; TOKENS]; ROWS];

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let sign = if UNSIGNED { Sign::Unsigned } else { Sign::Signed };
        let mut sums = [[isa.zero(); TOKENS]; ROWS];
        for s in 0..self.steps[0].len() {
            let w: [&Unpacked; ROWS] =
                [&self.weights[0][s], &self.weights[1][s], &self.weights[2][s], &self.weights[3][s]];
            let x: [&Step; TOKENS] = [&self.steps[0][s], &self.steps[1][s]];
            // Scale times scale, for every group of every pair, before the integers need the registers.
            let mut scale = [[[[0.0; 8]; 2]; TOKENS]; ROWS];
            for r in 0..ROWS {
                for t in 0..TOKENS {
                    for part in 0..32 / GROUP {
                        let (s, sum) = if GROUP == 32 {
                            (isa.load(&x[t].scale), isa.load(&x[t].sum))
                        } else {
                            (isa.double(x[t].half_scales(part)), isa.load(&x[t].half_sum[part]))
                        };
                        isa.store(isa.mul(isa.load(&w[r].scale[part]), s), &mut scale[r][t][part]);
                        sums[r][t] = isa.neg_mul_add(isa.load(&w[r].min[part]), sum, sums[r][t]);
                    }
                }
            }
            for i in 0..STEP / 32 {
                let xs: [I::I8x32; TOKENS] = [isa.load_bytes(&x[0].q[i]), isa.load_bytes(&x[1].q[i])];
                for r in 0..ROWS {
                    let q = isa.load_bytes(&w[r].q[i]);
                    for t in 0..TOKENS {
                        let products = isa.float_i32(dot(isa, sign, q, xs[t]));
                        let scale = &scale[r][t];
                        let scale = if GROUP == 32 {
                            isa.splat(scale[0][i])
                        } else {
                            isa.splat2(scale[i / 4][i % 4 * 2], scale[i / 4][i % 4 * 2 + 1])
                        };
                        sums[r][t] = isa.mul_add(products, scale, sums[r][t]);
                    }
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
}
