//! The one source of chance: xoshiro128++ seeded through splitmix64.
//!
//! Both are the published algorithms of Blackman and Vigna (<https://prng.di.unimi.it>), 32-bit words throughout, so
//! that a seed gives the same stream on every target. Nothing here is fit for secrets.

/// A stream of random numbers, fixed by its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u32; 4],
}

impl Random {
    /// The stream of a seed; every seed is a good one, zero included.
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        let [a, b] = [splitmix64(&mut counter), splitmix64(&mut counter)];
        Self { state: [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32] }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(7).wrapping_add(s[0]);
        let t = s[1] << 9;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(11);
        result
    }

    /// A number from 0 (included) to 1 (excluded), a multiple of 2^-53; takes two draws, high bits first.
    pub fn unit(&mut self) -> f64 {
        let high = u64::from(self.bits()) << 32;
        let bits = (high | u64::from(self.bits())) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }
}

fn splitmix64(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *counter;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_values() {
        let mut counter = 0;
        assert_eq!(splitmix64(&mut counter), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(&mut counter), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn xoshiro_gives_the_published_values() {
        let mut random = Random { state: [1, 2, 3, 4] };
        let expected = [641, 1_573_767, 3_222_811_527, 3_517_856_514, 836_907_274, 4_247_214_768];
        assert_eq!(expected.map(|_| random.bits()), expected);
    }

    #[test]
    fn unit_is_uniform_in_the_half_open_interval() {
        let mut random = Random::new(7);
        let mut tenths = [0u32; 10];
        for _ in 0..100_000 {
            let x = random.unit();
            assert!((0.0..1.0).contains(&x));
            tenths[(x * 10.0) as usize] += 1;
        }
        // 10,000 expected in each; 400 is four standard deviations.
        assert!(tenths.iter().all(|&n| n.abs_diff(10_000) < 400), "{tenths:?}");
    }
}
