//! How weights lie in a file: the block formats of GGML, their numbers, sizes, decoders and encoders.
//!
//! A row of weights is cut into blocks of [`Format::BLOCK`] elements, each of which takes [`Format::BYTES`] bytes.
//! Plain types (`F32`, `F16`, ...) are blocks of one element. In the others a block holds small integers `q` and, for
//! every group of them, a scale and a minimum: a weight is `scale * q - min` ([`Quantized`]). How the integers are
//! packed and how the scales are squeezed is all that differs, and each format's file tells just that. What several of
//! them do alike lies beside them: bits in [`planes`], vectors of weights in [`grid`], and the search for scales.
//!
//! # Adding a format
//! 1. Write `quant/NAME.rs`: a unit struct named like the GGML type, `impl Format` for it, and `impl Quantized` when
//!    its weights are integers in groups (then `decode` is one line).
//! 2. Add its `mod` line and its word in `formats!` below.
//! 3. Where the reference set has cases of it, copy a few blocks of each into `tests/golden/quants`.
//!
//! That is all: [`Dtype`], sizes, names, [`dequantize`], [`quantize`] and the tests iterate the registry. The tests
//! decode every case of that name to the bit and hold the encoder's error against the reference encoder's; a type of
//! the set that has no format here fails them. A scale that a whole tensor shares goes into [`Format::TAIL`].

#![allow(non_camel_case_types, reason = "formats bear the field's own names")]

use alloc::format;
use core::fmt;
use core::marker::PhantomData;

use crate::ops::activations::STEP;
use crate::ops::decoded::Decoded;
use crate::ops::matmul::Rows;
use crate::simd::{Isa, Kernel, Level};
use crate::{Error, ErrorKind, Result};

pub mod float16;
pub mod fours;
pub mod grid;
pub mod planes;
mod search;
mod ternary;

pub mod i2_s;
pub mod iq1_m;
pub mod iq1_s;
pub mod iq2_s;
pub mod iq2_xs;
pub mod iq2_xxs;
pub mod iq3_s;
pub mod iq3_xxs;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
pub mod nvfp4;
pub mod plain;
pub mod q1_0;
pub mod q2_0;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod tq1_0;
pub mod tq2_0;

formats! {
    plain::F32,
    plain::F16,
    plain::BF16,
    plain::F64,
    plain::I8,
    plain::I16,
    plain::I32,
    plain::I64,
    q4_0::Q4_0,
    q4_1::Q4_1,
    q5_0::Q5_0,
    q5_1::Q5_1,
    q8_0::Q8_0,
    q2_k::Q2_K,
    q3_k::Q3_K,
    q4_k::Q4_K,
    q5_k::Q5_K,
    q6_k::Q6_K,
    iq1_s::IQ1_S,
    iq1_m::IQ1_M,
    iq2_xxs::IQ2_XXS,
    iq2_xs::IQ2_XS,
    iq2_s::IQ2_S,
    iq3_xxs::IQ3_XXS,
    iq3_s::IQ3_S,
    iq4_nl::IQ4_NL,
    iq4_xs::IQ4_XS,
    tq1_0::TQ1_0,
    tq2_0::TQ2_0,
    i2_s::I2_S,
    mxfp4::MXFP4,
    nvfp4::NVFP4,
    q1_0::Q1_0,
    q2_0::Q2_0,
}

/// A way to lay weights down in blocks.
pub trait Format {
    /// The type number in GGUF tensor tables.
    const ID: u32;
    /// Elements per block.
    const BLOCK: usize;
    /// Bytes per block.
    const BYTES: usize;

    /// Writes the `BLOCK` values of one block of `BYTES` bytes. Any bytes decode to something.
    fn decode(block: &[u8], out: &mut [f32]);

    /// What its weights are multiplied with.
    const MEETS: Meets = Meets::Decoded;

    /// Whether the integers have signs that meet activations as integers.
    const SIGNED: bool = false;

    /// Which activations share a scale where its integers meet them alone.
    const ROUNDING: Rounding = if Self::BLOCK == STEP { Rounding::Steps } else { Rounding::Groups };

    /// Multiplies rows with tokens, the way that [`Self::MEETS`] says.
    #[inline(always)]
    fn multiply<I: Isa>(isa: I, rows: Rows<'_, '_>) {
        Decoded(rows).run(isa);
    }

    /// Makes the block of `BYTES` bytes that comes close to `x`, `BLOCK` values.
    ///
    /// `importance` weighs the squared error of each value; without it all count the same. NaN and infinity end up
    /// as something or other.
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]);

    /// Bytes behind the last block of a tensor, which hold a scale that all of it shares: what blocks decode to is to
    /// be multiplied with it, and `encode` gets values that were divided by it.
    const TAIL: usize = 0;

    /// The scale that a tail of `TAIL` bytes holds.
    fn read_tail(_tail: &[u8]) -> f32 {
        1.0
    }

    /// Chooses the scale for all values of a tensor, writes the tail, and returns the scale.
    fn write_tail(_x: &[f32], _tail: &mut [u8]) -> f32 {
        1.0
    }
}

