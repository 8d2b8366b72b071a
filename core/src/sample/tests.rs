use super::*;
use crate::error::ErrorKind;
use alloc::vec;

/// Options under which nothing but what a test adds has an effect.
fn plain() -> Options {
    Options { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Options::default() }
}

fn sampler(options: Options, n_vocab: usize) -> Sampler {
    Sampler::new(&options, n_vocab).unwrap()
}

/// Logits whose softmax is `p`.
fn logits(p: &[f32]) -> Vec<f32> {
    p.iter().map(|&p| libm::logf(p)).collect()
}

/// The candidates that are left when `options` are applied to the probabilities `p`, by id.
fn left(options: Options, p: &[f32]) -> Vec<u32> {
    let mut sampler = sampler(options, p.len());
    sampler.pick(&logits(p));
    let mut ids: Vec<_> = sampler.candidates.iter().map(|candidate| candidate.id).collect();
    ids.sort_unstable();
    ids
}

/// How often each token is picked in `n` draws.
fn frequencies(options: Options, p: &[f32], n: usize) -> Vec<f32> {
    let (mut sampler, logits) = (sampler(options, p.len()), logits(p));
    let mut counts = vec![0.0; p.len()];
    for _ in 0..n {
        counts[sampler.pick(&logits) as usize] += 1.0 / n as f32;
    }
    counts
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance);
    assert!(close && found.len() == expected.len(), "{found:?} is not {expected:?}");
}

const P: [f32; 5] = [0.1, 0.4, 0.05, 0.3, 0.15];

#[test]
fn nothing_on_draws_from_the_softmax() {
    assert_eq!(left(plain(), &P), [0, 1, 2, 3, 4]);
    // Four standard deviations of a share of 0.4 in 100,000 draws are 0.0062.
    assert_close(&frequencies(plain(), &P, 100_000), &P, 0.0062);
}

#[test]
fn top_k_keeps_the_k_best_and_the_lower_id_of_equals() {
    let top_k = |k| Options { top_k: k, ..plain() };
    assert_eq!(left(top_k(1), &P), [1]);
    assert_eq!(left(top_k(3), &P), [1, 3, 4]);
    assert_eq!(left(top_k(5), &P), [0, 1, 2, 3, 4]);
    assert_eq!(left(top_k(2), &[0.25; 4]), [0, 1]);
    assert_eq!(left(top_k(100), &[0.001; 1000]), (0..100).collect::<Vec<_>>());
}

#[test]
fn top_p_keeps_the_smallest_set_with_the_share() {
    let top_p = |p| Options { top_p: p, ..plain() };
    assert_eq!(left(top_p(0.0), &P), [1]);
    assert_eq!(left(top_p(0.39), &P), [1]);
    assert_eq!(left(top_p(0.41), &P), [1, 3]);
    assert_eq!(left(top_p(0.71), &P), [1, 3, 4]);
    assert_eq!(left(top_p(0.951), &P), [0, 1, 2, 3, 4]);
    assert_eq!(left(Options { min_keep: 3, ..top_p(0.1) }, &P), [1, 3, 4]);
    // Past the part that is sorted first.
    assert_eq!(left(top_p(0.7001), &[0.001; 1000]), (0..701).collect::<Vec<_>>());
}

#[test]
fn min_p_is_relative_to_the_best() {
    let min_p = |p| Options { min_p: p, ..plain() };
    assert_eq!(left(min_p(0.24), &P), [0, 1, 3, 4]);
    assert_eq!(left(min_p(0.26), &P), [1, 3, 4]);
    assert_eq!(left(min_p(1.0), &P), [1]);
    assert_eq!(left(Options { min_keep: 2, ..min_p(1.0) }, &P), [1, 3]);
}

#[test]
fn typical_p_keeps_what_is_about_as_surprising_as_expected() {
    // The entropy of P is 1.3923; the surprises are 2.303, 0.916, 2.996, 1.204, 1.897: nearest are 3, 1, 4, 0, 2.
    let typical = |p| Options { typical_p: p, ..plain() };
    assert_eq!(left(typical(0.29), &P), [3]);
    assert_eq!(left(typical(0.31), &P), [1, 3]);
    assert_eq!(left(typical(0.71), &P), [1, 3, 4]);
    assert_eq!(left(typical(0.86), &P), [0, 1, 3, 4]);
    assert_eq!(left(Options { min_keep: 2, ..typical(0.1) }, &P), [1, 3]);
}

