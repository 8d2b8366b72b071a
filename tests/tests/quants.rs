//! Every format of the registry against reference blocks, and against arbitrary input.

use std::collections::BTreeSet;
use std::path::PathBuf;

use motelm_core::quant::{Dtype, dequantize, dequantize_tensor, quantize};
use motelm_tests::{f32s, golden, json, read};
use proptest::prelude::*;
use serde_json::Value as Json;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// One case of the reference set: blocks, what they decode to, and what they were made of.
struct Case {
    dir: PathBuf,
    about: Json,
}

impl Case {
    fn all() -> Vec<Self> {
        let dir = golden("quants");
        let manifest = json(&dir.join("manifest.json"));
        assert_eq!(manifest["format"], "golden-quants-1");
        let cases = manifest["cases"].as_array().expect("cases");
        cases.iter().map(|about| Self { dir: dir.clone(), about: about.clone() }).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.about[key].as_str().unwrap_or_else(|| panic!("{key} of {}", self.about))
    }

    fn number(&self, key: &str) -> usize {
        self.about[key].as_u64().unwrap_or_else(|| panic!("{key} of {}", self.about)) as usize
    }

    fn dtype(&self) -> Option<Dtype> {
        let dtype = Dtype::from_name(self.text("type"))?;
        assert_eq!(dtype.id() as usize, self.number("type_id"), "{dtype}");
        assert_eq!(dtype.block_len(), self.number("block_elems"), "{dtype}");
        assert_eq!(dtype.block_bytes(), self.number("block_bytes"), "{dtype}");
        assert_eq!(dtype.tail_bytes() as u64, self.about["tail_bytes"].as_u64().unwrap_or(0), "{dtype}");
        Some(dtype)
    }

    fn name(&self) -> String {
        format!("{}.{}", self.text("type"), self.text("case"))
    }

    fn blocks(&self) -> Vec<u8> {
        read(&self.dir.join(self.text("blocks")))
    }

    fn values(&self, key: &str) -> Option<Vec<f32>> {
        self.about[key].as_str().map(|file| f32s(&self.dir.join(file)))
    }
}

fn decoded(dtype: Dtype, blocks: &[u8]) -> Vec<f32> {
    let n_blocks = (blocks.len() - dtype.tail_bytes()) / dtype.block_bytes();
    let mut out = vec![0.0; n_blocks * dtype.block_len()];
    dequantize_tensor(dtype, blocks, &mut out).unwrap();
    out
}

fn encoded(dtype: Dtype, x: &[f32], cols: usize, importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0; dtype.tensor_bytes(&[x.len(), 1, 1, 1]).unwrap()];
    quantize(dtype, x, cols, importance, &mut out).unwrap();
    out
}

/// The types whose encoder must give the reference's bytes; for the others the error counts.
const EXACT: &[&str] = &["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"];

#[test]
fn blocks_decode_to_the_bit() {
    let mut missing = BTreeSet::new();
    for case in Case::all() {
        let Some(dtype) = case.dtype() else {
            missing.insert(case.text("type").to_owned());
            continue;
        };
        let expected = case.values("f32").expect("decoded values");
        let found = decoded(dtype, &case.blocks());
        assert_eq!(found.len(), expected.len(), "{}", case.name());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same, "{} element {i}: {found:e}, expected {expected:e}", case.name());
        }
    }
    assert!(missing.is_empty(), "types of the reference set that have no format here: {missing:?}");
}

#[test]
fn encoders_are_as_good_as_the_reference() {
    for case in Case::all() {
        let (Some(dtype), Some(x)) = (case.dtype(), case.values("src")) else { continue };
        let reference = case.blocks();
        let importance = case.values("imatrix");
        let blocks = encoded(dtype, &x, case.number("cols"), importance.as_deref());
        if EXACT.contains(&dtype.name()) {
            let pairs = blocks.chunks(dtype.block_bytes()).zip(reference.chunks(dtype.block_bytes()));
            let wrong: Vec<_> = pairs.enumerate().filter(|(_, (a, b))| a != b).collect();
            assert!(wrong.is_empty(), "{}: {} blocks, first {:?}", case.name(), wrong.len(), wrong[0]);
        } else {
            let error = |blocks: &[u8]| rms(&x, &decoded(dtype, blocks), importance.as_deref());
            let (ours, theirs) = (error(&blocks), error(&reference));
            println!("{}: rms {ours:.6}, reference {theirs:.6}", case.name());
            assert!(ours <= theirs, "{}: rms {ours}, reference {theirs}", case.name());
        }
    }
}

#[test]
fn ternary_weights_come_back_exactly() {
    let x: Vec<f32> = (0..512).map(|i| [0.0, -0.375, 0.375, 0.375][i * 7 % 11 % 4]).collect();
    for name in ["TQ1_0", "TQ2_0", "I2_S", "Q2_0"] {
        let dtype = Dtype::from_name(name).unwrap();
        assert_eq!(decoded(dtype, &encoded(dtype, &x, 256, None)), x, "{name}");
    }
    for case in Case::all().iter().filter(|case| case.text("type") == "I2_S") {
        let x = case.values("f32").expect("decoded values");
        assert_eq!(encoded(Dtype::I2_S, &x, case.number("cols"), None), case.blocks(), "{}", case.name());
    }
}

