//! What a [`Sampler`](super::Sampler) is told, and what it refuses.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// The longest window of past tokens that the penalties look at.
const LONGEST_WINDOW: usize = 1 << 24;
/// The largest number of a float option that has no bound of its own.
const ANY: RangeInclusive<f32> = f32::MIN..=f32::MAX;
const NOT_NEGATIVE: RangeInclusive<f32> = 0.0..=f32::MAX;
const SHARE: RangeInclusive<f32> = 0.0..=1.0;

/// How the next token is chosen. The defaults are llama.cpp's.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Fixes every random choice. The default is 0: a host that wants variety brings its own chance.
    pub seed: u64,
    /// The order of the chain; a kind that is absent does nothing.
    pub samplers: Vec<SamplerKind>,
    /// Added to the logits of these tokens before anything else; minus infinity bans one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Truncating samplers never leave fewer candidates than this (top-k and top-n-sigma excepted).
    pub min_keep: usize,

    /// Divides the logits; 0 or less takes the most probable candidate.
    pub temperature: f32,
    /// Dynamic temperature: `temperature` plus or minus this, by the distribution's entropy; 0 is off.
    pub dynatemp_range: f32,
    /// The power of the normalised entropy in dynamic temperature.
    pub dynatemp_exponent: f32,
    /// Keeps this many most probable candidates; 0 is off.
    pub top_k: usize,
    /// Keeps the most probable candidates until they hold this share of the probability; 1 is off.
    pub top_p: f32,
    /// Keeps candidates at least this share as probable as the best one; 0 is off.
    pub min_p: f32,
    /// Keeps the candidates whose surprise is nearest the entropy, until they hold this share; 1 is off.
    pub typical_p: f32,
    /// Keeps logits within this many standard deviations of the best; 0 or less is off.
    pub top_n_sigma: f32,
    /// How often XTC acts; 0 is off.
    pub xtc_probability: f32,
    /// XTC removes all candidates at least this probable but the last; above 0.5 is off.
    pub xtc_threshold: f32,

    /// How many past tokens the three penalties look at; 0 is off.
    pub repeat_last_n: usize,
    /// Divides positive logits of past tokens and multiplies negative ones; 1 is off.
    pub repeat_penalty: f32,
    /// Taken once from the logit of every past token; 0 is off.
    pub presence_penalty: f32,
    /// Taken from the logit of a past token as often as it occurred; 0 is off.
    pub frequency_penalty: f32,

    /// DRY: the penalty for continuing a repetition of `dry_allowed_length` tokens; 0 is off.
    pub dry_multiplier: f32,
    /// DRY: how many times larger the penalty is for every further repeated token; at least 1.
    pub dry_base: f32,
    /// DRY: the longest repetition that goes unpunished, in tokens, plus one.
    pub dry_allowed_length: usize,
    /// DRY: how many past tokens it looks at; 0 is off. For "the whole context" give the context's size.
    pub dry_last_n: usize,
    /// DRY: token sequences that a repetition does not reach across, such as a line feed's.
    pub dry_breakers: Vec<Vec<u32>>,

    /// Replaces the whole chain except the bias and the temperature.
    pub mirostat: Mirostat,
    /// Mirostat: the surprise to hold, in bits.
    pub mirostat_tau: f32,
    /// Mirostat: how fast it learns.
    pub mirostat_eta: f32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            samplers: SamplerKind::DEFAULT_CHAIN.into(),
            logit_bias: Vec::new(),
            min_keep: 0,
            temperature: 0.8,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repeat_last_n: 64,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_last_n: 4096,
            dry_breakers: Vec::new(),
            mirostat: Mirostat::Off,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
        }
    }
}