/// How weights meet activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Decoded to f32, with activations as they are.
    Decoded,
    /// Loaded as floats, with activations as they are.
    Floats,
    /// As integers, with rounded activations.
    Integers,
}

/// Which activations share a scale when they are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// 32 neighbours.
    Groups,
    /// 256 neighbours, as many as long blocks have: their scale need not be multiplied with each of the block's own.
    Steps,
    /// All of a token, as models with ternary weights are trained.
    Tokens,
}

/// The lines of a [`Format`] whose weights are ternary and meet integers through [`crate::ops::ternary`].
macro_rules! meets_ternary {
    () => {
        const MEETS: $crate::quant::Meets = $crate::quant::Meets::Integers;
        const ROUNDING: $crate::quant::Rounding = $crate::quant::Rounding::Tokens;

        #[inline(always)]
        fn multiply<I: $crate::simd::Isa>(isa: I, rows: $crate::ops::matmul::Rows<'_, '_>) {
            $crate::ops::ternary::run::<Self, I>(isa, rows);
        }
    };
}
use meets_ternary;

/// The lines of a [`Format`] whose weights meet integers through [`crate::ops::integers::Lanes`].
macro_rules! meets_integers {
    () => {
        const MEETS: $crate::quant::Meets = $crate::quant::Meets::Integers;
        const SIGNED: bool =
            matches!(<Self as $crate::ops::integers::Lanes>::SIGN, $crate::ops::integers::Sign::Signed);

        #[inline(always)]
        fn multiply<I: $crate::simd::Isa>(isa: I, rows: $crate::ops::matmul::Rows<'_, '_>) {
            $crate::ops::integers::run::<Self, I>(isa, rows);
        }
    };
}
use meets_integers;

/// The lines of a [`Format`] whose weights load as floats through [`crate::ops::floats::Floats`].
macro_rules! meets_floats {
    () => {
        const MEETS: $crate::quant::Meets = $crate::quant::Meets::Floats;

        #[inline(always)]
        fn multiply<I: $crate::simd::Isa>(isa: I, rows: $crate::ops::matmul::Rows<'_, '_>) {
            $crate::ops::floats::run::<Self, I>(isa, rows);
        }
    };
}
use meets_floats;

/// A format whose weights are integers in groups: `scale * q - min`.
pub trait Quantized: Format {
    /// Elements that share a scale and a minimum; divides `BLOCK`.
    const GROUP: usize;

    /// Writes the `BLOCK` integers of one block.
    fn integers(block: &[u8], q: &mut [i8]);

    /// Writes the scale and the minimum of each of the `BLOCK / GROUP` groups of one block.
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]);
}

/// Most elements in a block of any format.
pub const MAX_BLOCK: usize = 256;
/// Most groups in a block of any format.
pub const MAX_GROUPS: usize = 32;

/// [`Format::decode`] of every quantised format. Nothing is fused, so the result is the reference's to the bit
/// (subtracting a minimum of zero changes nothing, not even the sign of a zero).
#[inline(always)]
fn decode_groups<F: Quantized>(block: &[u8], out: &mut [f32]) {
    let mut q = [0; MAX_BLOCK];
    let (mut scale, mut min) = ([0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    F::integers(block, &mut q[..F::BLOCK]);
    F::scales(block, &mut scale[..F::BLOCK / F::GROUP], &mut min[..F::BLOCK / F::GROUP]);
    for (group, (out, q)) in out.chunks_exact_mut(F::GROUP).zip(q.chunks_exact(F::GROUP)).enumerate() {
        for (out, &q) in out.iter_mut().zip(q) {
            *out = scale[group] * f32::from(q) - min[group];
        }
    }
}

/// What the registry knows of a format.
struct Facts {
    name: &'static str,
    id: u32,
    block: usize,
    bytes: usize,
    tail: usize,
    read_tail: fn(&[u8]) -> f32,
    meets: Meets,
    signed: bool,
    rounding: Rounding,
    decode: fn(&[u8], &mut [f32]),
}

impl Facts {
    const fn of<F: Format>(name: &'static str) -> Self {
        Self {
            name,
            id: F::ID,
            block: F::BLOCK,
            bytes: F::BYTES,
            tail: F::TAIL,
            read_tail: F::read_tail,
            meets: F::MEETS,
            signed: F::SIGNED,
            rounding: F::ROUNDING,
            decode: decode_blocks::<F>,
        }
    }
}

#[inline(always)]
fn decode_blocks<F: Format>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(F::BYTES).zip(out.chunks_exact_mut(F::BLOCK)) {
        F::decode(block, out);
    }
}

/// Blocks to be decoded, whose length fits.
struct Decode<'a> {
    level: Level,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Visitor for Decode<'_> {
    type Output = ();

    fn visit<F: Format>(self) {
        self.level.run(DecodeAs::<F>(self, PhantomData));
    }
}

