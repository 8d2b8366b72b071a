//! Every format on every instruction set of this machine, against sums in f64.

use motelm_core::exec::{Executor, Inline};
use motelm_core::ops::matmul::{Activations, Cx, Input, Matrix, Precision, matmul};
use motelm_core::quant::float16::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use motelm_core::quant::fours::{self, Layout};
use motelm_core::quant::{Dtype, Meets, Rounding, dequantize, dequantize_tensor, quantize};
use motelm_core::simd::{self, Level};
use motelm_tests::levels;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Numbers that look random, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Roughly normal, deviation about 1.
    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.next() as f32 / 2f32.powi(31) - 0.5).sum::<f32>() * 1.4
    }

    fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// Tasks on threads of their own; without threads, backwards.
struct Scoped;

// SAFETY: the scope joins all threads, each of which ran one index; so does the loop.
unsafe impl Executor for Scoped {
    fn width(&self) -> usize {
        3
    }

    #[cfg(target_family = "wasm")]
    fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..n).rev().for_each(task);
    }

    #[cfg(not(target_family = "wasm"))]
    fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for i in 0..n {
                scope.spawn(move || task(i));
            }
        });
    }
}

/// The bytes of a matrix; encoding takes its time, so a few rows are repeated.
fn encoded(dtype: Dtype, rows: usize, cols: usize, mut weight: impl FnMut() -> f32) -> Vec<u8> {
    let some = rows.min(7);
    let mut bytes = vec![0; dtype.tensor_bytes(&[cols, some, 1, 1]).unwrap()];
    let weights: Vec<f32> = (0..some * cols).map(|_| weight()).collect();
    quantize(dtype, &weights, cols, None, &mut bytes).unwrap();
    let (blocks, tail) = bytes.split_at(bytes.len() - dtype.tail_bytes());
    let row = |r| &blocks[r % some * (blocks.len() / some)..][..blocks.len() / some];
    (0..rows).flat_map(row).chain(tail).copied().collect()
}

fn product(cx: &Cx<'_>, w: &Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let tokens = x.len() / w.cols();
    let mut activations = Activations::new(tokens, w.cols());
    let x = activations.prepare(cx, x, w.cols(), [w.dtype()]);
    let mut out = vec![f32::NAN; tokens * w.rows()];
    matmul(cx, w, &x, &mut out);
    out
}

/// What `Activations` promises: 32 values, 256, or all of a token share a scale of `max / 127` and become integers.
fn rounded(x: &[f32], cols: usize, rounding: Rounding) -> Vec<f32> {
    let shared = match rounding {
        Rounding::Groups => 32,
        Rounding::Steps => 256,
        Rounding::Tokens => cols,
    };
    let group = |x: &[f32]| {
        let scale = x.iter().fold(0f32, |max, x| max.max(x.abs())) / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        x.iter().map(|x| scale * (x * inverse).round_ties_even()).collect::<Vec<_>>()
    };
    x.chunks(cols).flat_map(|x| x.chunks(shared)).flat_map(group).collect()
}

/// Row lengths to try: whole blocks, also where they do not fill a step or a vector.
fn cols_to_try(dtype: Dtype) -> Vec<usize> {
    match dtype.block_len() {
        1 => vec![1, 7, 8, 33, 64, 300, 1100],
        n => {
            [1, 2, 3, 4, 5, 9, 17].into_iter().map(|blocks| n * blocks).filter(|&cols| cols <= 2560).collect()
        }
    }
}

#[test]
fn every_format_on_every_level_is_the_sum_of_products() {
    let mut random = Random(1);
    for &dtype in Dtype::ALL {
        for cols in cols_to_try(dtype) {
            for rows in [1, 3, 49] {
                // Integer types round to whole numbers.
                let bytes = encoded(dtype, rows, cols, || random.normal() * 10.0);
                let mut weights = vec![0.0; rows * cols];
                dequantize_tensor(dtype, &bytes, &mut weights).unwrap();
                let w = Matrix::new(dtype, rows, cols, &bytes).unwrap();
                for tokens in [1, 2, 5, 7, 13] {
                    let x = random.normals(tokens * cols);
                    check_levels(&w, &weights, &x);
                }
            }
        }
    }
}