impl Options {
    /// The default options, taking always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`], naming the option, what was found and what is expected.
    pub fn validate(&self, n_vocab: usize) -> Result<()> {
        if n_vocab == 0 || u32::try_from(n_vocab).is_err() {
            return Err(refuse("n_vocab", n_vocab, "1 to 4294967295"));
        }
        for (option, found, range) in [
            ("temperature", self.temperature, ANY),
            ("dynatemp_range", self.dynatemp_range, NOT_NEGATIVE),
            ("dynatemp_exponent", self.dynatemp_exponent, NOT_NEGATIVE),
            ("top_p", self.top_p, SHARE),
            ("min_p", self.min_p, SHARE),
            ("typical_p", self.typical_p, SHARE),
            ("top_n_sigma", self.top_n_sigma, ANY),
            ("xtc_probability", self.xtc_probability, SHARE),
            ("xtc_threshold", self.xtc_threshold, SHARE),
            ("repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE..=f32::MAX),
            ("presence_penalty", self.presence_penalty, ANY),
            ("frequency_penalty", self.frequency_penalty, ANY),
            ("dry_multiplier", self.dry_multiplier, NOT_NEGATIVE),
            ("dry_base", self.dry_base, 1.0..=f32::MAX),
            ("mirostat_tau", self.mirostat_tau, NOT_NEGATIVE),
            ("mirostat_eta", self.mirostat_eta, NOT_NEGATIVE),
        ] {
            if !range.contains(&found) {
                return Err(refuse(option, found, &describe(&range)));
            }
        }
        for (option, found) in [("repeat_last_n", self.repeat_last_n), ("dry_last_n", self.dry_last_n)] {
            if found > LONGEST_WINDOW {
                return Err(refuse(option, found, &format!("at most {LONGEST_WINDOW}")));
            }
        }
        let vocabulary = format!("a token id below {n_vocab}");
        for &(token, bias) in &self.logit_bias {
            if token as usize >= n_vocab {
                return Err(refuse("logit_bias", token, &vocabulary));
            }
            if bias.is_nan() {
                return Err(refuse("logit_bias", bias, "a number"));
            }
        }
        for breaker in &self.dry_breakers {
            if breaker.is_empty() {
                return Err(refuse("dry_breakers", "an empty sequence", "at least one token"));
            }
            if let Some(token) = breaker.iter().find(|&&token| token as usize >= n_vocab) {
                return Err(refuse("dry_breakers", token, &vocabulary));
            }
        }
        Ok(())
    }
}

fn refuse(option: &str, found: impl fmt::Display, expected: &str) -> Error {
    Error::new(ErrorKind::Argument, format!("sampling option `{option}` is {found}; expected {expected}"))
}

fn describe(range: &RangeInclusive<f32>) -> String {
    match (*range.start(), *range.end()) {
        (f32::MIN, f32::MAX) => "a finite number".into(),
        (f32::MIN_POSITIVE, f32::MAX) => "a finite number above 0".into(),
        (low, f32::MAX) => format!("a finite number of at least {low}"),
        (low, high) => format!("{low} to {high}"),
    }
}

/// Mirostat (Basu et al. 2021, <https://arxiv.org/abs/2007.14966>) holds the surprise of the text steady.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mirostat {
    /// The chain decides.
    #[default]
    Off,
    /// Estimates the Zipf exponent from the 100 best candidates, and from it a top-k.
    V1,
    /// Cuts off candidates whose surprise is above a learned bound.
    V2,
}

/// One link of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SamplerKind {
    /// Repeat, presence and frequency penalties.
    Penalties,
    /// Penalises continuing a repeated sequence.
    Dry,
    /// Keeps logits near the best one, in standard deviations.
    TopNSigma,
    /// Keeps the best k.
    TopK,
    /// Locally typical sampling.
    TypicalP,
    /// Nucleus sampling.
    TopP,
    /// Keeps candidates relative to the best.
    MinP,
    /// Excludes top choices.
    Xtc,
    /// Temperature, fixed or dynamic.
    Temperature,
}