#[test]
fn top_n_sigma_counts_standard_deviations_of_logits() {
    // Logits 3, 1, -1, -3 and 0: mean 0, standard deviation 2.
    let options = |n| Options { top_n_sigma: n, ..plain() };
    for (n, expected) in [(0.9, &[0][..]), (1.1, &[0, 1]), (2.1, &[0, 1, 2, 4]), (-1.0, &[0, 1, 2, 3, 4])] {
        let mut sampler = sampler(options(n), 6);
        sampler.pick(&[3.0, 1.0, -1.0, -3.0, 0.0, f32::NEG_INFINITY]);
        let mut ids: Vec<_> = sampler.candidates.iter().map(|candidate| candidate.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected);
    }
}

#[test]
fn xtc_excludes_the_top_choices_but_one() {
    let xtc = |probability, threshold| Options {
        xtc_probability: probability,
        xtc_threshold: threshold,
        ..plain()
    };
    // At least 0.12 have 1, 3 and 4; the least of them, 4, stays.
    assert_eq!(left(xtc(1.0, 0.12), &P), [0, 2, 4]);
    assert_eq!(left(xtc(1.0, 0.35), &P), [0, 1, 2, 3, 4]);
    assert_eq!(left(xtc(1.0, 0.51), &P), [0, 1, 2, 3, 4]);
    assert_eq!(left(Options { min_keep: 4, ..xtc(1.0, 0.12) }, &P), [0, 1, 2, 3, 4]);
    // In half of the draws token 1 is excluded: 0.2 instead of 0.4.
    let found = frequencies(xtc(0.5, 0.2), &P, 100_000);
    let without: Vec<f32> =
        P.iter().enumerate().map(|(i, p)| if i == 1 { 0.2 } else { p / 2.0 + p / 1.2 }).collect();
    assert_close(&found, &without, 0.0062);
}

#[test]
fn temperature_sharpens_and_flattens() {
    // Squares (temperature 1/2) of P, normalised; and square roots (temperature 2).
    let powered = |power: f32| {
        let powers = P.map(|p| libm::powf(p, power));
        powers.map(|p| p / powers.iter().sum::<f32>())
    };
    let with = |temperature| Options { temperature, ..plain() };
    assert_close(&frequencies(with(0.5), &P, 100_000), &powered(2.0), 0.0064);
    assert_close(&frequencies(with(2.0), &P, 100_000), &powered(0.5), 0.0064);
    assert_eq!(left(with(0.0), &P), [1]);
    assert_eq!(left(with(-1.0), &[0.3, 0.1, 0.3]), [0]);
}

#[test]
fn dynamic_temperature_follows_the_entropy() {
    let options = Options { temperature: 1.0, dynatemp_range: 0.5, dynatemp_exponent: 2.0, ..plain() };
    let scale = |p: &[f32]| {
        let mut sampler = sampler(options.clone(), p.len());
        sampler.pick(&logits(p));
        libm::logf(p[0]) / sampler.candidates[0].logit
    };
    // An even distribution has all the entropy there can be; P has 1.3923 of ln 5 nats.
    assert!((scale(&[0.25; 4]) - 1.5).abs() < 1e-5);
    let share = 1.392_33_f32 / libm::logf(5.0);
    assert!((scale(&P) - (0.5 + share * share)).abs() < 1e-4, "{}", scale(&P));
    // A temperature that reaches 0 is greedy.
    let certain = Options { temperature: 0.0, dynatemp_range: 1e-30, ..plain() };
    assert_close(&frequencies(certain, &P, 100), &[0.0, 1.0, 0.0, 0.0, 0.0], 1e-5);
}

