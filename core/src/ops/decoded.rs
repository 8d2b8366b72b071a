//! Weights of any format, decoded to f32 block by block: slow, and as exact as f32 is.

use super::matmul::Rows;
use crate::quant::MAX_BLOCK;
use crate::simd::{Isa, Kernel};

/// Tokens that share a decoded piece of a row.
const TOKENS: usize = 16;

/// Multiplies rows by way of [`Matrix::decode`](super::matmul::Matrix::decode).
pub(crate) struct Decoded<'a, 'b>(pub Rows<'a, 'b>);

impl Kernel for Decoded<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Rows { w, x, first, out } = self.0;
        let mut piece = [0.0; MAX_BLOCK];
        for r in 0..out.width() {
            for tokens in (0..x.tokens()).step_by(TOKENS) {
                let n = TOKENS.min(x.tokens() - tokens);
                let mut sums = [0.0; TOKENS];
                for at in (0..w.cols()).step_by(MAX_BLOCK) {
                    let piece = &mut piece[..MAX_BLOCK.min(w.cols() - at)];
                    w.decode(first + r, at, piece);
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
