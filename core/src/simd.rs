//! Vectors: what a kernel may ask of a processor, and how it gets onto the best instructions there are.
//!
//! A kernel is written once, over the trait [`Isa`]: eight `f32` lanes, eight `i32` lanes and 32 bytes, whatever the
//! registers really hold. Each instruction set is one file below this one and one variant of [`Level`]; intrinsics
//! live nowhere else. A value of an instruction set's type is the proof that the processor has it: only the host,
//! which asked the processor, can make one.
//!
//! # Entering
//! The compiler uses an instruction set's registers only inside functions marked for it, and a call across that mark
//! is never inlined. So the mark is crossed once per piece of work, not once per vector: a kernel is a struct that
//! holds its arguments, and [`Level::run`] calls it inside a marked function into which everything is inlined.
//!
//! ```
//! use motelm_core::simd::{Isa, Kernel, Level};
//!
//! /// Sums the products of several pairs of rows, entered once for all of them.
//! struct Dots<'a>(&'a [(&'a [f32], &'a [f32])]);
//!
//! impl Kernel for Dots<'_> {
//!     type Output = f32;
//!
//!     #[inline(always)] // and on every generic function that it calls
//!     fn run<I: Isa>(self, isa: I) -> f32 {
//!         let mut sum = 0.0;
//!         for (a, b) in self.0 {
//!             sum += isa.dot_f32(a, b);
//!         }
//!         sum
//!     }
//! }
//!
//! assert_eq!(Level::baseline().run(Dots(&[(&[1.0, 2.0], &[3.0, 4.0])])), 11.0);
//! ```
//! Loops rather than closures: a closure's body does not carry the mark until it is inlined, which the compiler may
//! decline.
#![allow(unsafe_code)]

/// The methods of [`Isa`] that a level does as the one that it holds does them: all but entering, dot products,
/// [`Isa::spread`] and [`Isa::negate`].
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
macro_rules! like_the_level_below {
    () => {
        like_the_level_below! {
            fn prefetch(at: *const u8);
            fn splat(x: f32) -> Self::F32x8;
            fn splat2(low: f32, high: f32) -> Self::F32x8;
            fn double(x: &[f32; 4]) -> Self::F32x8;
            fn load(x: &[f32; 8]) -> Self::F32x8;
            fn store(v: Self::F32x8, to: &mut [f32; 8]);
            fn add(a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
            fn mul(a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
            fn mul_add(a: Self::F32x8, b: Self::F32x8, c: Self::F32x8) -> Self::F32x8;
            fn neg_mul_add(a: Self::F32x8, b: Self::F32x8, c: Self::F32x8) -> Self::F32x8;
            fn div(a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
            fn min(a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
            fn max(a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
            fn zero_below(v: Self::F32x8, x: Self::F32x8, least: f32) -> Self::F32x8;
            fn times_power_of_2(v: Self::F32x8, n: Self::F32x8) -> Self::F32x8;
            fn max_abs(a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
            fn sum(v: Self::F32x8) -> f32;
            fn transpose(rows: [Self::F32x8; 8]) -> [Self::F32x8; 8];
            fn widen_f16(bits: [u16; 8]) -> Self::F32x8;
            fn splat_f16(bits: u16) -> Self::F32x8;
            fn narrow_f16(v: Self::F32x8) -> [u16; 8];
            fn widen_bf16(bits: [u16; 8]) -> Self::F32x8;
            fn float_u8(x: [u8; 8]) -> Self::F32x8;
            fn float_i8(x: [i8; 8]) -> Self::F32x8;
            fn float_i32(v: Self::I32x8) -> Self::F32x8;
            fn load_bytes(x: &[u8; 32]) -> Self::I8x32;
            fn splat_bytes(x: u8) -> Self::I8x32;
            fn store_bytes(v: Self::I8x32, to: &mut [u8; 32]);
            fn nibbles(x: &[u8; 16]) -> Self::I8x32;
            fn join(x: [u64; 4]) -> Self::I8x32;
            fn field(v: Self::I8x32, shift: u32, mask: u8) -> Self::I8x32;
            fn raise(v: Self::I8x32, mask: u8, shift: u32) -> Self::I8x32;
            fn or(a: Self::I8x32, b: Self::I8x32) -> Self::I8x32;
            fn lookup(table: &[i8; 16], index: Self::I8x32) -> Self::I8x32;
            fn round(v: [Self::F32x8; 4]) -> Self::I8x32;
            fn add_i32(a: Self::I32x8, b: Self::I32x8) -> Self::I32x8;
            fn digits(v: Self::I8x32, powers: &[u16; 16]) -> Self::I8x32;
        }
    };
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)?;)*) => {$(
        #[inline(always)]
        fn $name(self, $($argument: $type),*) $(-> $output)? {
            self.0.$name($($argument),*)
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_dots;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod dotprod;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod i8mm;
mod level;
#[cfg(target_feature = "simd128")]
mod narrow;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon_dots;
#[cfg(target_feature = "simd128")]
mod pairs;
#[cfg(target_feature = "relaxed-simd")]
mod relaxed;
mod scalar;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon"),
    target_feature = "simd128"
))]
mod side_by_side;
#[cfg(target_feature = "simd128")]
mod simd128;
#[cfg(all(target_feature = "simd128", not(target_feature = "relaxed-simd")))]
mod two_rows;
#[cfg(target_arch = "x86_64")]
mod wide;

#[cfg(target_arch = "x86_64")]
pub use avx_vnni::AvxVnni;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "x86_64")]
use avx512_bf16::Avx512Bf16;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub use dotprod::Dotprod;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub use i8mm::I8mm;
pub use level::Level;
#[cfg(target_feature = "simd128")]
pub use narrow::{Activations, Narrow, Products, ProductsKernel};
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub use neon::Neon;
pub use scalar::Scalar;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon"),
    target_feature = "simd128"
))]
pub use side_by_side::{AnyDotsKernel, Dots, DotsKernel, SideBySide, WideDots};
#[cfg(target_feature = "simd128")]
pub use simd128::Simd128;
#[cfg(target_arch = "x86_64")]
pub use wide::{Cells, CellsKernel, Wide, WideKernel};

