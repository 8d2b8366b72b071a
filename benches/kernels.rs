//! Products of each format at each level: `gemv` from memory and from the cache (compare bytes/s with the memory's),
//! `gemm` with a prompt's tokens (compare elements/s, which are operations here, with the integer peak).
//!
//! `cargo bench -p motelm-benches --bench kernels -- gemm/Q4_K` measures one of them.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use motelm_benches::numbers;
use motelm_core::exec::Inline;
use motelm_core::ops::matmul::{Activations, Cx, Matrix, Precision, matmul};
use motelm_core::quant::{Dtype, quantize};
use motelm_core::simd;

const DTYPES: [Dtype; 12] = [
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::Q4_0,
    Dtype::Q5_0,
    Dtype::Q8_0,
    Dtype::Q4_K,
    Dtype::Q5_K,
    Dtype::Q6_K,
    Dtype::IQ4_XS,
    Dtype::TQ2_0,
    Dtype::I2_S,
];
/// Columns: a multiple of every block.
const COLS: usize = 2048;
/// Rows of a matrix that stays in the second cache.
const FEW_ROWS: usize = 128;
/// Rows of a prompt's product.
const ROWS: usize = 512;
/// Bytes of weights that no cache holds.
const MEMORY: usize = 256 << 20;

/// `rows` rows of weights; a few that repeat.
fn weights(dtype: Dtype, rows: usize) -> Vec<u8> {
    let row = dtype.row_bytes(COLS).expect("whole blocks");
    let mut few = vec![0; row * FEW_ROWS + dtype.tail_bytes()];
    quantize(dtype, &numbers(FEW_ROWS * COLS), COLS, None, &mut few).expect("sizes fit");
    let (blocks, tail) = few.split_at(row * FEW_ROWS);
    let mut bytes: Vec<u8> = blocks.iter().copied().cycle().take(row * rows).collect();
    bytes.extend(tail);
    bytes
}

fn product(c: &mut Criterion, group: &str, dtype: Dtype, rows: usize, tokens: usize) {
    let bytes = weights(dtype, rows);
    let matrix = Matrix::new(dtype, rows, COLS, &bytes).expect("sizes fit");
    let x = numbers(tokens * COLS);
    let mut out = vec![0.0; tokens * rows];
    let mut group = c.benchmark_group(format!("{group}/{dtype}"));
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(match tokens {
        1 => Throughput::Bytes(bytes.len() as u64),
        _ => Throughput::Elements(2 * (rows * COLS * tokens) as u64),
    });
    for level in motelm::cpu::levels() {
        let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
        let mut activations = Activations::new(tokens, COLS);
        let input = activations.prepare(&cx, &x, COLS, [dtype]);
        group.bench_function(BenchmarkId::from_parameter(level.name()), |b| {
            b.iter(|| matmul(&cx, black_box(&matrix), &input, &mut out));
        });
    }
    group.finish();
}

fn products(c: &mut Criterion) {
    for dtype in DTYPES {
        product(c, "gemv_cached", dtype, FEW_ROWS, 1);
        product(c, "gemv", dtype, MEMORY / dtype.row_bytes(COLS).expect("whole blocks"), 1);
        product(c, "gemm", dtype, ROWS, 512);
    }
}

/// What the cache does with each row: rounding to halves when it comes, widening when it is attended to.
fn halves(c: &mut Criterion) {
    let head = 128;
    let (mut x, mut halves) = (numbers(head), vec![[0; 2]; head]);
    let mut group = c.benchmark_group("halves");
    group.throughput(Throughput::Elements(head as u64));
    for level in motelm::cpu::levels() {
        let id = |name| BenchmarkId::new(name, level.name());
        group.bench_function(id("encode"), |bench| {
            bench.iter(|| simd::encode_f16(level, black_box(&x), &mut halves));
        });
        group.bench_function(id("decode"), |bench| {
            bench.iter(|| simd::decode_f16(level, black_box(&halves), &mut x));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    products(&mut criterion);
    halves(&mut criterion);
    criterion.final_summary();
}
