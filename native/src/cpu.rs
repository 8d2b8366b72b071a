//! Which instructions this processor has.
#![allow(unsafe_code)]

use motelm_core::simd::Level;

/// The best level of this processor.
pub fn detect() -> Level {
    levels().pop().expect("there is always the scalar level")
}

/// Every level of this processor, the best one last.
pub fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        use motelm_core::simd::{Avx2, Avx512, AvxVnni};
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            // SAFETY: the processor has just said so.
            let avx2 = unsafe { Avx2::new_unchecked() };
            levels.push(Level::Avx2(avx2));
            if is_x86_feature_detected!("avxvnni") {
                // SAFETY: the processor has just said so.
                levels.push(Level::AvxVnni(unsafe { AvxVnni::new_unchecked(avx2) }));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                // SAFETY: the processor has just said so.
                let avx512 = unsafe { Avx512::new_unchecked(avx2) };
                levels.push(Level::Avx512(avx512));
                if is_x86_feature_detected!("avx512bf16") {
                    // SAFETY: the processor has just said so.
                    levels.push(Level::Avx512(unsafe { avx512.with_bf16() }));
                }
            }
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use motelm_core::simd::{Dotprod, I8mm, Neon};
        levels.push(Level::Neon(Neon));
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            // SAFETY: the processor has just said so.
            let dotprod = unsafe { Dotprod::new_unchecked() };
            levels.push(Level::Dotprod(dotprod));
            if std::arch::is_aarch64_feature_detected!("i8mm") {
                // SAFETY: the processor has just said so.
                levels.push(Level::I8mm(unsafe { I8mm::new_unchecked(dotprod) }));
            }
        }
    }
    if !levels.contains(&Level::baseline()) {
        levels.push(Level::baseline());
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_level_is_at_least_what_the_compiler_assumes() {
        let levels = levels();
        assert_eq!(levels[0], Level::Scalar);
        assert!(levels.contains(&Level::baseline()));
        assert_eq!(levels.last(), Some(&detect()));
    }
}
