//! What a layer's matrices multiply: the tokens' values, and the same rounded to bytes when that is of use.
//!
//! Integer weights meet integer activations: some values share the scale `max |x| / 127` and become signed bytes. Weights
//! in blocks of 32 ask for a scale for every 32 values, those in blocks of 256 for one for every 256, and ternary weights
//! for one for all of a token ([`Rounding`]). The rounding is done once for all matrices that read the same values (query,
//! key and value; gate and up); where they ask for different ones, 256 values share a scale, which suits all kernels.
//!
//! Formats whose weights have a minimum need the sum of the activations of its group too, so that is kept beside them.

use alloc::vec::Vec;
use core::mem::offset_of;

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

/// Tokens that are multiplied at once where eight rows are lanes.
pub(crate) const TOGETHER: usize = 4;

/// 32 integers of `TOGETHER` tokens for `simd::WideDots`. All that one group of weights meets lies together, in the order
/// in which it is read: one address does for all, and the processor follows.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Wide32 {
    /// Of all, and of each half.
    heads: [Head; Self::HEADS],
    /// Of each quad that of every token in 16 bits.
    quads: [[u8; 8 * TOGETHER]; 8],
    /// The sums of all, and of each half, times their scale.
    sums: [[f32; TOGETHER]; Self::HEADS],
}

/// Of a group of integers,
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Head {
    /// the first of every quad times the third, and the second times the fourth,
    pub(crate) products: [i32; TOGETHER],
    /// and their scale.
    pub(crate) scale: [f32; TOGETHER],
}

impl Wide32 {
    /// How many heads there are before the quads, each as long as one.
    pub(crate) const HEADS: usize = 3;

    const ZERO: Self = {
        assert!(offset_of!(Self, heads) == 0 && offset_of!(Self, quads) == Self::HEADS * 8 * TOGETHER);
        let head = Head { products: [0; TOGETHER], scale: [0.0; TOGETHER] };
        let sums = [[0.0; TOGETHER]; Self::HEADS];
        Self { heads: [head; Self::HEADS], quads: [[0; 8 * TOGETHER]; 8], sums }
    };

    /// What is known of all 8 quads, or of those of `half`: also their sum, times their scale.
    #[allow(dead_code, reason = "read where numbers are wide")]
    #[inline(always)]
    pub(crate) fn known<const QUADS: usize>(&self, half: usize) -> (&Head, &[f32; TOGETHER]) {
        let i = if QUADS == 8 { 0 } else { 1 + half };
        (&self.heads[i], &self.sums[i])
    }

    /// Sets what is of token `t`, the integers `i` of its step.
    #[inline(always)]
    fn set<I: Isa>(&mut self, isa: I, t: usize, step: &Step, i: usize) {
        let (quads, products) = isa.widen(&step.q[i]);
        for (to, quad) in self.quads.iter_mut().zip(quads.as_flattened()) {
            to[8 * t..][..8].copy_from_slice(quad);
        }
        let ([a, b], [sum_a, sum_b]) = (products, step.half_sum.as_flattened().as_chunks().0[i]);
        for (head, products) in self.heads.iter_mut().zip([a + b, a, b]) {
            (head.products[t], head.scale[t]) = (products, step.scale[i]);
        }
        for (to, sum) in self.sums.iter_mut().zip([step.sum[i], sum_a, sum_b]) {
            to[t] = sum;
        }
    }
}

/// 32 integers of a single token in two parts, as some products of rows by fours want them (`simd::Products`): what they
/// are is the instructions' affair.
#[derive(Clone, Copy)]
pub struct Split {
    #[allow(dead_code, reason = "read where four lanes are four rows")]
    pub(crate) parts: [[u8; 32]; 2],
    /// The sum of the integers below 0, where their signs are apart.
    #[allow(dead_code, reason = "read where weights take signs")]
    pub(crate) negative: i32,
}

/// Those of a step.
type SplitStep = [Split; STEP / 32];

/// Whether instructions may ask for [`Wide32`] and [`Split`].
pub(super) const MAY_BE_WIDE: bool = cfg!(target_feature = "simd128");

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
    /// The same in 16 bits: room for all of them, untouched where they are of no use.
    wide: Vec<Wide32>,
    /// Likewise, of one token.
    split: Vec<SplitStep>,
    tokens: Vec<Token>,
}

/// The values that [`super::matmul::matmul`] multiplies with: `tokens x cols`.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) cols: usize,
    /// The rounded values, `cols / 256` steps (rounded up) for each token; none when no matrix wanted them.
    pub(crate) steps: &'a [Step],
    /// The same in 16 bits; none when no matrix wants that, or there is one token.
    #[allow(dead_code, reason = "read where eight rows are lanes")]
    pub(crate) wide: &'a [Wide32],
    /// The same in parts; none when no matrix wants that, or there are several tokens.
    #[allow(dead_code, reason = "read where four lanes are four rows")]
    pub(crate) split: &'a [SplitStep],
    /// What the values of each token share; none when they were rounded by smaller groups.
    pub(crate) per_token: &'a [Token],
    /// Whether weights that are coarse floats may round the values likewise.
    pub(crate) may_round: bool,
}

