//! Sampling allocates nothing once it has begun, whatever the options.

use motelm_core::sample::random::Random;
use motelm_core::sample::{Mirostat, Options, Sampler, log_probs};
use motelm_tests::counting::{Counting, measure};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_per_token() {
    let n_vocab = 5_000;
    let mut random = Random::new(1);
    let logits: Vec<f32> = (0..n_vocab).map(|_| random.unit() as f32 * 20.0).collect();
    let plain = Options { top_k: 0, top_p: 1.0, min_p: 0.0, ..Options::default() };
    let everything = Options {
        logit_bias: (0..100).map(|id| (id * 7, 0.5)).collect(),
        dynatemp_range: 0.3,
        top_k: 2000,
        typical_p: 0.9,
        top_n_sigma: 2.0,
        xtc_probability: 0.5,
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        dry_multiplier: 0.8,
        dry_last_n: 300,
        dry_breakers: vec![vec![5], vec![6, 7]],
        ..Options::default()
    };
    let mirostat = |mirostat| Options { mirostat, ..Options::default() };
    let all = [
        Options::default(),
        Options::greedy(),
        plain,
        everything,
        mirostat(Mirostat::V1),
        mirostat(Mirostat::V2),
    ];
    for options in all {
        let mut sampler = Sampler::new(&options, n_vocab).expect("good options");
        let mut top = Vec::with_capacity(2 * 20 + 64);
        let ((), usage) = measure(|| {
            for _ in 0..350 {
                let token = sampler.pick(&logits);
                sampler.accept(token);
            }
            log_probs(&logits, 3, 20, &mut top);
            sampler.reset();
        });
        assert_eq!(usage.allocations, 0, "{options:?}");
    }
}
