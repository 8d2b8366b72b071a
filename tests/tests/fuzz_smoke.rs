//! Every door of `motelm_tests::fuzz`, with honest input and a few thousand seeded mutations of it.

use motelm_core::sample::random::Random;
use motelm_tests::fuzz::{TARGETS, mutate};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Per door. More than this is libFuzzer's work.
const MUTATIONS: u64 = 4000;

#[test]
fn no_door_breaks() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has seeds", target.name);
        for number in 0..MUTATIONS {
            let mut random = Random::new(number);
            let seed = &seeds[number as usize % seeds.len()];
            let data = if number < seeds.len() as u64 { seed.clone() } else { mutate(seed, &mut random) };
            let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&data)));
            if let Err(panic) = outcome {
                eprintln!("the door `{}` broke at mutation {number}: {} bytes", target.name, data.len());
                resume_unwind(panic);
            }
        }
    }
}