struct DecodeAs<'a, F>(Decode<'a>, PhantomData<F>);

impl<F: Format> Kernel for DecodeAs<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        decode_blocks::<F>(self.0.bytes, self.0.out);
    }
}

/// Rows to be encoded, whose lengths fit. Compiled for the instructions at hand, the plain loops of the encoders become
/// vectors; as nothing is fused, the bytes are the same everywhere.
struct Encode<'a> {
    level: Level,
    x: &'a [f32],
    row_len: usize,
    importance: Option<&'a [f32]>,
    out: &'a mut [u8],
}

impl Visitor for Encode<'_> {
    type Output = ();

    fn visit<F: Format>(self) {
        self.level.run(EncodeAs::<F>(self, PhantomData));
    }
}

struct EncodeAs<'a, F>(Encode<'a>, PhantomData<F>);

impl<F: Format> Kernel for EncodeAs<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Encode { x, row_len, importance, out, .. } = self.0;
        let (blocks, tail) = out.split_at_mut(out.len() - F::TAIL);
        let inverse = search::inverse(F::write_tail(x, tail));
        for (i, (x, out)) in x.chunks_exact(F::BLOCK).zip(blocks.chunks_exact_mut(F::BYTES)).enumerate() {
            let column = i * F::BLOCK % row_len;
            let importance = importance.map(|weights| &weights[column..column + F::BLOCK]);
            if F::TAIL == 0 {
                F::encode(x, importance, out);
            } else {
                let mut scaled = [0.0; MAX_BLOCK];
                scaled.iter_mut().zip(x).for_each(|(scaled, x)| *scaled = x * inverse);
                F::encode(&scaled[..F::BLOCK], importance, out);
            }
        }
    }
}

/// Makes [`Dtype`] out of the list of formats.
macro_rules! formats {
    ($($module:ident::$name:ident,)*) => {
        /// The type of a tensor's elements: one of the registered formats.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Dtype {
            $(#[doc = concat!("[`", stringify!($module), "::", stringify!($name), "`]")] $name,)*
        }

        impl Dtype {
            /// Every format there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Calls `visitor` with the format's type: the way from a tensor to code that is compiled per format.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$name => visitor.visit::<$module::$name>(),)*
                }
            }
        }

        /// In one place: a constant would bring all decoders along, again, wherever it is used.
        static FACTS: &[Facts] = &[$(Facts::of::<$module::$name>(stringify!($name))),*];
    };
}
use formats;

/// Code that is compiled once per format; see [`Dtype::visit`].
pub trait Visitor {
    /// What it returns.
    type Output;

    /// Runs for the format `F`.
    fn visit<F: Format>(self) -> Self::Output;
}

