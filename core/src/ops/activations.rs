//! What a layer's matrices multiply: the tokens' values, and the same rounded to bytes when that is of use.
//!
//! Integer weights meet integer activations: every 32 values share the scale `max |x| / 127` and become signed bytes.
//! Ternary weights alone meet activations of which all of a token share it.
//! The rounding is done once for all matrices that read the same values (query, key and value; gate and up). Formats
//! whose weights have a minimum need the sum of the activations of its group too, so that is kept beside them.

use alloc::vec::Vec;

use super::matmul::{Cx, Precision};
use crate::exec;
use crate::quant::{Dtype, Meets, Rounding};
use crate::simd::{Isa, Kernel};

/// Values in a [`Step`].
pub(crate) const STEP: usize = 256;

/// 256 neighbouring values of one token, rounded: what a kernel takes in one step. The last step of a token is filled
/// up with zeros.
#[derive(Clone)]
#[repr(C, align(32))]
pub(crate) struct Step {
    /// The integers, -127 to 127, as their bits.
    pub q: [[u8; 32]; 8],
    /// The scale of each 32.
    pub scale: [f32; 8],
    /// Scale times sum of the integers of each 32.
    pub sum: [f32; 8],
    /// The same for each 16.
    pub half_sum: [[f32; 8]; 2],
    /// The sums of the integers of each 32's first half, and of each second half.
    pub q_sum: [[i32; 8]; 2],
}

impl Step {
    const ZERO: Self =
        Self { q: [[0; 32]; 8], scale: [0.0; 8], sum: [0.0; 8], half_sum: [[0.0; 8]; 2], q_sum: [[0; 8]; 2] };

    /// The scales of 16 groups of 16, or rather of the 4 groups of 32 in which those of half `part` lie.
    #[inline(always)]
    pub fn half_scales(&self, part: usize) -> &[f32; 4] {
        &self.scale.as_chunks().0[part]
    }
}

/// What the values of a token share that are rounded together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Token {
    pub scale: f32,
    /// The sum of the integers.
    pub total: i32,
}

/// Buffers for rounded activations, allocated once.
pub struct Activations {
    steps: Vec<Step>,
    tokens: Vec<Token>,
}

/// The values that [`super::matmul::matmul`] multiplies with: `tokens x cols`.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// The rounded values, `cols / 256` steps (rounded up) for each token; none when no matrix wanted them.
    pub(crate) steps: &'a [Step],
    /// What the values of each token share; none when they were rounded by groups.
    pub(crate) per_token: &'a [Token],
}

impl<'a> Input<'a> {
    /// Values as they are, `tokens x cols`; integer weights will be decoded to meet them.
    ///
    /// # Panics
    /// When `x` is not whole rows of `cols`.
    pub fn new(x: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} values in rows of {cols}", x.len());
        Self { x, cols, steps: &[], per_token: &[] }
    }

    /// How many tokens these are.
    pub fn tokens(&self) -> usize {
        self.x.len() / self.cols
    }

    /// One token's values.
    #[inline(always)]
    pub(crate) fn token(&self, token: usize) -> &'a [f32] {
        &self.x[token * self.cols..][..self.cols]
    }

    /// Values per token.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

impl Activations {
    /// Buffers for up to `max_tokens` tokens at once of up to `max_cols` values each.
    pub fn new(max_tokens: usize, max_cols: usize) -> Self {
        let mut steps = Vec::new();
        steps.resize(max_tokens * max_cols.div_ceil(STEP), Step::ZERO);
        Self { steps, tokens: alloc::vec![Token::default(); max_tokens] }
    }

    /// What [`Self::new`] will allocate, in bytes; `None` beyond a `usize`.
    pub fn bytes(max_tokens: usize, max_cols: usize) -> Option<usize> {
        let steps = max_tokens.checked_mul(max_cols.div_ceil(STEP))?.checked_mul(size_of::<Step>())?;
        steps.checked_add(max_tokens.checked_mul(size_of::<Token>())?)
    }