#[test]
fn bias_comes_first_and_bans() {
    let biased = |bias| Options { logit_bias: bias, ..plain() };
    assert_eq!(left(biased(vec![(1, f32::NEG_INFINITY), (3, f32::NEG_INFINITY)]), &P), [0, 2, 4]);
    let evened = [(0, 4.0f32), (2, 8.0), (3, 4.0 / 3.0), (4, 8.0 / 3.0)];
    let evened = evened.map(|(token, factor)| (token, libm::logf(factor))).to_vec();
    assert_close(&frequencies(biased(evened), &P, 100_000), &[0.2; 5], 0.0052);
    // A biased token competes in top-k with its new logit.
    let mut boosted = sampler(Options { top_k: 1, logit_bias: vec![(2, 100.0)], ..plain() }, 5);
    assert_eq!(boosted.pick(&logits(&P)), 2);
}

#[test]
fn penalties_see_what_was_accepted() {
    let mut sampler = sampler(
        Options { presence_penalty: 100.0, repeat_last_n: 2, temperature: 0.0, ..Options::default() },
        5,
    );
    let mut said = Vec::new();
    for _ in 0..5 {
        said.push(sampler.pick(&logits(&P)));
        sampler.accept(said[said.len() - 1]);
    }
    assert_eq!(said, [1, 3, 4, 1, 3]);
    sampler.accept(5);
    sampler.accept(u32::MAX);
    assert_eq!(sampler.pick(&logits(&P)), 4);
    sampler.reset();
    assert_eq!(sampler.pick(&logits(&P)), 1);
}

#[test]
fn dry_breaks_a_loop_but_not_across_a_breaker() {
    let options = Options { dry_multiplier: 10.0, dry_last_n: 32, temperature: 0.0, ..Options::default() };
    let next = |breakers: &[&[u32]]| {
        let dry_breakers = breakers.iter().map(|breaker| breaker.to_vec()).collect();
        let mut sampler = sampler(Options { dry_breakers, ..options.clone() }, 5);
        [0, 2, 1, 4, 0, 2].into_iter().for_each(|token| sampler.accept(token));
        sampler.pick(&logits(&P))
    };
    assert_eq!(next(&[]), 3);
    assert_eq!(next(&[&[0]]), 1);
}

#[test]
fn the_order_of_the_chain_matters() {
    // Flattened first, all of P are within a tenth of the best; min-p first leaves three.
    let options = |chain: &str| Options {
        samplers: SamplerKind::parse_chain(chain).unwrap(),
        temperature: 10.0,
        min_p: 0.3,
        presence_penalty: 1.0,
        ..plain()
    };
    assert_eq!(left(options("temperature;min_p"), &P), [0, 1, 2, 3, 4]);
    assert_eq!(left(options("min_p;temperature"), &P), [1, 3, 4]);
    assert_eq!(left(options(""), &P), [0, 1, 2, 3, 4]);
    // Penalties after min-p only reweigh what it left.
    let mut late = sampler(options("min_p;penalties"), 5);
    late.accept(1);
    late.pick(&logits(&P));
    let weighed: Vec<_> = late.candidates.iter().map(|candidate| (candidate.id, candidate.logit)).collect();
    assert_eq!(weighed, [(1, libm::logf(0.4) - 1.0), (3, libm::logf(0.3)), (4, libm::logf(0.15))]);
}

#[test]
fn only_allowed_tokens_are_picked() {
    let mut sampler = sampler(Options::default(), 40);
    let flat = [0.0; 40];
    for _ in 0..200 {
        assert!([3, 33].contains(&sampler.pick_allowed(&flat, &[1 << 3, 1 << 1]).unwrap()));
    }
    assert_eq!(sampler.pick_allowed(&flat, &[]), None);
    assert_eq!(sampler.pick_allowed(&flat, &[0, 1 << 30]), None);
    assert_eq!(sampler.pick_allowed(&[f32::NAN; 40], &[0b1010_0000]), Some(5));
}

#[test]
fn hopeless_logits_give_the_lowest_id() {
    for options in [Options::default(), Options::greedy(), plain()] {
        let mut sampler = sampler(options, 3);
        assert_eq!(sampler.pick(&[f32::NEG_INFINITY; 3]), 0);
        assert_eq!(sampler.pick(&[f32::NAN; 3]), 0);
        assert_eq!(sampler.pick(&[]), 0);
        assert_eq!(sampler.pick(&[f32::NAN, f32::NEG_INFINITY, -5.0]), 2);
        assert_eq!(sampler.pick(&[1.0, f32::INFINITY, f32::NAN]), 1);
        assert_eq!(sampler.pick(&[-0.0, 0.0, f32::NEG_INFINITY].map(|l| l - 1e30)) / 2, 0);
    }
    assert_eq!(sampler(Options::greedy(), 2).pick(&[-0.0, 0.0]), 0);
}