impl<'a> Input<'a> {
    /// Values as they are, `tokens x cols`, and no rounding: integer weights will be decoded to meet them.
    ///
    /// # Panics
    /// When `x` is not whole rows of `cols`.
    pub fn new(x: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} values in rows of {cols}", x.len());
        Self { x, cols, steps: &[], wide: &[], split: &[], per_token: &[], may_round: false }
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
        let n_steps = max_cols.div_ceil(STEP);
        let mut steps = Vec::new();
        steps.resize(max_tokens * n_steps, Step::ZERO);
        let wide = Vec::with_capacity(wide_tokens(max_tokens) * n_steps * (STEP / 32));
        let split = Vec::with_capacity(wide_tokens(1) * n_steps);
        Self { steps, wide, split, tokens: alloc::vec![Token::default(); max_tokens] }
    }

    /// What [`Self::new`] will allocate, in bytes; `None` beyond a `usize`.
    pub fn bytes(max_tokens: usize, max_cols: usize) -> Option<usize> {
        let each = max_tokens.checked_mul(size_of::<Step>())?;
        let each =
            each.checked_add(wide_tokens(max_tokens).checked_mul((STEP / 32) * size_of::<Wide32>())?)?;
        let each = each.checked_add(wide_tokens(1) * size_of::<SplitStep>())?;
        let steps = each.checked_mul(max_cols.div_ceil(STEP))?;
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
        let input = Input { may_round: cx.precision == Precision::Fast, ..Input::new(x, cols) };
        let mut widens = false;
        let integers = weights.into_iter().filter(|dtype| dtype.meets() == Meets::Integers);
        let integers = integers.inspect(|dtype| widens |= cx.level.run(Widens { signed: dtype.signed() }));
        let rounding = integers.map(Dtype::rounding).reduce(|a, b| if a == b { a } else { Rounding::Steps });
        match rounding {
            Some(rounding) if input.may_round => self.round(cx, input, rounding, widens),
            _ => input,
        }
    }

    /// [`Self::prepare`] where matrices want rounded values, and maybe in 16 bits.
    fn round<'a>(&'a mut self, cx: &Cx<'_>, input: Input<'a>, rounding: Rounding, widens: bool) -> Input<'a> {
        let Input { x, cols, .. } = input;
        let n_steps = cols.div_ceil(STEP);
        let steps = &mut self.steps[..input.tokens() * n_steps];
        exec::for_chunks(cx.exec, steps, n_steps, |token, steps| {
            cx.level.run(Round { x: &x[token * cols..][..cols], steps, rounding });
        });
        if rounding == Rounding::Tokens {
            let tokens = &mut self.tokens[..input.tokens()];
            for (token, steps) in tokens.iter_mut().zip(steps.chunks_exact(n_steps)) {
                let sums = steps.iter().flat_map(|step| step.q_sum.as_flattened());
                *token = Token { scale: steps[0].scale[0], total: sums.sum() };
            }
            return Input { steps, per_token: tokens, ..input };
        }
        if !widens {
            return Input { steps, ..input };
        }
        if input.tokens() == 1 {
            let zero = [Split { parts: [[0; 32]; 2], negative: 0 }; STEP / 32];
            let split = sized(&mut self.split, n_steps, zero);
            cx.level.run(SplitAll { steps, to: split });
            return Input { steps, split, ..input };
        }
        let len = wide_tokens(input.tokens()) * (STEP / 32);
        let wide = sized(&mut self.wide, n_steps * len, Wide32::ZERO);
        exec::for_chunks(cx.exec, wide, len, |step, to| cx.level.run(Widen { step, n_steps, steps, to }));
        Input { steps, wide, ..input }
    }
}

/// The first `n`, which are there from the first time on.
fn sized<T: Clone>(all: &mut Vec<T>, n: usize, zero: T) -> &mut [T] {
    if all.len() < n {
        all.resize(n, zero);
    }
    &mut all[..n]
}

/// Asks [`Isa::widens`].
struct Widens {
    signed: bool,
}

impl Kernel for Widens {
    type Output = bool;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> bool {
        isa.widens(self.signed)
    }
}

/// Asks [`Isa::split`].
struct SplitAll<'a> {
    steps: &'a [Step],
    to: &'a mut [SplitStep],
}

impl Kernel for SplitAll<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let groups = self.steps.iter().flat_map(|step| &step.q);
        for (to, q) in self.to.as_flattened_mut().iter_mut().zip(groups) {
            *to = isa.split(q);
        }
    }
}

