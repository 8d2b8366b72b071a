//! Every door of `motelm_tests::fuzz`, with honest input and a few thousand seeded mutations of it.

use motelm_core::sample::random::Random;
use motelm_tests::fuzz::{TARGETS, mutate};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Mutations per door, unless `MOTE_MUTATIONS` asks for more.
const MUTATIONS: u64 = 4000;

#[test]
fn no_door_breaks() {
    let asked = std::env::var("MOTE_MUTATIONS").ok();
    let mutations = asked.map_or(MUTATIONS, |number| number.parse().expect("a number of mutations"));
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has seeds", target.name);
        for number in 0..mutations {
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