    /// Makes `x`, `tokens x cols`, ready for matrices of the types `weights`; rounds only if one of them wants that.
    ///
    /// # Panics
    /// When `x` is not whole rows of `cols`, or more than the buffers were made for.
    pub fn prepare<'a>(
        &'a mut self,
        cx: &Cx<'_>,
        x: &'a [f32],
        cols: usize,
        weights: impl IntoIterator<Item = Dtype>,
    ) -> Input<'a> {
        let input = Input::new(x, cols);
        let integers = weights.into_iter().filter(|dtype| dtype.meets() == Meets::Integers);
        let rounding = integers.map(Dtype::rounding).reduce(|a, b| if a == b { a } else { Rounding::Groups });
        let Some(rounding) = rounding.filter(|_| cx.precision == Precision::Fast) else {
            return input;
        };
        let n_steps = cols.div_ceil(STEP);
        let steps = &mut self.steps[..input.tokens() * n_steps];
        exec::for_chunks(cx.exec, steps, n_steps, |token, steps| {
            cx.level.run(Round { x: &x[token * cols..][..cols], steps, rounding });
        });
        if rounding == Rounding::Groups {
            return Input { steps, ..input };
        }
        let tokens = &mut self.tokens[..input.tokens()];
        for (token, steps) in tokens.iter_mut().zip(steps.chunks_exact(n_steps)) {
            let sums = steps.iter().flat_map(|step| step.q_sum.as_flattened());
            *token = Token { scale: steps[0].scale[0], total: sums.sum() };
        }
        Input { steps, per_token: tokens, ..input }
    }
}

/// Rounds one token's values.
struct Round<'a> {
    x: &'a [f32],
    steps: &'a mut [Step],
    rounding: Rounding,
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let shared = match self.rounding {
            Rounding::Groups => None,
            Rounding::Tokens => Some(greatest_of_all(isa, self.x)),
        };
        for (x, step) in self.x.chunks(STEP).zip(self.steps) {
            let (whole, rest) = x.as_chunks::<32>();
            for (group, x) in whole.iter().enumerate() {
                round_group(isa, x, shared, step, group);
            }
            if rest.is_empty() && whole.len() == STEP / 32 {
                continue;
            }
            let mut last = [0.0; 32];
            last[..rest.len()].copy_from_slice(rest);
            round_group(isa, &last, shared, step, whole.len());
            for group in whole.len() + 1..STEP / 32 {
                round_group(isa, &[0.0; 32], shared, step, group);
            }
        }
    }
}

/// The greatest magnitude.
#[inline(always)]
fn greatest_of_all<I: Isa>(isa: I, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<8>();
    let mut max = isa.zero();
    for x in whole {
        max = isa.max_abs(max, isa.load(x));
    }
    let mut last = [0.0; 8];
    last[..rest.len()].copy_from_slice(rest);
    greatest(isa, isa.max_abs(max, isa.load(&last)))
}

/// The greatest lane, none of which has a sign.
#[inline(always)]
fn greatest<I: Isa>(isa: I, max: I::F32x8) -> f32 {
    // Lane by lane in integers: NaN and infinity reach the scale, and through it every output.
    f32::from_bits(isa.to_array(max).into_iter().fold(0, |max, x| x.to_bits().max(max)))
}

/// Rounds 32 values by their greatest magnitude, or by one that they share with others.
#[inline(always)]
fn round_group<I: Isa>(isa: I, x: &[f32; 32], shared: Option<f32>, step: &mut Step, group: usize) {
    let x = x.as_chunks::<8>().0;
    let v = [isa.load(&x[0]), isa.load(&x[1]), isa.load(&x[2]), isa.load(&x[3])];
    let max = match shared {
        Some(max) => max,
        None => greatest(isa, isa.max_abs(isa.max_abs(v[0], v[1]), isa.max_abs(v[2], v[3]))),
    };
    let scale = max / 127.0;
    // The smallest subnormals have no finite inverse; they round to zero.
    let inverse = if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    let inverse = isa.splat(inverse);
    let q = isa.round([
        isa.mul(v[0], inverse),
        isa.mul(v[1], inverse),
        isa.mul(v[2], inverse),
        isa.mul(v[3], inverse),
    ]);
    isa.store_bytes(q, &mut step.q[group]);
    step.scale[group] = scale;
    let sums = isa.to_array(isa.float_i32(isa.dot_u7(isa.splat_bytes(1), q)));
    let low = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    let high = (sums[4] + sums[5]) + (sums[6] + sums[7]);
    (step.q_sum[0][group], step.q_sum[1][group]) = (low as i32, high as i32);
    step.half_sum[group / 4][group % 4 * 2] = scale * low;
    step.half_sum[group / 4][group % 4 * 2 + 1] = scale * high;
    step.sum[group] = scale * (low + high);
}