impl Dtype {
    const fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    /// The format with this number in GGUF tensor tables.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.id() == id)
    }

    /// The format of this name (`Q4_K`), in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.name().eq_ignore_ascii_case(name))
    }

    /// The number in GGUF tensor tables.
    pub const fn id(self) -> u32 {
        self.facts().id
    }

    /// The name that GGML gave it.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Elements per block.
    pub const fn block_len(self) -> usize {
        self.facts().block
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        self.facts().bytes
    }

    /// How weights of this type meet activations.
    pub const fn meets(self) -> Meets {
        self.facts().meets
    }

    /// Whether integers of this type have signs.
    pub const fn signed(self) -> bool {
        self.facts().signed
    }

    /// Which activations share a scale where integers of this type meet them alone.
    pub const fn rounding(self) -> Rounding {
        self.facts().rounding
    }

    /// Bytes of a row of `cols` elements, or `None` when that is not whole blocks or does not fit a `usize`.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Bytes behind the last block of a tensor; see [`Format::TAIL`].
    pub const fn tail_bytes(self) -> usize {
        self.facts().tail
    }

    /// Bytes of a tensor of this shape (row length first), tail included, or `None` as for [`Dtype::row_bytes`].
    pub fn tensor_bytes(self, shape: &[usize; 4]) -> Option<usize> {
        let row = self.row_bytes(shape[0])?;
        let rows = shape[1..].iter().try_fold(row, |bytes, &dim| bytes.checked_mul(dim))?;
        rows.checked_add(self.tail_bytes())
    }

    /// What everything in the tensor of these bytes is to be multiplied with after [`dequantize`]: 1, except for
    /// formats with a tail. `None` when the bytes are too few to have one.
    pub fn tensor_scale(self, tensor: &[u8]) -> Option<f32> {
        let tail = tensor.len().checked_sub(self.tail_bytes())?;
        Some((self.facts().read_tail)(&tensor[tail..]))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Decodes whole blocks, such as one row. In a format with a tail, [`Dtype::tensor_scale`] is still to be applied.
///
/// # Errors
/// [`ErrorKind::Argument`] when `out` is not whole blocks, or `bytes` is not as long as they are.
pub fn dequantize(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check(dtype, out.len(), bytes.len(), 0)?;
    (dtype.facts().decode)(bytes, out);
    Ok(())
}

/// [`dequantize`] with the instructions of `level`: the same values, sooner.
///
/// # Errors
/// As [`dequantize`].
pub fn dequantize_at(level: Level, dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check(dtype, out.len(), bytes.len(), 0)?;
    dtype.visit(Decode { level, bytes, out });
    Ok(())
}

/// Decodes a whole tensor: its blocks and, where the format has one, its tail.
///
/// # Errors
/// As [`dequantize`], with the tail counted in.
pub fn dequantize_tensor(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check(dtype, out.len(), bytes.len(), dtype.tail_bytes())?;
    (dtype.facts().decode)(bytes, out);
    if let Some(scale) = dtype.tensor_scale(bytes).filter(|_| dtype.tail_bytes() > 0) {
        out.iter_mut().for_each(|x| *x *= scale);
    }
    Ok(())
}

/// Encodes rows of `row_len` elements each; in a format with a tail, these are the whole tensor and `out` ends with it.
///
/// `importance` holds one weight per column: how much the squared error there counts.
///
/// # Errors
/// [`ErrorKind::Argument`] when `x` is not whole rows, rows are not whole blocks, `importance` is not one row, or `out`
/// is not as long as the result.
pub fn quantize(
    dtype: Dtype,
    x: &[f32],
    row_len: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<()> {
    quantize_at(Level::baseline(), dtype, x, row_len, importance, out)
}

/// [`quantize`] with the instructions of `level`: the same bytes, sooner.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_at(
    level: Level,
    dtype: Dtype,
    x: &[f32],
    row_len: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<()> {
    let wrong = |what| Err(Error::new(ErrorKind::Argument, what));
    if row_len == 0 || !x.len().is_multiple_of(row_len) {
        return wrong(format!("{} elements are not whole rows of {row_len}", x.len()));
    }
    if !row_len.is_multiple_of(dtype.block_len()) {
        let block = dtype.block_len();
        return wrong(format!("rows of {row_len} elements are not whole {dtype} blocks of {block}"));
    }
    if let Some(weights) = importance.filter(|weights| weights.len() != row_len) {
        return wrong(format!("{} importance weights for rows of {row_len} elements", weights.len()));
    }
    check(dtype, x.len(), out.len(), dtype.tail_bytes())?;
    dtype.visit(Encode { level, x, row_len, importance, out });
    Ok(())
}

/// Encodes whole blocks of one format, without the code of all the others.
///
/// # Panics
/// When `x` is not whole blocks, or `out` is not as long as the result.
pub(crate) fn encode_as<F: Format>(level: Level, x: &[f32], out: &mut [u8]) {
    assert!(x.len().is_multiple_of(F::BLOCK) && out.len() == x.len() / F::BLOCK * F::BYTES + F::TAIL);
    level.run(EncodeAs::<F>(Encode { level, x, row_len: x.len(), importance: None, out }, PhantomData));
}

fn check(dtype: Dtype, elements: usize, bytes: usize, tail: usize) -> Result<()> {
    if dtype.row_bytes(elements).and_then(|blocks| blocks.checked_add(tail)) == Some(bytes) {
        return Ok(());
    }
    let (block_bytes, block) = (dtype.block_bytes(), dtype.block_len());
    let what = format!(
        "found {bytes} bytes for {elements} elements of {dtype}, expected {block_bytes} for each {block} and {tail} more"
    );
    Err(Error::new(ErrorKind::Argument, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_own_number_and_name() {
        for &dtype in Dtype::ALL {
            assert_eq!(Dtype::from_id(dtype.id()), Some(dtype));
            assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
            assert!(dtype.block_len() <= MAX_BLOCK, "{dtype}");
        }
        assert_eq!(Dtype::from_id(u32::MAX), None);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(Dtype::Q4_0.row_bytes(64), Some(36));
        assert_eq!(Dtype::Q4_0.row_bytes(48), None);
        assert_eq!(Dtype::F32.row_bytes(usize::MAX), None);
    }
}