/// Widens one step of all tokens, whose `steps` lie token by token: group by group those of [`TOGETHER`] tokens side by
/// side. The last stands in for those that are missing.
struct Widen<'a> {
    step: usize,
    n_steps: usize,
    steps: &'a [Step],
    to: &'a mut [Wide32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { step, n_steps, steps, to } = self;
        let (n, last) = (to.len() / (STEP / 32), steps.len() / n_steps - 1);
        for i in 0..n {
            for t in 0..TOGETHER {
                let step = &steps[(i * TOGETHER + t).min(last) * n_steps + step];
                for (g, to) in to.iter_mut().skip(i).step_by(n).enumerate() {
                    to.set(isa, t, step, g);
                }
            }
        }
    }
}

/// How many times [`TOGETHER`] tokens there may be in 16 bits.
fn wide_tokens(tokens: usize) -> usize {
    if MAY_BE_WIDE { tokens.div_ceil(TOGETHER) } else { 0 }
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
        let of_token = match self.rounding {
            Rounding::Tokens => Some(greatest_of_all(isa, self.x)),
            Rounding::Groups | Rounding::Steps => None,
        };
        for (x, step) in self.x.chunks(STEP).zip(self.steps) {
            let shared = match self.rounding {
                Rounding::Steps => Some(greatest_of_all(isa, x)),
                Rounding::Groups | Rounding::Tokens => of_token,
            };
            match x.first_chunk() {
                Some(x) => round_step(isa, x, shared, step),
                None => {
                    let mut last = [0.0; STEP];
                    last[..x.len()].copy_from_slice(x);
                    round_step(isa, &last, shared, step);
                }
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
    let max = isa.to_array(isa.max_abs(max, isa.load(&last)));
    // Lane by lane in integers: NaN and infinity reach the scale, and through it every output.
    f32::from_bits(max.into_iter().fold(0, |max, x| x.to_bits().max(max)))
}

/// Rounds the values of a step, each 32 by their greatest magnitude, or all by one that they share with others.
#[inline(always)]
fn round_step<I: Isa>(isa: I, x: &[f32; STEP], shared: Option<f32>, step: &mut Step) {
    let groups = x.as_chunks::<8>().0.as_chunks::<4>().0;
    // A lane is a group. NaN and infinity reach the scale, and through it every output.
    let max = match shared {
        Some(max) => isa.splat(max),
        None => greatest_of_groups(isa, groups),
    };
    let scale = isa.div(max, isa.splat(127.0));
    isa.store(scale, &mut step.scale);
    // The smallest subnormals have no finite inverse; they round to zero.
    let inverse = isa.zero_below(isa.div(isa.splat(1.0), scale), scale, f32::MIN_POSITIVE);
    let inverse = isa.to_array(inverse);
    let mut sums = [isa.zero(); 8];
    for group in 0..8 {
        let (x, inverse) = (&groups[group], isa.splat(inverse[group]));
        let mut scaled = [inverse; 4];
        for i in 0..4 {
            scaled[i] = isa.mul(isa.load(&x[i]), inverse);
        }
        let q = isa.round(scaled);
        isa.store_bytes(q, &mut step.q[group]);
        sums[group] = isa.float_i32(isa.dot_u7(isa.splat_bytes(1), q));
    }
    // Four sums are of each half.
    let columns = isa.transpose(sums);
    let mut halves = [isa.zero(); 2];
    for (half, sum) in halves.iter_mut().enumerate() {
        let four = &columns[4 * half..][..4];
        *sum = isa.add(isa.add(four[0], four[1]), isa.add(four[2], four[3]));
        for (to, sum) in step.q_sum[half].iter_mut().zip(isa.to_array(*sum)) {
            *to = sum as i32;
        }
        for (group, sum) in isa.to_array(isa.mul(scale, *sum)).into_iter().enumerate() {
            step.half_sum[group / 4][group % 4 * 2 + half] = sum;
        }
    }
    isa.store(isa.mul(scale, isa.add(halves[0], halves[1])), &mut step.sum);
}

/// The greatest magnitude in each group of 32, a lane for each.
#[inline(always)]
fn greatest_of_groups<I: Isa>(isa: I, groups: &[[[f32; 8]; 4]]) -> I::F32x8 {
    let mut greatest = [isa.zero(); 8];
    for (greatest, x) in greatest.iter_mut().zip(groups) {
        let low = isa.max_abs(isa.load(&x[0]), isa.load(&x[1]));
        *greatest = isa.max_abs(low, isa.max_abs(isa.load(&x[2]), isa.load(&x[3])));
    }
    let columns = isa.transpose(greatest);
    let mut max = columns[0];
    for column in &columns[1..] {
        max = isa.max_abs(max, *column);
    }
    max
}