/// Kernels take so many at once, which differs; 273 is more than one such number of all of them and no multiple of any.
#[test]
fn hundreds_of_tokens_are_multiplied_like_few() {
    let mut random = Random(16);
    let (rows, tokens) = (11, 273);
    for (dtype, cols) in [(Dtype::Q8_0, 2336), (Dtype::Q4_0, 96), (Dtype::Q4_K, 512), (Dtype::Q6_K, 2304)] {
        let bytes = encoded(dtype, rows, cols, || random.normal() * 10.0);
        let mut weights = vec![0.0; rows * cols];
        dequantize_tensor(dtype, &bytes, &mut weights).unwrap();
        let w = Matrix::new(dtype, rows, cols, &bytes).unwrap();
        check_levels(&w, &weights, &random.normals(tokens * cols));
    }
}

#[test]
fn rows_by_fours_are_multiplied_like_rows() {
    let mut random = Random(12);
    for dtype in BY_FOURS {
        for cols in [32, 96, 256, 288, 576, 2336] {
            for rows in [4, 8, 12, 20, 52] {
                let file = encoded(dtype, rows, cols, || random.normal() * 10.0);
                let bytes = by_fours(dtype, cols, &file);
                let mut weights = vec![0.0; rows * cols];
                dequantize_tensor(dtype, &file, &mut weights).unwrap();
                let w = Matrix::new(dtype, rows, cols, &bytes).unwrap().laid(Layout::Fours);
                for tokens in [1, 2, 4, 7] {
                    check_levels(&w, &weights, &random.normals(tokens * cols));
                }
                let mut row = vec![0.0; cols];
                w.row(rows - 2, &mut row);
                assert_eq!(row, weights[(rows - 2) * cols..][..cols], "{dtype}");
            }
        }
    }
}

/// Every byte there is, with both signs of activations as large as they get: sums in 16 bits must not overflow.
#[test]
fn the_largest_sums_of_rows_by_fours_fit() {
    for dtype in BY_FOURS {
        let block = dtype.block_bytes();
        for byte in 0..=255 {
            let mut file = vec![byte; 4 * 2 * block];
            file.chunks_mut(block).for_each(|block| block[..2].copy_from_slice(&[0, 0x3c])); // times 1
            let mut weights = vec![0.0; 4 * 64];
            dequantize_tensor(dtype, &file, &mut weights).unwrap();
            if weights.iter().all(|w| *w == 0.0) {
                continue; // tolerances are parts of the largest weight
            }
            let bytes = by_fours(dtype, 64, &file);
            let w = Matrix::new(dtype, 4, 64, &bytes).unwrap().laid(Layout::Fours);
            for x in [[1.0; 128], [-1.0; 128], core::array::from_fn(|i| if i % 3 == 0 { 1.0 } else { -1.0 })]
            {
                check_levels(&w, &weights, &x[..64]);
                check_levels(&w, &weights, &x);
            }
        }
    }
}

/// The types of which rows can lie by fours.
const BY_FOURS: [Dtype; 3] = [Dtype::Q4_0, Dtype::Q5_0, Dtype::Q8_0];

fn by_fours(dtype: Dtype, cols: usize, file: &[u8]) -> Vec<u8> {
    let four = 4 * dtype.row_bytes(cols).unwrap();
    let mut laid = vec![0; file.len()];
    file.chunks(four).zip(laid.chunks_mut(four)).for_each(|(rows, to)| fours::lay(dtype, rows, to));
    laid
}

fn check_levels(w: &Matrix<'_>, weights: &[f32], x: &[f32]) {
    for precision in [Precision::Exact, Precision::Fast] {
        let rows = || weights.chunks_exact(w.cols());
        let expected_of = |x: &[f32]| -> Vec<_> {
            x.chunks(w.cols()).flat_map(|x| rows().map(|w| sum_of_products(w, x))).collect()
        };
        let expected = expected_of(&match (precision, w.dtype().meets()) {
            (Precision::Fast, Meets::Integers) => rounded(x, w.cols(), w.dtype().rounding()),
            _ => x.to_vec(),
        });
        for level in levels() {
            let bfloats = level.name() == "avx512-bf16" && w.dtype() == Dtype::BF16;
            let bfloats = bfloats && precision == Precision::Fast && x.len() > w.cols();
            // Of rows by fours only these instructions know more than to decode them.
            let decodes = w.layout() == Layout::Fours && !matches!(level.name(), "simd128" | "relaxed");
            let expected = match (bfloats, decodes) {
                (true, _) => {
                    &expected_of(&x.iter().map(|&x| bf16_to_f32(f32_to_bf16(x))).collect::<Vec<_>>())
                }
                (_, true) => &expected_of(x),
                (false, false) => &expected,
            };
            let cx = Cx { level, exec: &Inline, precision };
            let out = product(&cx, w, x);
            for (i, (&found, (expected, tolerance))) in out.iter().zip(expected).enumerate() {
                assert!(
                    (f64::from(found) - expected).abs() <= *tolerance,
                    "{} {} {precision:?}, {} x {}, output {i} of {}: {found}, not {expected} (within {tolerance:e})",
                    w.dtype(),
                    level.name(),
                    w.rows(),
                    w.cols(),
                    out.len(),
                );
            }
        }
    }
}

