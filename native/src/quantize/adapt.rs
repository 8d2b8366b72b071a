//! Types chosen by what they cost.
//!
//! Each candidate type is tried on some rows of each tensor, and what it loses is measured: the squared error as a part
//! of the squares, each column weighted by its importance where that is known. That part is the noise which the rounding
//! adds to what the matrix computes, relative to it. Noise of all matrices adds up on the way through the model, so the
//! sum over all tensors is what a budget of bytes should make small.
//!
//! Every tensor begins with its smallest type. Then bytes are spent step by step, always on the step that takes away
//! the most noise per byte; steps that are not worth their bytes beside a larger one are left out (the lower convex hull
//! of bytes and noise). That is what the method of Lagrange multipliers comes to, and optimal but for the last step.

use motelm_core::gguf::{File, TensorInfo};
use motelm_core::quant::Dtype;
use motelm_core::{Error, ErrorKind};

use super::mix::Tensor;
use super::{Loss, Options, encode, holds_weights, is_rounded, tensor_bytes};

/// Types that a tensor may get. Where rows are too short for blocks of 256, their blocks of 32 stand in.
const CANDIDATES: &[Dtype] = &[
    Dtype::Q2_K,
    Dtype::Q3_K,
    Dtype::IQ4_XS,
    Dtype::Q4_K,
    Dtype::Q5_K,
    Dtype::Q6_K,
    Dtype::Q8_0,
    Dtype::F16,
];

/// What was chosen for a file.
pub struct Adapted {
    /// One for each tensor of the file.
    pub types: Vec<Dtype>,
    /// What each tensor is expected to lose; `None` for those that stay as they are.
    pub predicted: Vec<Option<f64>>,
}

impl Adapted {
    /// Chooses types so that all tensors together take at most `bits` for each element.
    ///
    /// Types that the options demand (for tensors by name, for the embedding, for the output) are not touched.
    /// `progress` is called with the number of tensors that are measured, and ends the work by returning `false`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when even the smallest types take more; as [`super::Job::new`] otherwise.
    pub fn choose(
        file: &File,
        options: &Options<'_>,
        bits: f64,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<Self>, Error> {
        let mut choices = Vec::new();
        for (i, tensor) in file.tensors().iter().enumerate() {
            choices.push(Choice::measure(file, options, tensor)?);
            if !progress(i + 1) {
                return Ok(None);
            }
        }
        let elements: u64 = file.tensors().iter().map(|tensor| tensor.elements() as u64).sum();
        let budget = bits * elements as f64 / 8.0;
        let least: u64 = choices.iter().map(|choice| choice.steps[0].bytes).sum();
        if budget.is_nan() || budget < least as f64 {
            let least = 8.0 * least as f64 / elements as f64;
            let what = format!("{bits} bits per weight are too few; the smallest types take {least:.2}");
            return Err(Error::new(ErrorKind::Argument, what));
        }
        let chosen = spend(&choices, budget as u64 - least);
        let step = |(choice, &at): (&Choice, &usize)| choice.steps[at];
        let steps: Vec<Step> = choices.iter().zip(&chosen).map(step).collect();
        Ok(Some(Self {
            types: steps.iter().map(|step| step.dtype).collect(),
            predicted: steps.iter().map(|step| step.noise.map(f64::sqrt)).collect(),
        }))
    }
}

/// A type for a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    dtype: Dtype,
    bytes: u64,
    /// What is lost, as a part of the squares; `None` when nothing was rounded.
    noise: Option<f64>,
}

impl Step {
    fn noise(&self) -> f64 {
        self.noise.unwrap_or(0.0)
    }
}

/// What a tensor may become: more bytes and less noise from step to step, and each byte worth less than those before.
struct Choice {
    steps: Vec<Step>,
}