#[test]
fn mirostat_holds_the_surprise() {
    // 512 tokens by Zipf's law with s = 1.2; the mean surprise of what is picked goes to tau bits.
    let zipf: Vec<f32> = (0..512).map(|id| -1.2 * libm::logf((id + 1) as f32)).collect();
    for mirostat in [Mirostat::V1, Mirostat::V2] {
        let tau = 3.0;
        let options = Options { mirostat, mirostat_tau: tau, temperature: 1.0, ..Options::default() };
        let mut sampler = sampler(options, zipf.len());
        let surprises = (0..4000).map(|_| {
            let chosen = sampler.pick(&zipf);
            let left = &sampler.candidates;
            -log_probs(
                &left.iter().map(|c| c.logit).collect::<Vec<_>>(),
                index_of(left, chosen),
                0,
                &mut Vec::new(),
            )
        });
        let mean = surprises.sum::<f32>() / 4000.0 / core::f32::consts::LN_2;
        assert!((mean - tau).abs() < 0.1, "{mirostat:?}: {mean} bits");
    }
}

fn index_of(candidates: &[Candidate], id: u32) -> u32 {
    candidates.iter().position(|candidate| candidate.id == id).unwrap() as u32
}

#[test]
fn log_probs_are_of_the_raw_distribution() {
    let mut top = Vec::new();
    let mut shifted = logits(&P);
    shifted.iter_mut().for_each(|logit| *logit += 50.0);
    let found = log_probs(&shifted, 4, 3, &mut top);
    assert!((found - libm::logf(0.15)).abs() < 1e-5);
    assert_eq!(top.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 3, 4]);
    assert_close(&top.iter().map(|c| libm::expf(c.logit)).collect::<Vec<_>>(), &[0.4, 0.3, 0.15], 1e-5);
    assert_eq!(log_probs(&shifted, 5, 9, &mut top), f32::NEG_INFINITY);
    assert_eq!(top.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 3, 4, 0, 2]);
    assert_eq!(log_probs(&[f32::NAN; 2], 1, 2, &mut top), f32::NEG_INFINITY);
    assert_eq!((log_probs(&[], 0, 2, &mut top), top.len()), (f32::NEG_INFINITY, 0));
    let ties = log_probs(&[0.0; 500], 0, 2, &mut top);
    assert_eq!((ties, top[0].id, top[1].id), (-libm::logf(500.0), 0, 1));
}

/// Logits without a pattern, made of integers and exact on every target.
fn noise(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n).map(|_| (random.bits() >> 20) as f32 / 256.0 - 8.0).collect()
}

fn story(options: &Options, n_vocab: usize, n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(options, n_vocab).unwrap();
    let mut random = Random::new(1);
    let mut said = Vec::new();
    for _ in 0..n {
        said.push(sampler.pick(&noise(&mut random, n_vocab)));
        sampler.accept(said[said.len() - 1]);
    }
    said
}

#[test]
fn a_seed_means_these_tokens_on_every_target() {
    let seeded = |seed| Options { seed, ..Options::default() };
    assert_eq!(story(&seeded(42), 1000, 12), PINNED_DEFAULT);
    let everything = Options {
        temperature: 1.3,
        dynatemp_range: 0.4,
        top_n_sigma: 3.0,
        top_k: 200,
        typical_p: 0.9,
        xtc_probability: 0.3,
        xtc_threshold: 0.02,
        repeat_penalty: 1.1,
        presence_penalty: 0.2,
        frequency_penalty: 0.1,
        dry_multiplier: 0.8,
        dry_allowed_length: 0,
        ..seeded(42)
    };
    assert_eq!(story(&everything, 1000, 12), PINNED_EVERYTHING);
    let mirostat = |mirostat| Options { mirostat, temperature: 1.0, ..seeded(42) };
    assert_eq!(story(&mirostat(Mirostat::V1), 1000, 12), PINNED_MIROSTAT_1);
    assert_eq!(story(&mirostat(Mirostat::V2), 1000, 12), PINNED_MIROSTAT_2);
    assert_ne!(story(&seeded(43), 1000, 12), PINNED_DEFAULT);
}