/// The sum in f64, and how far from it an f32 kernel may be: a few roundings of terms that are as large as the row's
/// largest weight makes them, since integer kernels sum products of unsigned integers and take the offset away later.
fn sum_of_products(w: &[f32], x: &[f32]) -> (f64, f64) {
    let (mut sum, mut largest, mut size) = (0.0, 0f32, 0.0);
    for (&w, &x) in w.iter().zip(x) {
        sum += f64::from(w) * f64::from(x);
        size += f64::from(x.abs());
        largest = largest.max(w.abs());
    }
    (sum, 1e-6 * f64::from(largest) * size + 1e-30)
}

#[test]
fn large_products_are_the_same_on_threads() {
    let mut random = Random(2);
    let (rows, cols) = (301, 512);
    for &dtype in Dtype::ALL {
        let bytes = encoded(dtype, rows, cols, || random.normal());
        let w = Matrix::new(dtype, rows, cols, &bytes).unwrap();
        for tokens in [1, 6] {
            let x = random.normals(tokens * cols);
            for level in levels() {
                let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
                let threads = Cx { exec: &Scoped, ..cx };
                assert_eq!(product(&cx, &w, &x), product(&threads, &w, &x), "{dtype} {}", level.name());
            }
        }
    }
}

/// One scale for the tensor, one for the token, and integers between them: nothing is rounded on the way.
#[test]
fn ternary_products_are_the_same_on_every_level() {
    let mut random = Random(8);
    // Longer than what is unpacked at once, and not a whole number of steps.
    let (rows, cols) = (67, 128 * 71);
    let bytes = encoded(Dtype::I2_S, rows, cols, || random.normal());
    let w = Matrix::new(Dtype::I2_S, rows, cols, &bytes).unwrap();
    let x = random.normals(14 * cols);
    let of =
        |level, tokens: &[f32]| product(&Cx { level, exec: &Inline, precision: Precision::Fast }, &w, tokens);
    let expected = of(Level::Scalar, &x);
    for level in levels() {
        assert_eq!(of(level, &x), expected, "{}", level.name());
        for (i, token) in x.chunks(cols).enumerate() {
            assert_eq!(of(level, token), expected[i * rows..][..rows], "{} token {i}", level.name());
        }
    }
}

/// What is added up in few bits has room for the largest weights and activations, in a row and token by token: 2, and the
/// 3 that no encoder writes.
#[test]
fn the_largest_ternary_sums_fit() {
    let (rows, cols) = (19, 128 * 25);
    for (byte, weight) in [(0xaa, 1.0), (0xff, 2.0), (0x00, -1.0)] {
        let bytes =
            [vec![byte; rows * cols / 4], [1f32.to_le_bytes().as_slice(), &[0; 28]].concat()].concat();
        let w = Matrix::new(Dtype::I2_S, rows, cols, &bytes).unwrap();
        for x in [127.0, -127.0] {
            for tokens in [1, 9] {
                for level in levels() {
                    let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
                    let out = product(&cx, &w, &vec![x; tokens * cols]);
                    assert_eq!(out, vec![weight * x * cols as f32; tokens * rows], "{}", level.name());
                }
            }
        }
    }
}