#[test]
fn importance_serves_the_important() {
    for case in Case::all() {
        let (Some(dtype), Some(x)) = (case.dtype(), case.values("src")) else { continue };
        let cols = case.number("cols");
        let importance: Vec<f32> = (0..cols).map(|column| if column % 7 == 0 { 50.0 } else { 0.1 }).collect();
        let error = |given| rms(&x, &decoded(dtype, &encoded(dtype, &x, cols, given)), Some(&importance));
        let (with, without) = (error(Some(&importance)), error(None));
        println!("{dtype}: weighted rms {with:.6}, without importance {without:.6}");
        assert!(with <= without, "{dtype}: weighted rms {with}, without importance {without}");
    }
}

/// Root of the mean squared difference, weighted by column where there are weights.
fn rms(x: &[f32], y: &[f32], importance: Option<&[f32]>) -> f64 {
    let weight = |i: usize| importance.map_or(1.0, |weights| f64::from(weights[i % weights.len()]));
    let pairs = x.iter().zip(y).enumerate();
    let (sum, total) = pairs.fold((0.0, 0.0), |(sum, total), (i, (&x, &y))| {
        (sum + weight(i) * f64::from(x - y).powi(2), total + weight(i))
    });
    (sum / total).sqrt()
}

/// Bounds on an encoder's error, in parts of the largest magnitude of a block of 256.
const WORST: &[(&str, f32)] = &[
    ("F32", 0.0),
    ("F64", 0.0),
    ("F16", 0.0005),
    ("BF16", 0.004),
    ("Q8_0", 0.005),
    ("Q6_K", 0.05),
    ("Q5_K", 0.08),
    ("Q4_K", 0.15),
    ("Q5_0", 0.07),
    ("Q5_1", 0.035),
    ("Q4_0", 0.13),
    ("Q4_1", 0.07),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_bytes_decode(dtype in dtypes(), seed in any::<u64>(), blocks in 0..5usize) {
        let blocks: Vec<u8> = bytes(seed).take(blocks * dtype.block_bytes() + dtype.tail_bytes()).collect();
        decoded(dtype, &blocks);
    }

    #[test]
    fn any_values_encode(dtype in dtypes(), seed in any::<u64>(), weighted in any::<bool>()) {
        let bits: Vec<u8> = bytes(seed).take(4 * 256).collect();
        let x: Vec<f32> = bits.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        encoded(dtype, &x, 256, weighted.then_some(&x[..]));
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-45, -0.0] {
            let mut x = vec![special; 256];
            encoded(dtype, &x, 256, None);
            x[17] = 1.0;
            encoded(dtype, &x, 256, weighted.then_some(&x[..]));
        }
    }

    #[test]
    fn what_was_encoded_comes_back_near(x in prop::collection::vec(-1.0f32..1.0, 256), power in -4..9) {
        let x: Vec<f32> = x.iter().map(|x| x * 2f32.powi(power)).collect();
        let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for &(name, worst) in WORST {
            let dtype = Dtype::from_name(name).unwrap();
            let back = decoded(dtype, &encoded(dtype, &x, 256, None));
            for (x, back) in x.iter().zip(back) {
                prop_assert!((x - back).abs() <= worst * largest, "{}: {} became {}", dtype, x, back);
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused(dtype in dtypes(), elements in 0..600usize, bytes in 0..600usize) {
        let fits = dtype.row_bytes(elements) == Some(bytes);
        prop_assert_eq!(dequantize(dtype, &vec![0; bytes], &mut vec![0.0; elements]).is_ok(), fits);
        let fits = dtype.tensor_bytes(&[elements, 1, 1, 1]) == Some(bytes);
        prop_assert_eq!(dequantize_tensor(dtype, &vec![0; bytes], &mut vec![0.0; elements]).is_ok(), fits);
        let x = vec![0.0; elements];
        prop_assert_eq!(quantize(dtype, &x, elements, None, &mut vec![0; bytes]).is_ok(), fits && elements > 0);
        prop_assert!(quantize(dtype, &x, elements, Some(&vec![0.0; elements + 1]), &mut vec![0; bytes]).is_err());
        prop_assert!(quantize(dtype, &x, elements + 1, None, &mut vec![0; bytes]).is_err() || elements == 0);
    }
}

fn dtypes() -> impl Strategy<Value = Dtype> {
    prop::sample::select(Dtype::ALL)
}

/// An endless stream of bytes (splitmix64).
fn bytes(mut seed: u64) -> impl Iterator<Item = u8> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ x >> 31).to_le_bytes()
    })
    .flatten()
}

#[test]
fn constant_and_zero_blocks_come_back() {
    for &(name, worst) in WORST {
        let dtype = Dtype::from_name(name).unwrap();
        assert!(decoded(dtype, &encoded(dtype, &[0.0; 256], 256, None)).iter().all(|&x| x == 0.0), "{name}");
        for constant in [1.0, -0.25] {
            let back = decoded(dtype, &encoded(dtype, &[constant; 256], 256, None));
            assert!(
                back.iter().all(|x| (x - constant).abs() <= worst),
                "{name}: {constant} became {}",
                back[0]
            );
        }
    }
}
