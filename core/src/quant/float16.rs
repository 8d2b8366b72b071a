//! The two 16-bit floats, to and from f32, without a branch on the way that kernels take.

/// An IEEE half (1 sign, 5 exponent, 10 fraction bits) as f32; exact.
///
/// The bits are moved to their f32 places, which leaves the exponent 112 too low; a multiplication puts that right,
/// and normalises subnormal halves on the way. Infinity and NaN need the exponent filled up.
#[inline(always)]
pub const fn f16_to_f32(half: u16) -> f32 {
    const TWO_POW_112: f32 = f32::from_bits((127 + 112) << 23);
    let sign = (half as u32 & 0x8000) << 16;
    let magnitude = (half as u32 & 0x7fff) << 13;
    let special = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 } else { 0 };
    f32::from_bits((f32::from_bits(magnitude) * TWO_POW_112).to_bits() | special | sign)
}

/// The nearest IEEE half, ties to even; too large becomes infinity, NaN stays NaN.
#[inline(always)]
pub const fn f32_to_f16(x: f32) -> u16 {
    const HALF: f32 = 0.5;
    const MIN_NORMAL: u32 = (127 - 14) << 23;
    const ROUNDS_TO_INFINITY: u32 = 0x477f_f000;
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude >= ROUNDS_TO_INFINITY {
        0x7c00
    } else if magnitude < MIN_NORMAL {
        // A unit of a subnormal half is a unit in the last place of 0.5, so this addition rounds there.
        (f32::from_bits(magnitude) + HALF).to_bits() - HALF.to_bits()
    } else {
        let round = 0x0fff + (magnitude >> 13 & 1);
        ((magnitude + round) >> 13) - (112 << 10)
    };
    sign | half as u16
}

/// A bfloat (the upper half of an f32) as f32; exact.
#[inline(always)]
pub const fn bf16_to_f32(bfloat: u16) -> f32 {
    f32::from_bits((bfloat as u32) << 16)
}

/// The nearest bfloat, ties to even; NaN stays NaN.
#[inline(always)]
pub const fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The IEEE half that lies at byte `at`, as f32.
#[inline(always)]
pub(crate) fn read_f16(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Writes `x` as IEEE half at byte `at`, and says which value that is.
pub(crate) fn write_f16(bytes: &mut [u8], at: usize, x: f32) -> f32 {
    let half = f32_to_f16(x);
    bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
    f16_to_f32(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        for half in 0..=u16::MAX {
            let x = f16_to_f32(half);
            if x.is_nan() {
                assert!(f16_to_f32(f32_to_f16(x)).is_nan());
            } else {
                assert_eq!(f32_to_f16(x), half, "{x}");
            }
        }
    }

    #[test]
    fn known_halves() {
        for (half, x) in [
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f16_to_f32(half), x);
        }
    }

    #[test]
    fn halves_round_to_even() {
        for half in (0..0x7bff).chain(0x8000..0xfbff) {
            let (low, high) = (f16_to_f32(half), f16_to_f32(half + 1));
            let middle = (low + high) / 2.0;
            let even = half + (half & 1);
            assert_eq!(f32_to_f16(middle), even, "{middle}");
            let (inner, outer) = (middle.to_bits() - 1, middle.to_bits() + 1);
            assert_eq!(f32_to_f16(f32::from_bits(inner)), half);
            assert_eq!(f32_to_f16(f32::from_bits(outer)), half + 1);
        }
        assert_eq!(f32_to_f16(65519.996), 0x7bff);
        assert_eq!(f32_to_f16(65520.0), 0x7c00);
    }

    #[test]
    fn every_bfloat_survives_the_way_there_and_back() {
        for bfloat in 0..=u16::MAX {
            let x = bf16_to_f32(bfloat);
            assert!(f32_to_bf16(x) == bfloat || x.is_nan() && bf16_to_f32(f32_to_bf16(x)).is_nan());
        }
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
    }
}