const PINNED_DEFAULT: [u32; 12] = [701, 523, 548, 120, 559, 382, 192, 659, 160, 764, 109, 369];
const PINNED_EVERYTHING: [u32; 12] = [124, 880, 516, 147, 66, 563, 811, 493, 589, 775, 718, 584];
const PINNED_MIROSTAT_1: [u32; 12] = [499, 858, 784, 585, 276, 54, 772, 450, 164, 115, 604, 620];
const PINNED_MIROSTAT_2: [u32; 12] = [606, 466, 793, 999, 609, 470, 279, 306, 703, 301, 303, 395];

#[test]
fn a_clone_continues_alike_and_a_reset_begins_anew() {
    let options = Options { seed: 5, repeat_penalty: 1.3, mirostat: Mirostat::Off, ..Options::default() };
    let mut first = sampler(options, 300);
    let mut random = Random::new(2);
    let rows: Vec<_> = (0..20).map(|_| noise(&mut random, 300)).collect();
    let tell = |sampler: &mut Sampler| -> Vec<u32> {
        let pick = |row: &Vec<f32>| {
            let token = sampler.pick(row);
            sampler.accept(token);
            token
        };
        rows.iter().map(pick).collect()
    };
    let beginning = tell(&mut first);
    let mut second = first.clone();
    let rest = tell(&mut first);
    assert_eq!(tell(&mut second), rest);
    first.reset();
    assert_eq!(tell(&mut first), beginning);
    assert_eq!(first.seed(), 5);
}

#[test]
fn the_scan_finds_the_same_as_a_sort() {
    let mut random = Random::new(3);
    for n_vocab in [1, 2, 63, 64, 65, 1000, 5000] {
        let mut logits = noise(&mut random, n_vocab);
        let shape = random.bits() % 3;
        if shape > 0 {
            logits.sort_by(f32::total_cmp);
        }
        if shape == 2 {
            logits.reverse();
        }
        let edited: Vec<_> = (0..n_vocab as u32)
            .filter(|id| id % 7 == 3)
            .map(|id| Candidate { id, logit: if id % 2 == 0 { f32::NEG_INFINITY } else { 7.5 } })
            .collect();
        let allowed = |id: u32| id % 5 != 1;
        let mut all: Vec<_> = (0u32..).zip(&logits).map(|(id, &logit)| Candidate { id, logit }).collect();
        edited.iter().for_each(|candidate| all[candidate.id as usize] = *candidate);
        all.retain(|candidate| allowed(candidate.id) && candidate.logit > f32::NEG_INFINITY);
        all.sort_by(by_logit);
        for limit in [1, 2, 40, 1000, n_vocab] {
            let mut found = Vec::new();
            gather(&logits, &edited, allowed, limit, &mut found);
            assert!(found.capacity() <= gather_capacity(n_vocab, limit).next_power_of_two().max(4));
            found.sort_by(by_logit);
            assert_eq!(found, all[..limit.min(all.len())], "{limit} of {n_vocab}");
        }
    }
}

/// Any bits at all, with a taste for the troublesome ones.
fn any_f32(random: &mut Random) -> f32 {
    const TROUBLE: [f32; 8] =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 1e-45];
    match random.bits() % 4 {
        0 => TROUBLE[(random.bits() % 8) as usize],
        1 => f32::from_bits(random.bits()),
        2 => (random.bits() % 1000) as f32 / 1000.0,
        _ => (random.bits() % 21) as f32 - 10.0,
    }
}