impl Choice {
    fn measure(file: &File, options: &Options<'_>, tensor: &TensorInfo) -> Result<Self, Error> {
        let as_is = Step { dtype: tensor.dtype, bytes: tensor.len as u64, noise: None };
        let seen = Tensor { name: &tensor.name, dims: tensor.dims() };
        if !seen.is_quantizable()
            || !holds_weights(tensor.dtype)
            || is_rounded(tensor.dtype) && !options.requantize
        {
            return Ok(Self { steps: vec![as_is] });
        }
        let demanded = match &*tensor.name {
            "token_embd.weight" => options.embedding_type,
            "output.weight" => options.output_type,
            _ => None,
        };
        let mut candidates = match demanded.or(options.forced(&tensor.name)) {
            Some(dtype) => vec![seen.fitting(dtype)],
            None => CANDIDATES.iter().map(|&dtype| seen.fitting(dtype)).collect(),
        };
        candidates.dedup();
        let losses =
            encode::sample(options, tensor, &file.data(tensor), &candidates, options.importance_of(tensor)?)?;
        let mut steps: Vec<Step> = candidates
            .into_iter()
            .zip(losses)
            .map(|(dtype, loss)| Step { dtype, bytes: tensor_bytes(tensor, dtype), noise: Some(noise(loss)) })
            .map(|step| if step.dtype == tensor.dtype { as_is } else { step })
            .collect();
        steps.sort_by_key(|step| step.bytes);
        Ok(Self { steps: hull(&steps) })
    }
}

fn noise(loss: Loss) -> f64 {
    loss.relative().powi(2)
}

/// The steps that are worth their bytes; `steps` in the order of bytes.
fn hull(steps: &[Step]) -> Vec<Step> {
    let mut hull: Vec<Step> = Vec::new();
    for &step in steps {
        if hull.last().is_some_and(|last| last.bytes == step.bytes && last.noise() <= step.noise()) {
            continue;
        }
        // Whatever is not on the way from before it to here was a detour.
        while let Some(&last) = hull.last() {
            let gains_nothing = last.bytes == step.bytes;
            let is_detour = hull.len() > 1 && worth(hull[hull.len() - 2], last) <= worth(last, step);
            if !gains_nothing && !is_detour {
                break;
            }
            hull.pop();
        }
        if hull.last().is_none_or(|last| step.noise() < last.noise()) {
            hull.push(step);
        }
    }
    hull
}

/// Noise that is taken away for each byte.
fn worth(from: Step, to: Step) -> f64 {
    (from.noise() - to.noise()) / to.bytes.saturating_sub(from.bytes).max(1) as f64
}

/// Spends bytes where they are worth most. Returns each tensor's step.
fn spend(choices: &[Choice], mut budget: u64) -> Vec<usize> {
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (i, choice) in choices.iter().enumerate() {
        for (at, pair) in choice.steps.windows(2).enumerate() {
            steps.push((worth(pair[0], pair[1]), i, at + 1));
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen = vec![0; choices.len()];
    for (_, i, at) in steps {
        let steps = &choices[i].steps;
        let more = steps[at].bytes - steps[at - 1].bytes;
        // A step that did not fit closes those behind it.
        if chosen[i] + 1 == at && more <= budget {
            budget -= more;
            chosen[i] = at;
        }
    }
    chosen
}

/// What rounding comes to over all tensors: the root of the mean noise, from each one's relative error.
pub fn mean_error(relative: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = relative.fold((0.0, 0u32), |(sum, n), error| (sum + error * error, n + 1));
    if n == 0 { 0.0 } else { (sum / f64::from(n)).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(bytes: u64, noise: f64) -> Step {
        Step { dtype: Dtype::F16, bytes, noise: Some(noise) }
    }

    #[test]
    fn detours_are_left_out() {
        let worth_it = [step(10, 8.0), step(20, 4.0), step(30, 2.0), step(60, 1.0)];
        assert_eq!(hull(&worth_it), worth_it);
        let detours =
            [step(10, 8.0), step(15, 7.9), step(20, 4.0), step(20, 5.0), step(25, 4.5), step(30, 2.0)];
        assert_eq!(hull(&detours), [step(10, 8.0), step(20, 4.0), step(30, 2.0)]);
        assert_eq!(hull(&[step(10, 1.0), step(10, 0.5)]), [step(10, 0.5)]);
    }

    #[test]
    fn bytes_go_where_they_are_worth_most() {
        let choices = [
            Choice { steps: vec![step(10, 8.0), step(20, 4.0), step(40, 3.0)] },
            Choice { steps: vec![step(10, 2.0), step(20, 1.0)] },
            Choice { steps: vec![step(7, 0.0)] },
        ];
        assert_eq!(spend(&choices, 0), [0, 0, 0]);
        assert_eq!(spend(&choices, 9), [0, 0, 0]);
        assert_eq!(spend(&choices, 15), [1, 0, 0]);
        assert_eq!(spend(&choices, 20), [1, 1, 0]);
        assert_eq!(spend(&choices, 1000), [2, 1, 0]);
    }
}