/// Weights beside others that read the same activations, which are rounded by 256 where the formats differ in that.
#[test]
fn weights_take_what_others_need() {
    let mut random = Random(9);
    for dtype in [Dtype::I2_S, Dtype::TQ1_0, Dtype::TQ2_0, Dtype::Q4_K, Dtype::Q6_K, Dtype::Q8_0, Dtype::Q5_1]
    {
        let other = if dtype == Dtype::Q8_0 || dtype == Dtype::Q5_1 { Dtype::Q4_K } else { Dtype::Q8_0 };
        let (rows, cols) = (5, 512);
        let bytes = encoded(dtype, rows, cols, || random.normal());
        let mut weights = vec![0.0; rows * cols];
        dequantize_tensor(dtype, &bytes, &mut weights).unwrap();
        let w = Matrix::new(dtype, rows, cols, &bytes).unwrap();
        let x = random.normals(3 * cols);
        let used = rounded(&x, cols, Rounding::Steps);
        for level in levels() {
            let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
            let mut activations = Activations::new(3, cols);
            let input = activations.prepare(&cx, &x, cols, [dtype, other]);
            let mut out = vec![0.0; 3 * rows];
            matmul(&cx, &w, &input, &mut out);
            for (i, found) in out.into_iter().enumerate() {
                let (t, r) = (i / rows, i % rows);
                let (sum, tolerance) =
                    sum_of_products(&weights[r * cols..][..cols], &used[t * cols..][..cols]);
                assert!(
                    (f64::from(found) - sum).abs() <= tolerance,
                    "{dtype} {}: {found} {sum}",
                    level.name()
                );
            }
        }
    }
}

/// Buffers that other values were in before, more of them or fewer.
#[test]
fn activations_are_used_again() {
    let mut random = Random(13);
    for dtype in [Dtype::Q8_0, Dtype::IQ4_XS, Dtype::Q4_K, Dtype::Q6_K] {
        for level in levels() {
            let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
            let mut activations = Activations::new(13, 2304);
            for (tokens, cols) in [(13, 256), (3, 2304), (1, 512), (6, 768), (2, 256)] {
                let bytes = encoded(dtype, 9, cols, || random.normal());
                let w = Matrix::new(dtype, 9, cols, &bytes).unwrap();
                let x = random.normals(tokens * cols);
                let input = activations.prepare(&cx, &x, cols, [dtype]);
                let mut out = vec![0.0; tokens * 9];
                matmul(&cx, &w, &input, &mut out);
                assert_eq!(out, product(&cx, &w, &x), "{dtype} {}, {tokens} x {cols}", level.name());
            }
        }
    }
}