fn any_options(random: &mut Random, n_vocab: usize) -> Options {
    let mut chain: Vec<_> = SamplerKind::DEFAULT_CHAIN.into();
    for i in (1..chain.len()).rev() {
        chain.swap(i, (random.bits() as usize) % (i + 1));
    }
    chain.truncate((random.bits() % 10) as usize);
    let token = |random: &mut Random| random.bits() % n_vocab as u32;
    let small = |random: &mut Random| (random.bits() % 12) as usize;
    Options {
        seed: u64::from(random.bits()),
        samplers: chain,
        logit_bias: (0..small(random)).map(|_| (token(random), any_f32(random))).collect(),
        min_keep: small(random),
        temperature: any_f32(random),
        dynatemp_range: any_f32(random),
        dynatemp_exponent: any_f32(random),
        top_k: small(random),
        top_p: any_f32(random),
        min_p: any_f32(random),
        typical_p: any_f32(random),
        top_n_sigma: any_f32(random),
        xtc_probability: any_f32(random),
        xtc_threshold: any_f32(random),
        repeat_last_n: small(random),
        repeat_penalty: any_f32(random),
        presence_penalty: any_f32(random),
        frequency_penalty: any_f32(random),
        dry_multiplier: any_f32(random),
        dry_base: any_f32(random),
        dry_allowed_length: small(random),
        dry_last_n: small(random),
        dry_breakers: (0..small(random)).map(|_| vec![token(random); 1 + small(random) / 6]).collect(),
        mirostat: [Mirostat::Off, Mirostat::Off, Mirostat::V1, Mirostat::V2][(random.bits() % 4) as usize],
        mirostat_tau: any_f32(random),
        mirostat_eta: any_f32(random),
    }
}

/// Replaces whatever an error names by its default, until the options pass.
fn repaired(mut options: Options, n_vocab: usize) -> Options {
    let good = Options::default();
    while let Err(error) = options.validate(n_vocab) {
        assert_eq!(error.kind, ErrorKind::Argument);
        match error.what.split('`').nth(1).unwrap() {
            "temperature" => options.temperature = good.temperature,
            "dynatemp_range" => options.dynatemp_range = good.dynatemp_range,
            "dynatemp_exponent" => options.dynatemp_exponent = good.dynatemp_exponent,
            "top_p" => options.top_p = good.top_p,
            "min_p" => options.min_p = good.min_p,
            "typical_p" => options.typical_p = good.typical_p,
            "top_n_sigma" => options.top_n_sigma = good.top_n_sigma,
            "xtc_probability" => options.xtc_probability = good.xtc_probability,
            "xtc_threshold" => options.xtc_threshold = good.xtc_threshold,
            "repeat_penalty" => options.repeat_penalty = good.repeat_penalty,
            "presence_penalty" => options.presence_penalty = good.presence_penalty,
            "frequency_penalty" => options.frequency_penalty = good.frequency_penalty,
            "dry_multiplier" => options.dry_multiplier = good.dry_multiplier,
            "dry_base" => options.dry_base = good.dry_base,
            "mirostat_tau" => options.mirostat_tau = good.mirostat_tau,
            "mirostat_eta" => options.mirostat_eta = good.mirostat_eta,
            "logit_bias" => options.logit_bias.retain(|(_, bias)| !bias.is_nan()),
            other => panic!("{other} was valid: {error}"),
        }
    }
    options
}

#[test]
fn no_floats_make_it_panic_or_leave_the_vocabulary() {
    let mut random = Random::new(4);
    for _ in 0..4000 {
        let n_vocab = 1 + (random.bits() % 90) as usize;
        let options = repaired(any_options(&mut random, n_vocab), n_vocab);
        let mut sampler = sampler(options.clone(), n_vocab);
        let room = (sampler.candidates.capacity(), sampler.edited.capacity());
        for _ in 0..8 {
            let row: Vec<_> = (0..n_vocab).map(|_| any_f32(&mut random)).collect();
            let allowed = [random.bits(), random.bits(), random.bits()];
            let token = sampler.pick(&row);
            assert!((token as usize) < n_vocab, "{token} of {n_vocab}: {options:?}");
            if let Some(token) = sampler.pick_allowed(&row, &allowed) {
                assert!((token as usize) < n_vocab && allowed[token as usize / 32] >> (token % 32) & 1 == 1);
            }
            let log_prob = log_probs(&row, token, 4, &mut Vec::new());
            assert!(log_prob <= 0.0, "{log_prob}");
            sampler.accept(token);
        }
        assert_eq!((sampler.candidates.capacity(), sampler.edited.capacity()), room);
    }
}
