//! Weights of any format, decoded to f32 block by block: slow, and as exact as f32 is.

use super::matmul::Rows;
use crate::quant::{MAX_BLOCK, dequantize};
use crate::simd::{Isa, Kernel};

/// Tokens that share a decoded piece of a row.
const TOKENS: usize = 16;

/// Multiplies rows by way of [`dequantize`].
pub(crate) struct Decoded<'a, 'b>(pub Rows<'a, 'b>);

impl Kernel for Decoded<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Rows { w, x, first, out } = self.0;
        // Whole blocks, `MAX_BLOCK` values: every format's block divides that.
        let piece_bytes = MAX_BLOCK / w.dtype().block_len() * w.dtype().block_bytes();
        let mut piece = [0.0; MAX_BLOCK];
        for r in 0..out.width() {
            for tokens in (0..x.tokens()).step_by(TOKENS) {
                let n = TOKENS.min(x.tokens() - tokens);
                let mut sums = [0.0; TOKENS];
                for (i, bytes) in w.bytes(first + r).chunks(piece_bytes).enumerate() {
                    let at = i * MAX_BLOCK;
                    let piece = &mut piece[..MAX_BLOCK.min(w.cols() - at)];
                    dequantize(w.dtype(), bytes, piece).expect("rows are whole blocks");
                    for (t, sum) in sums[..n].iter_mut().enumerate() {
                        *sum += isa.dot_f32(piece, &x.token(tokens + t)[at..][..piece.len()]);
                    }
                }
                for (t, sum) in sums[..n].iter().enumerate() {
                    out.row(tokens + t)[r] = *sum;
                }
            }
        }
    }
}