/// Every kind: its own name first, then the other spellings that people write.
const NAMES: [(SamplerKind, &[&str]); 9] = [
    (SamplerKind::Penalties, &["penalties"]),
    (SamplerKind::Dry, &["dry"]),
    (SamplerKind::TopNSigma, &["top_n_sigma", "top-n-sigma"]),
    (SamplerKind::TopK, &["top_k", "top-k"]),
    (SamplerKind::TypicalP, &["typ_p", "typ-p", "typ", "typical_p", "typical-p", "typical"]),
    (SamplerKind::TopP, &["top_p", "top-p", "nucleus"]),
    (SamplerKind::MinP, &["min_p", "min-p"]),
    (SamplerKind::Xtc, &["xtc"]),
    (SamplerKind::Temperature, &["temperature", "temp"]),
];

impl SamplerKind {
    /// llama.cpp's order.
    pub const DEFAULT_CHAIN: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// Reads a chain such as `penalties;top_k;temperature`; an empty text is an empty chain.
    ///
    /// # Errors
    /// As [`SamplerKind::from_str`].
    pub fn parse_chain(names: &str) -> Result<Vec<Self>> {
        names.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::parse).collect()
    }

    /// The kind's name in a chain.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, names)| names[0])
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::Argument`], listing the known names.
    fn from_str(name: &str) -> Result<Self> {
        let known = NAMES.iter().find(|(_, names)| names.contains(&name));
        known.map(|&(kind, _)| kind).ok_or_else(|| {
            let names = NAMES.map(|(_, names)| names[0]).join(", ");
            Error::new(ErrorKind::Argument, format!("`{name}` is no sampler; expected one of {names}"))
        })
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn chains_are_read_by_name() {
        let text = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
        let chain = SamplerKind::parse_chain(text).unwrap();
        assert_eq!(chain, SamplerKind::DEFAULT_CHAIN);
        let names: Vec<_> = chain.iter().map(ToString::to_string).collect();
        assert_eq!(names.join(";"), text);
        assert_eq!(
            SamplerKind::parse_chain(" nucleus; temp;").unwrap(),
            [SamplerKind::TopP, SamplerKind::Temperature]
        );
        assert_eq!(SamplerKind::parse_chain("").unwrap(), []);
        let error = SamplerKind::parse_chain("top_k;topp").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Argument);
        assert!(error.what.starts_with("`topp` is no sampler; expected one of penalties, dry"), "{error}");
    }

    #[test]
    fn every_bad_option_is_named() {
        let good = Options::default;
        for (bad, expected) in [
            (Options { temperature: f32::NAN, ..good() }, "`temperature` is NaN; expected a finite number"),
            (Options { top_p: 1.5, ..good() }, "`top_p` is 1.5; expected 0 to 1"),
            (Options { min_p: -0.1, ..good() }, "`min_p` is -0.1; expected 0 to 1"),
            (Options { typical_p: 2.0, ..good() }, "`typical_p` is 2; expected 0 to 1"),
            (
                Options { repeat_penalty: 0.0, ..good() },
                "`repeat_penalty` is 0; expected a finite number above 0",
            ),
            (
                Options { dry_base: 0.5, ..good() },
                "`dry_base` is 0.5; expected a finite number of at least 1",
            ),
            (Options { repeat_last_n: usize::MAX, ..good() }, "expected at most 16777216"),
            (
                Options { logit_bias: vec![(8, 1.0)], ..good() },
                "`logit_bias` is 8; expected a token id below 8",
            ),
            (Options { logit_bias: vec![(7, f32::NAN)], ..good() }, "`logit_bias` is NaN; expected a number"),
            (Options { dry_breakers: vec![vec![]], ..good() }, "`dry_breakers` is an empty sequence"),
            (Options { dry_breakers: vec![vec![1, 9]], ..good() }, "`dry_breakers` is 9"),
        ] {
            let error = bad.validate(8).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Argument);
            assert!(error.what.contains(expected), "{error}");
        }
        assert!(good().validate(0).unwrap_err().what.contains("`n_vocab` is 0"));
        good().validate(8).unwrap();
    }
}
