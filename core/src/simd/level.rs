//! The instruction sets that there are, as a value.

use super::*;

/// An instruction set that this processor has, and with it the way into its kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Plain Rust, for every processor; what the others are tested against.
    #[cfg(any(feature = "scalar", not(target_feature = "simd128")))]
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// The same with byte dot products on its registers.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI, and perhaps BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 64-bit Arm with NEON.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(Neon),
    /// The same with byte dot products.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Dotprod(Dotprod),
    /// The same with products of matrices of bytes.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    I8mm(I8mm),
    /// WebAssembly with 128-bit vectors, relaxed ones where the module is compiled for them.
    #[cfg(target_feature = "simd128")]
    Simd128(Simd128),
}

impl Level {
    /// The best level that the compiler's own target promises, without asking the processor.
    pub const fn baseline() -> Self {
        #[cfg(all(
            target_arch = "x86_64",
            target_feature = "avx2",
            target_feature = "fma",
            target_feature = "f16c",
            target_feature = "avx512f",
            target_feature = "avx512bw",
            target_feature = "avx512dq",
            target_feature = "avx512vl",
            target_feature = "avx512vnni"
        ))]
        // SAFETY: the whole program is compiled for processors that have these.
        return Self::Avx512(unsafe {
            let avx512 = Avx512::new_unchecked(Avx2::new_unchecked());
            if cfg!(target_feature = "avx512bf16") { avx512.with_bf16() } else { avx512 }
        });
        #[cfg(all(
            target_arch = "x86_64",
            target_feature = "avx2",
            target_feature = "fma",
            target_feature = "f16c"
        ))]
        #[allow(unreachable_code, reason = "where the target promises more")]
        // SAFETY: the whole program is compiled for processors that have these.
        return Self::Avx2(unsafe { Avx2::new_unchecked() });
        #[cfg(all(
            target_arch = "aarch64",
            target_feature = "neon",
            target_feature = "dotprod",
            target_feature = "i8mm"
        ))]
        // SAFETY: the whole program is compiled for processors that have these.
        return Self::I8mm(unsafe { I8mm::new_unchecked(Dotprod::new_unchecked()) });
        #[cfg(all(target_arch = "aarch64", target_feature = "neon", target_feature = "dotprod"))]
        #[allow(unreachable_code, reason = "where the target promises more")]
        // SAFETY: the whole program is compiled for processors that have it.
        return Self::Dotprod(unsafe { Dotprod::new_unchecked() });
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        #[allow(unreachable_code, reason = "where the target promises more")]
        return Self::Neon(Neon);
        #[cfg(target_feature = "simd128")]
        return Self::Simd128(Simd128);
        #[cfg(any(feature = "scalar", not(target_feature = "simd128")))]
        #[allow(unreachable_code, reason = "what is left when the target promises nothing")]
        Self::Scalar
    }

    /// `scalar`, `avx2`, ...
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(any(feature = "scalar", not(target_feature = "simd128")))]
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) if isa.bf16().is_some() => "avx512-bf16",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Neon(_) => "neon",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Dotprod(_) => "dotprod",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::I8mm(_) => "i8mm",
            #[cfg(target_feature = "simd128")]
            Self::Simd128(_) if cfg!(target_feature = "relaxed-simd") => "relaxed",
            #[cfg(target_feature = "simd128")]
            Self::Simd128(_) => "simd128",
        }
    }

    /// Runs a kernel on this level's instructions.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(any(feature = "scalar", not(target_feature = "simd128")))]
            Self::Scalar => Scalar.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.enter(kernel),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Neon(isa) => isa.enter(kernel),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::Dotprod(isa) => isa.enter(kernel),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Self::I8mm(isa) => isa.enter(kernel),
            #[cfg(target_feature = "simd128")]
            Self::Simd128(isa) => isa.enter(kernel),
        }
    }
}