#[test]
fn any_bytes_are_weights() {
    let mut random = Random(3);
    for &dtype in Dtype::ALL {
        let cols = dtype.block_len() * 3;
        let bytes: Vec<u8> =
            (0..dtype.tensor_bytes(&[cols, 5, 1, 1]).unwrap()).map(|_| random.next() as u8).collect();
        for bytes in [&bytes[..], &vec![0xff; bytes.len()], &vec![0; bytes.len()]] {
            let w = Matrix::new(dtype, 5, cols, bytes).unwrap();
            for tokens in [1, 4] {
                for precision in [Precision::Exact, Precision::Fast] {
                    for level in levels() {
                        let x = random.normals(tokens * cols);
                        product(&Cx { level, exec: &Inline, precision }, &w, &x);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_that_are_none_reach_every_output() {
    let mut random = Random(4);
    for &dtype in Dtype::ALL {
        let cols = dtype.block_len() * 2 + if dtype.block_len() == 1 { 40 } else { 0 };
        let mut bytes = vec![0; dtype.tensor_bytes(&[cols, 3, 1, 1]).unwrap()];
        let weights: Vec<f32> = random.normals(3 * cols).into_iter().map(|w| w + w.signum() * 5.0).collect();
        quantize(dtype, &weights, cols, None, &mut bytes).unwrap();
        let w = Matrix::new(dtype, 3, cols, &bytes).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for tokens in [1, 2] {
                let mut x = random.normals(tokens * cols);
                x[cols - 1] = bad;
                for level in levels() {
                    let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
                    let out = product(&cx, &w, &x);
                    let name = level.name();
                    assert!(out[..3].iter().all(|y| !y.is_finite()), "{dtype} {name}: {bad} gives {out:?}");
                    assert!(out[3..].iter().all(|y| y.is_finite()), "{dtype} {name}: other tokens, {out:?}");
                }
            }
        }
    }
}

#[test]
fn extreme_activations_stay_in_range() {
    let w: Vec<u8> = (0..2).flat_map(|_| [&[0, 0x3c][..], &[0x80; 32]].concat()).collect(); // -128, times 1
    let w = Matrix::new(Dtype::Q8_0, 1, 64, &w).unwrap();
    for x in [1.0, -1.0, f32::MIN_POSITIVE, 1e-45, 1e30, 0.0] {
        for level in levels() {
            let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
            let out = product(&cx, &w, &[x; 64])[0];
            let expected = -128.0 * 64.0 * x;
            // The smallest numbers have too few bits for a scale 127 times smaller.
            let tolerance = if x < 1e-30 { expected.abs().max(1e-36) } else { expected.abs() * 1e-6 };
            assert!((out - expected).abs() <= tolerance, "{}: {out}, not {expected}", level.name());
        }
    }
}

#[test]
fn a_matrix_decodes_its_rows() {
    let mut random = Random(5);
    let x = random.normals(3 * 64);
    let mut bytes = vec![0; 3 * 68];
    quantize(Dtype::Q8_0, &x, 64, None, &mut bytes).unwrap();
    let w = Matrix::new(Dtype::Q8_0, 3, 64, &bytes).unwrap();
    let (mut row, mut all) = ([0.0; 64], [0.0; 192]);
    dequantize(Dtype::Q8_0, &bytes, &mut all).unwrap();
    w.row(2, &mut row);
    assert_eq!(row, all[128..]);
}

#[test]
fn unprepared_activations_are_multiplied_exactly() {
    let mut random = Random(6);
    let mut bytes = vec![0; 68];
    quantize(Dtype::Q8_0, &random.normals(64), 64, None, &mut bytes).unwrap();
    let w = Matrix::new(Dtype::Q8_0, 1, 64, &bytes).unwrap();
    let x = random.normals(64);
    let cx = Cx { level: Level::baseline(), exec: &Inline, precision: Precision::Fast };
    let mut out = [0.0];
    matmul(&cx, &w, &Input::new(&x, 64), &mut out);
    assert_eq!(out[..], product(&Cx { precision: Precision::Exact, ..cx }, &w, &x));
}

#[test]
fn primitives_are_what_they_say_at_every_length() {
    let mut random = Random(7);
    for level in levels() {
        for n in (0..70).chain([255, 256, 1000]) {
            let (a, b) = (random.normals(n), random.normals(n));
            let (mut halves, mut widened) = (vec![[0; 2]; n], vec![0.0; n]);
            simd::encode_f16(level, &a, &mut halves);
            simd::decode_f16(level, &halves, &mut widened);
            for (a, wide) in a.iter().zip(&widened) {
                assert!((a - wide).abs() <= a.abs() / 2048.0 + 6e-8, "{}: {a} becomes {wide}", level.name());
            }
            let exact = |a: &[f32]| a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let close = |found: f32, exact: f64, size: f64| {
                assert!(
                    (f64::from(found) - exact).abs() <= 1e-6 * size,
                    "{} {n}: {found}, not {exact}",
                    level.name()
                );
            };
            close(simd::dot_f32(level, &a, &b), exact(&a), n as f64);
            let mut y = b.clone();
            simd::axpy_f32(level, 0.7, &a, &mut y);
            for i in 0..n {
                close(y[i], f64::from(b[i]) + f64::from(0.7f32) * f64::from(a[i]), 5.0);
            }
        }
    }
}

#[test]
fn halves_are_the_same_on_every_level() {
    let all: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
    // A sample of all floats one way, every half the other way.
    let values: Vec<f32> = (0..=u32::MAX).step_by(65_521).map(f32::from_bits).collect();
    for level in levels() {
        let mut halves = vec![[0; 2]; values.len()];
        simd::encode_f16(level, &values, &mut halves);
        for (&value, &half) in values.iter().zip(&halves) {
            let (found, expected) = (u16::from_le_bytes(half), f32_to_f16(value));
            let nan = value.is_nan() && found & 0x7fff > 0x7c00;
            assert!(found == expected || nan, "{}: {value} becomes {found:#x}", level.name());
        }
        let mut widened = vec![0.0; all.len()];
        simd::decode_f16(level, &all, &mut widened);
        for (&half, &found) in all.iter().zip(&widened) {
            let expected = f16_to_f32(u16::from_le_bytes(half));
            let nan = found.is_nan() && expected.is_nan();
            assert!(found == expected || nan, "{}: {half:x?} is {found}", level.name());
        }
    }
}
