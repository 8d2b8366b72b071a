//! What a layer does beside its products with weights, at each level of this processor, with the shapes of
//! Qwen2.5-0.5B: attention (compare elements/s, which are operations here, with what f32 multiply-adds give), norms,
//! rotation and activation functions (elements).
//!
//! `cargo bench -p motelm-benches --bench layers -- attention` measures one of them.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use motelm_benches::numbers;
use motelm_core::exec::Inline;
use motelm_core::model::plan::{Activation, KvShape, Mask, NormKind, RopePairs, Values};
use motelm_core::ops::attention::{Positions, Queries, Scratch, attend};
use motelm_core::ops::elementwise::{activate, gate};
use motelm_core::ops::matmul::{Cx, Precision};
use motelm_core::ops::norm::{NormWeights, normalize};
use motelm_core::ops::rope::rotate;
use motelm_core::{KvType, LayerCache};

const N_HEADS: usize = 14;
const SHAPE: KvShape =
    KvShape { n_heads: 2, key: 64, value: 64, values: Values::Separate, mask: Mask::Causal };
const WIDTH: usize = N_HEADS * SHAPE.key;
const HIDDEN: usize = 4864;
/// Tokens of a prompt.
const TOKENS: usize = 512;

fn at_each_level(group: &mut BenchmarkGroup<'_, WallTime>, mut work: impl FnMut(&Cx<'_>)) {
    for level in motelm::cpu::levels() {
        let cx = Cx { level, exec: &Inline, precision: Precision::Fast };
        group.bench_function(BenchmarkId::from_parameter(level.name()), |b| b.iter(|| work(&cx)));
    }
}

fn group<'a>(c: &'a mut Criterion, name: &str, elements: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(elements as u64));
    group
}

/// Scores, softmax and weighted sums of `tokens` tokens that stand behind `depth` others.
fn attention(c: &mut Criterion, kind: KvType, tokens: usize, depth: usize) {
    let mut cache = LayerCache::new(kind, depth + tokens, SHAPE).expect("there is memory");
    let kv = numbers((depth + tokens) * SHAPE.n_heads * SHAPE.key);
    cache.write(motelm::cpu::detect(), 0, &kv, &kv);
    let queries = Queries { n_heads: N_HEADS, scale: 0.125, softcap: None, alibi: None, sinks: None };
    let positions = Positions { start: 0, first: depth, n: tokens };
    let q = numbers(tokens * WIDTH);
    let mut out = vec![0.0; q.len()];
    let mut scratch = vec![0.0; Scratch::new(N_HEADS, &SHAPE, tokens).floats().expect("it is small")];
    let seen: usize = (0..tokens).map(|i| depth + i + 1).sum();
    // A multiplication and an addition with each key's and each value's element.
    let operations = 4 * seen * WIDTH;
    let mut group = group(c, &format!("attention/{kind}/{tokens}_behind_{depth}"), operations);
    at_each_level(&mut group, |cx| {
        attend(cx, &queries, &cache, positions, black_box(&q), &mut out, &mut scratch)
    });
}

fn norms(c: &mut Criterion) {
    let (mut x, weight) = (numbers(TOKENS * WIDTH), vec![1.0; WIDTH]);
    for (name, kind) in [("rms", NormKind::Rms), ("layer", NormKind::Layer)] {
        let norm = NormWeights { kind, weight: &weight, bias: None, eps: 1e-6 };
        let mut group = group(c, &format!("norm/{name}"), x.len());
        at_each_level(&mut group, |cx| normalize(cx, norm, WIDTH, WIDTH, black_box(&mut x)));
    }
}

fn rotation(c: &mut Criterion) {
    let n_pairs = SHAPE.key / 2;
    // Cosine 1 and sine 0: the same numbers however often.
    let angle = [vec![1.0; n_pairs], vec![0.0; n_pairs]].concat();
    let (mut x, angles) = (numbers(TOKENS * WIDTH), angle.repeat(TOKENS));
    for (name, pairs) in [("halves", RopePairs::Halves), ("interleaved", RopePairs::Interleaved)] {
        let mut group = group(c, &format!("rotate/{name}"), x.len());
        at_each_level(&mut group, |cx| {
            rotate(cx, pairs, &angles, n_pairs, SHAPE.key, WIDTH, black_box(&mut x))
        });
    }
}

fn activations(c: &mut Criterion) {
    let input = numbers(TOKENS * HIDDEN);
    let mut x = input.clone();
    for (name, activation) in [
        ("silu", Activation::Silu),
        ("gelu_tanh", Activation::GeluTanh),
        ("gelu_erf", Activation::GeluErf),
        ("relu_squared", Activation::ReluSquared),
    ] {
        let mut group = group(c, &format!("activate/{name}"), x.len());
        at_each_level(&mut group, |cx| {
            x.copy_from_slice(&input);
            activate(cx, activation, black_box(&mut x));
        });
    }
    let mut group = group(c, "gate/silu", x.len());
    at_each_level(&mut group, |cx| {
        x.copy_from_slice(&input);
        gate(cx, Activation::Silu, black_box(&input), &mut x);
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for kind in [KvType::F16, KvType::Q8_0] {
        attention(&mut criterion, kind, TOKENS, 0);
        attention(&mut criterion, kind, TOKENS, 4096 - TOKENS);
        attention(&mut criterion, kind, 1, 4095);
    }
    norms(&mut criterion);
    rotation(&mut criterion);
    activations(&mut criterion);
    criterion.final_summary();
}
