//! Normalisations over the rows of a buffer.

use super::matmul::Cx;
use crate::exec::for_chunks;
use crate::model::plan::NormKind;
use crate::simd::{Isa, Kernel};

/// A normalisation with its weights at hand. They cover one group, or a whole row of several groups (heads).
#[derive(Clone, Copy)]
pub struct NormWeights<'a> {
    /// Which mean is taken out.
    pub kind: NormKind,
    /// Multiplies the result.
    pub weight: &'a [f32],
    /// Added to the result.
    pub bias: Option<&'a [f32]>,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
}

/// Normalises every `width` elements of `x`, rows of `row` elements, in place.
pub fn normalize(cx: &Cx<'_>, norm: NormWeights<'_>, row: usize, width: usize, x: &mut [f32]) {
    for_chunks(cx.exec_for(x.len()), x, row, |_, x| cx.level.run(Normalize { norm, width, x }));
}

/// Normalises rows of `row` elements of `x` into `out`.
pub(crate) fn normalize_into(cx: &Cx<'_>, norm: NormWeights<'_>, row: usize, x: &[f32], out: &mut [f32]) {
    for_chunks(cx.exec_for(x.len()), out, row, |i, out| {
        // What was just copied is at hand for the rest.
        out.copy_from_slice(&x[i * row..][..row]);
        cx.level.run(Normalize { norm, width: row, x: out });
    });
}

struct Normalize<'a> {
    norm: NormWeights<'a>,
    width: usize,
    x: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { norm, width, x } = self;
        for (group, x) in x.chunks_exact_mut(width).enumerate() {
            if norm.kind == NormKind::Layer {
                let mean = sum(isa, x) / width as f32;
                x.iter_mut().for_each(|x| *x -= mean);
            }
            let mean_square = isa.dot_f32(x, x) / width as f32;
            let scale = 1.0 / libm::sqrtf(mean_square + norm.eps);
            let at = group * width % norm.weight.len();
            for (x, weight) in x.iter_mut().zip(&norm.weight[at..at + width]) {
                *x *= scale * weight;
            }
            if let Some(bias) = norm.bias {
                x.iter_mut().zip(&bias[at..at + width]).for_each(|(x, bias)| *x += bias);
            }
        }
    }
}

#[inline(always)]
fn sum<I: Isa>(isa: I, x: &[f32]) -> f32 {
    let (eights, rest) = x.as_chunks::<8>();
    let mut sums = isa.zero();
    for x in eights {
        sums = isa.add(sums, isa.load(x));
    }
    isa.sum(sums) + rest.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Inline;
    use crate::ops::matmul::Precision;
    use crate::simd::Level;

    fn run(kind: NormKind, weight: &[f32], bias: Option<&[f32]>, width: usize, x: &mut [f32]) {
        let cx = Cx { level: Level::baseline(), exec: &Inline, precision: Precision::Fast };
        normalize(&cx, NormWeights { kind, weight, bias, eps: 0.0 }, x.len(), width, x);
    }

    #[test]
    fn root_mean_square_becomes_one() {
        let mut x = [3.0, 4.0, 0.0, 5.0];
        run(NormKind::Rms, &[1.0, 2.0], None, 2, &mut x);
        let half = libm::sqrtf(12.5);
        let expected = [3.0 / half, 8.0 / half, 0.0, 2.0 * libm::sqrtf(2.0)];
        x.iter().zip(expected).for_each(|(x, e)| assert!((x - e).abs() < 1e-6, "{x} {e}"));
    }

    #[test]
    fn mean_becomes_the_bias() {
        let mut x = [1.0, 3.0];
        run(NormKind::Layer, &[1.0, 1.0], Some(&[10.0, 20.0]), 2, &mut x);
        assert_eq!(x, [9.0, 21.0]);
    }
}
