//! Types whose block is one element: floats and integers as they are, little-endian.

use super::float16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use super::search::round;
use super::{Format, meets_floats};
use crate::ops::floats::Floats;
use crate::simd::{Isa, f32s, u16s};

macro_rules! plain {
    ($(#[$doc:meta])* $name:ident = $id:literal as $number:ident, $decode:expr, $encode:expr $(; $meets:ident)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Format for $name {
            $($meets!();)?

            const ID: u32 = $id;
            const BLOCK: usize = 1;
            const BYTES: usize = size_of::<$number>();

            #[inline]
            fn decode(block: &[u8], out: &mut [f32]) {
                const DECODE: fn($number) -> f32 = $decode;
                let mut number = [0; Self::BYTES];
                number.copy_from_slice(block);
                out[0] = DECODE($number::from_le_bytes(number));
            }

            #[inline]
            fn encode(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) {
                const ENCODE: fn(f32) -> $number = $encode;
                out.copy_from_slice(&ENCODE(x[0]).to_le_bytes());
            }
        }
    };
}

plain! {
    /// Single precision.
    F32 = 0 as f32, |number| number, |x| x; meets_floats
}
plain! {
    /// IEEE half precision.
    F16 = 1 as u16, f16_to_f32, f32_to_f16; meets_floats
}
plain! {
    /// The upper half of single precision.
    BF16 = 30 as u16, bf16_to_f32, f32_to_bf16; meets_floats
}
plain! {
    /// Double precision; decoding rounds.
    F64 = 28 as f64, |number| number as f32, f64::from
}
plain! {
    /// Signed bytes; encoding rounds and saturates, here and below.
    I8 = 24 as i8, f32::from, |x| round(x).clamp(-128, 127) as i8
}
plain! {
    /// 16-bit integers.
    I16 = 25 as i16, f32::from, |x| round(x).clamp(-32768, 32767) as i16
}
plain! {
    /// 32-bit integers; decoding rounds.
    I32 = 26 as i32, |number| number as f32, round
}
plain! {
    /// 64-bit integers; decoding rounds.
    I64 = 27 as i64, |number| number as f32, |x| if x.abs() < 1e6 { round(x).into() } else { x as i64 }
}

macro_rules! floats {
    ($name:ident, $bytes:literal, bfloats: $bfloats:literal, |$isa:ident, $eight:ident| $load:expr) => {
        impl Floats for $name {
            type Eight = [u8; $bytes];
            const ZERO: Self::Eight = [0; $bytes];
            const BFLOATS: bool = $bfloats;

            #[inline(always)]
            fn eights(row: &[u8]) -> (&[Self::Eight], &[u8]) {
                row.as_chunks()
            }

            #[inline(always)]
            fn load<I: Isa>($isa: I, $eight: &Self::Eight) -> I::F32x8 {
                $load
            }
        }
    };
}

floats!(F32, 32, bfloats: false, |isa, eight| isa.load(&f32s(eight)));
floats!(F16, 16, bfloats: false, |isa, eight| isa.widen_f16(u16s(eight)));
floats!(BF16, 16, bfloats: true, |isa, eight| isa.widen_bf16(u16s(eight)));
