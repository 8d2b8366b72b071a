//! What measurements have in common: numbers to work on, and what this machine can do at most, of which every measured
//! speed is a share.
//!
//! Generating a token reads every weight once, so it cannot be faster than memory gives them ([`read_bandwidth`]).
//! Reading a prompt uses every weight once per token, so it cannot be faster than the processor multiplies bytes
//! ([`integer_peak`]). Both are measured with the plainest loop there is, on one or more threads.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

/// Numbers without a pattern, around 0.
pub fn numbers(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Bytes that are read: many times what the caches hold.
const BUFFER: usize = 512 << 20;

/// Bytes that are timed at once: short enough that most parts pass undisturbed on a busy machine.
const PART: usize = 4 << 20;

/// Bytes per second that `threads` threads read from memory together. Each thread counts as fast as it was in the best
/// tenth of its parts, since whatever else happens on the machine only makes it slower.
pub fn read_bandwidth(threads: usize) -> f64 {
    let buffer = vec![1u64; BUFFER / 8];
    let share = buffer.len().div_ceil(threads.max(1));
    thread::scope(|scope| {
        let readers: Vec<_> = buffer.chunks(share).map(|part| scope.spawn(move || read_rate(part))).collect();
        readers.into_iter().map(|reader| reader.join().expect("reading does not fail")).sum()
    })
}

fn read_rate(buffer: &[u64]) -> f64 {
    let rate = |part: &[u64]| {
        let start = Instant::now();
        black_box(sum(part));
        size_of_val(part) as f64 / start.elapsed().as_secs_f64()
    };
    let mut rates: Vec<f64> = buffer.chunks_exact(PART / 8).map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() * 9 / 10]
}

/// Many sums side by side, so that loads and not additions set the pace.
fn sum(numbers: &[u64]) -> u64 {
    let (wide, rest) = numbers.as_chunks::<32>();
    let mut sums = [0u64; 32];
    for numbers in wide {
        sums.iter_mut().zip(numbers).for_each(|(sum, x)| *sum = sum.wrapping_add(*x));
    }
    sums.iter().chain(rest).fold(0, |sum, x| sum.wrapping_add(*x))
}

/// The instruction that multiplies bytes fastest here, and how many operations a second one thread does with it (a
/// multiplication and an addition are two); `None` where none is known.
pub fn integer_peak() -> Option<(&'static str, f64)> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the processor has just said that it has both.
            let run = || unsafe { x86::vnni_512() };
            return Some(("vpdpbusd zmm", best_of(1000, run)));
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it has it.
            let run = || unsafe { x86::avx2() };
            return Some(("vpmaddubsw + vpmaddwd + vpaddd ymm", best_of(1000, run)));
        }
    }
    None
}

/// The highest rate of `n` runs; a run says how much it did.
fn best_of(n: usize, mut run: impl FnMut() -> f64) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        run() / start.elapsed().as_secs_f64()
    };
    (0..n).map(rate).fold(0.0, f64::max)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    const ROUNDS: usize = 1 << 14;

    /// Sixteen sums that do not wait for each other: more than the latency times the units. Returns operations.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn vnni_512() -> f64 {
        let (a, b) = black_box((_mm512_set1_epi8(3), _mm512_set1_epi8(5)));
        let mut sums = [_mm512_setzero_si512(); 16];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
        (ROUNDS * sums.len() * 64 * 2) as f64
    }

    /// The same in the three instructions of AVX2; the inputs change, so that no product is computed beforehand.
    #[target_feature(enable = "avx2")]
    pub fn avx2() -> f64 {
        let (a, b, ones) = black_box((_mm256_set1_epi8(3), _mm256_set1_epi8(5), _mm256_set1_epi16(1)));
        let mut sums = [_mm256_setzero_si256(); 8];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                let pairs = _mm256_maddubs_epi16(_mm256_xor_si256(a, *sum), b);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        black_box(sums);
        (ROUNDS * sums.len() * 32 * 2) as f64
    }
}
