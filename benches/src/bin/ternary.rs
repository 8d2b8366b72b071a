//! Prints how fast ternary weights are multiplied at each level of this processor, as tables. All times are the best of
//! many, which is what the processor can do when others leave it alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use motelm_core::exec::Inline;
use motelm_core::ops::matmul::{Activations, Cx, Matrix, Precision, matmul};
use motelm_core::quant::{Dtype, quantize};
use motelm_core::simd::Level;

const TYPES: [Dtype; 3] = [Dtype::I2_S, Dtype::TQ2_0, Dtype::TQ1_0];

fn main() {
    println!("one row of n weights and one token, nanoseconds:\n");
    println!("| type | n | {} | scalar / best |", names().join(" | "));
    for dtype in TYPES {
        for n in [1024, 4096, 16384] {
            // Sixteen rows at once: entering a level is not what is measured.
            let times: Vec<f64> = levels(dtype, 16, n, 1, Duration::from_millis(200));
            let shown: Vec<String> = times.iter().map(|time| format!("{:.0}", time * 1e9 / 16.0)).collect();
            println!("| {dtype} | {n} | {} | {:.1} |", shown.join(" | "), times[0] / times[times.len() - 1]);
        }
    }
    println!("\none token and 256 MB of weights, GB/s of them:\n");
    println!("| type | {} |", names().join(" | "));
    for dtype in TYPES {
        // Parts of a few megabytes, one behind the other: the best part is one that nobody disturbed.
        let (rows, cols) = (512, 16384);
        let bytes = encoded(dtype, rows, cols);
        let copies = (256 << 20) / bytes.len();
        let parts: Vec<Vec<u8>> = (0..copies).map(|_| bytes.clone()).collect();
        let rates = motelm::cpu::levels().into_iter().map(|level| {
            let best = (0..3 * copies).map(|i| once(level, dtype, rows, cols, &parts[i % copies], 1));
            format!("{:.1}", bytes.len() as f64 / best.min().expect("some").as_secs_f64() / 1e9)
        });
        println!("| {dtype} | {} |", rates.collect::<Vec<_>>().join(" | "));
    }
    println!("\n1024 x 2560 weights and 96 tokens, GOP/s:\n");
    println!("| type | {} |", names().join(" | "));
    for dtype in TYPES {
        let times = levels(dtype, 1024, 2560, 96, Duration::from_secs(1));
        let rates: Vec<String> =
            times.iter().map(|time| format!("{:.0}", 2.0 * 1024.0 * 2560.0 * 96.0 / time / 1e9)).collect();
        println!("| {dtype} | {} |", rates.join(" | "));
    }
}

fn names() -> Vec<&'static str> {
    motelm::cpu::levels().into_iter().map(Level::name).collect()
}

/// Seconds at each level.
fn levels(dtype: Dtype, rows: usize, cols: usize, tokens: usize, budget: Duration) -> Vec<f64> {
    let bytes = encoded(dtype, rows, cols);
    let best = |level| {
        let start = Instant::now();
        let mut best = Duration::MAX;
        while start.elapsed() < budget || best == Duration::MAX {
            best = best.min(once(level, dtype, rows, cols, &bytes, tokens));
        }
        best.as_secs_f64()
    };
    motelm::cpu::levels().into_iter().map(best).collect()
}

/// How long one product takes.
fn once(level: Level, dtype: Dtype, rows: usize, cols: usize, bytes: &[u8], tokens: usize) -> Duration {
    let w = Matrix::new(dtype, rows, cols, bytes).expect("a matrix");
    let x: Vec<f32> = (0..tokens * cols).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut out = vec![0.0; tokens * rows];
    let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
    let mut activations = Activations::new(tokens, cols);
    let x = activations.prepare(&cx, &x, cols, [dtype]);
    let start = Instant::now();
    matmul(&cx, &w, &x, &mut out);
    let took = start.elapsed();
    black_box(out);
    took
}

fn encoded(dtype: Dtype, rows: usize, cols: usize) -> Vec<u8> {
    let weights: Vec<f32> = (0..rows * cols).map(|i| ((i * 7919 % 10007) as f32 * 0.11).sin()).collect();
    let mut bytes = vec![0; dtype.tensor_bytes(&[cols, rows, 1, 1]).expect("whole blocks")];
    quantize(dtype, &weights, cols, None, &mut bytes).expect("whole rows");
    bytes
}