use crate::ops::activations::Split;
use crate::ops::decoded::Decoded;
use crate::ops::floats::{self, Floats};
use crate::ops::fours::Fours;
use crate::ops::integers::{self, Lanes};
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use crate::quant::float16;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use core::arch::wasm32 as wasm;
#[cfg(all(target_arch = "wasm64", target_feature = "simd128"))]
use core::arch::wasm64 as wasm;

/// Work that is entered once and then runs on one instruction set; a struct that holds its arguments.
pub trait Kernel {
    /// What the work returns.
    type Output;

    /// Does the work. Must be `#[inline(always)]`, like every generic function that it calls.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// What a kernel may ask of an instruction set.
///
/// The number of lanes is fixed and the meaning of every method is exact, apart from two freedoms: [`Self::mul_add`]
/// rounds once or twice, and [`Self::sum`] adds in any order.
pub trait Isa: Copy + core::fmt::Debug + Send + Sync + 'static {
    /// Eight `f32`.
    type F32x8: Copy;
    /// Eight `i32`: a dot product's partial sums, four products each; the first four are of the first 16 bytes.
    type I32x8: Copy;
    /// 32 bytes, signed or not as the method says.
    type I8x32: Copy;

    /// How many vectors of eight lanes the registers hold.
    const REGISTERS: usize = 16;

    /// Runs a kernel inside a function marked for this instruction set, which may stay a call of its own: a way for
    /// many kernels to share a large piece.
    fn enter<K: Kernel>(self, kernel: K) -> K::Output;

    /// Asks for the cache line at an address that will be read soon; any address will do.
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        let _ = at;
    }

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F32x8;
    /// `low` in the first four lanes, `high` in the others.
    fn splat2(self, low: f32, high: f32) -> Self::F32x8;
    /// `x[0], x[0], x[1], x[1], ...`
    fn double(self, x: &[f32; 4]) -> Self::F32x8;
    /// From memory, of any alignment.
    fn load(self, x: &[f32; 8]) -> Self::F32x8;
    /// To memory.
    fn store(self, v: Self::F32x8, to: &mut [f32; 8]);
    /// `a + b`.
    fn add(self, a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
    /// `a * b`.
    fn mul(self, a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
    /// `a * b + c`.
    fn mul_add(self, a: Self::F32x8, b: Self::F32x8, c: Self::F32x8) -> Self::F32x8;
    /// `c - a * b`.
    fn neg_mul_add(self, a: Self::F32x8, b: Self::F32x8, c: Self::F32x8) -> Self::F32x8;
    /// The greater of `|a|` and `|b|`, lane by lane; NaN is greater than any number.
    fn max_abs(self, a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
    /// `a / b`.
    fn div(self, a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
    /// The lesser of `a` and `b`, lane by lane; `b` where one of them is NaN.
    fn min(self, a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
    /// The greater of `a` and `b`, lane by lane; `b` where one of them is NaN.
    fn max(self, a: Self::F32x8, b: Self::F32x8) -> Self::F32x8;
    /// `v`, but 0 where `x` is below `least`.
    fn zero_below(self, v: Self::F32x8, x: Self::F32x8, least: f32) -> Self::F32x8;
    /// `v * 2^n` where `n + 1.5 * 2^23` is given, which has the integer in its low bits; the product must be a normal
    /// number, or the lane is unspecified.
    fn times_power_of_2(self, v: Self::F32x8, n: Self::F32x8) -> Self::F32x8;
    /// The sum of all lanes.
    fn sum(self, v: Self::F32x8) -> f32;
    /// Rows become columns: lane `i` of vector `j` goes to lane `j` of vector `i`.
    #[inline(always)]
    fn transpose(self, rows: [Self::F32x8; 8]) -> [Self::F32x8; 8] {
        let (mut columns, mut out) = ([[0.0; 8]; 8], rows);
        for j in 0..8 {
            let row = self.to_array(rows[j]);
            for i in 0..8 {
                columns[i][j] = row[i];
            }
        }
        for i in 0..8 {
            out[i] = self.load(&columns[i]);
        }
        out
    }
    /// Converts from half precision, exactly.
    fn widen_f16(self, bits: [u16; 8]) -> Self::F32x8;
    /// A half in every lane. Outer scales of blocks are often subnormal halves, which arithmetic on their bits as
    /// `f32` takes a detour for.
    #[inline(always)]
    fn splat_f16(self, bits: u16) -> Self::F32x8 {
        self.splat(float16::f16_to_f32(bits))
    }
    /// Converts to half precision, to nearest even.
    fn narrow_f16(self, v: Self::F32x8) -> [u16; 8];
    /// Converts from bfloat16, exactly.
    fn widen_bf16(self, bits: [u16; 8]) -> Self::F32x8;
    /// Converts from bytes.
    fn float_u8(self, x: [u8; 8]) -> Self::F32x8;
    /// Converts from signed bytes.
    fn float_i8(self, x: [i8; 8]) -> Self::F32x8;
    /// Converts from integers below 2^24, exactly.
    fn float_i32(self, v: Self::I32x8) -> Self::F32x8;

    /// From memory, of any alignment.
    fn load_bytes(self, x: &[u8; 32]) -> Self::I8x32;
    /// `x` in every byte.
    fn splat_bytes(self, x: u8) -> Self::I8x32;
    /// To memory.
    fn store_bytes(self, v: Self::I8x32, to: &mut [u8; 32]);
    /// The low nibbles of 16 bytes, then their high nibbles.
    fn nibbles(self, x: &[u8; 16]) -> Self::I8x32;
    /// 32 bytes, eight in each number, the first in its low bits.
    fn join(self, x: [u64; 4]) -> Self::I8x32;
    /// `(v >> shift) & mask` in every byte; `mask` must not reach the bits that the shift brings in from above, so
    /// `mask <= 0xff >> shift`.
    fn field(self, v: Self::I8x32, shift: u32, mask: u8) -> Self::I8x32;
    /// `(v & mask) << shift` in every byte; `mask` must not reach the bits that are shifted out.
    fn raise(self, v: Self::I8x32, mask: u8, shift: u32) -> Self::I8x32;
    /// `a | b`.
    fn or(self, a: Self::I8x32, b: Self::I8x32) -> Self::I8x32;
    /// Byte `i` is `value` where bit `i` of `bits` is set, else 0.
    fn spread(self, bits: u32, value: u8) -> Self::I8x32;
    /// Byte `i`, a signed one, with the other sign where bit `i` of `signs` is set.
    fn negate(self, v: Self::I8x32, signs: u32) -> Self::I8x32;
    /// `table[index]` for every byte; every index must be below 16.
    fn lookup(self, table: &[i8; 16], index: Self::I8x32) -> Self::I8x32;
    /// Rounds 32 numbers to nearest even integers; those must fit, or the bytes are unspecified.
    fn round(self, v: [Self::F32x8; 4]) -> Self::I8x32;

    /// Products of unsigned `w`, at most 127, and signed `x`, at least -127, summed by fours.
    fn dot_u7(self, w: Self::I8x32, x: Self::I8x32) -> Self::I32x8;
    /// Products of signed `w` and signed `x`, which must be at least -127, summed by fours.
    fn dot_i8(self, w: Self::I8x32, x: Self::I8x32) -> Self::I32x8;

    /// `a + b`.
    fn add_i32(self, a: Self::I32x8, b: Self::I32x8) -> Self::I32x8;

    /// Products of 128 unsigned `w`, at most 3, and 128 signed `x`, at least -127, summed by fours and added to `sum`.
    #[inline(always)]
    fn dot_u2(self, w: [Self::I8x32; 4], x: &[[u8; 32]; 4], sum: Self::I32x8) -> Self::I32x8 {
        let low = self
            .add_i32(self.dot_u7(w[0], self.load_bytes(&x[0])), self.dot_u7(w[1], self.load_bytes(&x[1])));
        let high = self
            .add_i32(self.dot_u7(w[2], self.load_bytes(&x[2])), self.dot_u7(w[3], self.load_bytes(&x[3])));
        self.add_i32(sum, self.add_i32(low, high))
    }

    /// The digit at the top of every byte, a fraction of 256 written in base three, after it was multiplied by the power
    /// for its pair of bytes, a byte too: `(v * power % 256) * 3 / 256`.
    #[inline(always)]
    fn digits(self, v: Self::I8x32, powers: &[u16; 16]) -> Self::I8x32 {
        let mut bytes = [0; 32];
        self.store_bytes(v, &mut bytes);
        for (pair, power) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(powers) {
            pair[0] = ((u16::from(pair[0].wrapping_mul(*power as u8)) * 3) >> 8) as u8;
            pair[1] = ((u16::from(pair[1].wrapping_mul(*power as u8)) * 3) >> 8) as u8;
        }
        self.load_bytes(&bytes)
    }

    /// [`Self::tokens`] for ternary weights and activations that share a scale.
    #[inline(always)]
    fn ternary_tokens<F: Ternary>(self, rows: Rows<'_, '_>) {
        ternary::one_by_one::<F, Self>(self, rows);
    }

    /// Multiplies rows of integer weights with several tokens: a way round the generic kernel for instruction sets
    /// that can do more than this trait asks.
    #[inline(always)]
    fn tokens<F: Lanes>(self, rows: Rows<'_, '_>) {
        integers::tokens::<F, Self>(self, rows);
    }

    /// Whether [`Self::tokens`] wants activations in 16 bits too, and [`Self::fours`] those of one token [split](Split),
    /// for weights that have signs or for those without.
    #[inline(always)]
    fn widens(self, signed: bool) -> bool {
        let _ = signed;
        false
    }

    /// Integers of one token as [`Self::fours`] wants them where [`Self::widens`] says so.
    #[inline(always)]
    fn split(self, x: &[u8; 32]) -> Split {
        let _ = x;
        unreachable!("only asked for where activations are wide")
    }

    /// Likewise of several: two halves of 16 numbers in 16 bits, and for each the sum of the first of every quad times the
    /// third, and the second times the fourth.
    #[inline(always)]
    fn widen(self, x: &[u8; 32]) -> ([[[u8; 8]; 4]; 2], [i32; 2]) {
        let _ = x;
        unreachable!("only asked for where activations are wide")
    }

    /// [`Self::tokens`] with one token.
    #[inline(always)]
    fn one_token<F: Lanes>(self, rows: Rows<'_, '_>) {
        integers::one_token::<F, Self>(self, rows);
    }

    /// The same with any number of tokens and rows that lie by fours.
    #[inline(always)]
    fn fours<F: Fours>(self, rows: Rows<'_, '_>) {
        Decoded(rows).run(self);
    }

    /// [`Isa::tokens`] for float weights.
    #[inline(always)]
    fn float_tokens<F: Floats>(self, rows: Rows<'_, '_>) {
        floats::tokens::<F, Self>(self, rows);
    }

    /// Nothing yet: a sum's start.
    #[inline(always)]
    fn zero(self) -> Self::F32x8 {
        self.splat(0.0)
    }

    /// `-v`.
    #[inline(always)]
    fn neg(self, v: Self::F32x8) -> Self::F32x8 {
        self.mul(v, self.splat(-1.0))
    }

    /// The lanes, in order.
    #[inline(always)]
    fn to_array(self, v: Self::F32x8) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        self.store(v, &mut lanes);
        lanes
    }

    /// The sum of `a[i] * b[i]`.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline(always)]
    fn dot_f32(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        let ((a4, a1), (b4, b1)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
        // Four sums hide the latency of one multiply-add.
        let mut acc = [self.zero(); 4];
        for (a, b) in a4.iter().zip(b4) {
            for i in 0..4 {
                acc[i] = self.mul_add(self.load(&a[i]), self.load(&b[i]), acc[i]);
            }
        }
        for (a, b) in a1.iter().zip(b1) {
            acc[0] = self.mul_add(self.load(a), self.load(b), acc[0]);
        }
        let mut sum = self.sum(self.add(self.add(acc[0], acc[1]), self.add(acc[2], acc[3])));
        for (a, b) in a_rest.iter().zip(b_rest) {
            sum += a * b;
        }
        sum
    }

    /// `y[i] += a * x[i]`.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline(always)]
    fn axpy_f32(self, a: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<8>(), y.as_chunks_mut::<8>());
        let factor = self.splat(a);
        for (x, y) in x.iter().zip(y) {
            self.store(self.mul_add(factor, self.load(x), self.load(y)), y);
        }
        for (x, y) in x_rest.iter().zip(y_rest) {
            *y += a * x;
        }
    }

    /// Rounds to little-endian half precision, to nearest even; what is too large becomes infinite.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline(always)]
    fn encode_f16(self, x: &[f32], to: &mut [[u8; 2]]) {
        assert_eq!(x.len(), to.len());
        let ((x, x_rest), (to, to_rest)) = (x.as_chunks::<8>(), to.as_chunks_mut::<8>());
        for (x, to) in x.iter().zip(to) {
            *to = self.narrow_f16(self.load(x)).map(u16::to_le_bytes);
        }
        for (x, to) in x_rest.iter().zip(to_rest) {
            *to = float16::f32_to_f16(*x).to_le_bytes();
        }
    }

    /// Converts from little-endian half precision, exactly.
    ///
    /// # Panics
    /// When the lengths differ.
    #[inline(always)]
    fn decode_f16(self, halves: &[[u8; 2]], to: &mut [f32]) {
        assert_eq!(halves.len(), to.len());
        let ((x, _), (to, to_rest)) = (halves.as_flattened().as_chunks(), to.as_chunks_mut::<8>());
        for (x, to) in x.iter().zip(to) {
            self.store(self.widen_f16(u16s(x)), to);
        }
        for (x, to) in halves[x.len() * 8..].iter().zip(to_rest) {
            *to = float16::f16_to_f32(u16::from_le_bytes(*x));
        }
    }
}

/// Little-endian 16-bit numbers as they lie in a file.
#[inline(always)]
pub(crate) fn u16s(bytes: &[u8; 16]) -> [u16; 8] {
    // SAFETY: any bytes are numbers, and the sizes are the same.
    let numbers: [u16; 8] = unsafe { core::mem::transmute(*bytes) };
    numbers.map(u16::from_le)
}

/// Little-endian floats as they lie in a file.
#[inline(always)]
pub(crate) fn f32s(bytes: &[u8; 32]) -> [f32; 8] {
    // SAFETY: any bytes are numbers, and the sizes are the same.
    let bits: [u32; 8] = unsafe { core::mem::transmute(*bytes) };
    bits.map(|bits| f32::from_bits(u32::from_le(bits)))
}

/// [`Isa::dot_f32`] on its own.
pub fn dot_f32(level: Level, a: &[f32], b: &[f32]) -> f32 {
    struct Call<'a>(&'a [f32], &'a [f32]);
    impl Kernel for Call<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> f32 {
            isa.dot_f32(self.0, self.1)
        }
    }
    level.run(Call(a, b))
}

/// [`Isa::axpy_f32`] on its own.
pub fn axpy_f32(level: Level, a: f32, x: &[f32], y: &mut [f32]) {
    struct Call<'a>(f32, &'a [f32], &'a mut [f32]);
    impl Kernel for Call<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            isa.axpy_f32(self.0, self.1, self.2);
        }
    }
    level.run(Call(a, x, y));
}

/// [`Isa::encode_f16`] on its own.
pub fn encode_f16(level: Level, x: &[f32], to: &mut [[u8; 2]]) {
    struct Call<'a>(&'a [f32], &'a mut [[u8; 2]]);
    impl Kernel for Call<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            isa.encode_f16(self.0, self.1);
        }
    }
    level.run(Call(x, to));
}

/// [`Isa::decode_f16`] on its own.
pub fn decode_f16(level: Level, halves: &[[u8; 2]], to: &mut [f32]) {
    struct Call<'a>(&'a [[u8; 2]], &'a mut [f32]);
    impl Kernel for Call<'_> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            isa.decode_f16(self.0, self.1);
        }
    }
    level.run(Call(halves, to));
}
