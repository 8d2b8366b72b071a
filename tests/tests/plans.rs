//! Plans as text, and files of architectures that no reference model covers.
//!
//! Every reference model's plan is compared with `snapshots/NAME.txt`: what a change does to an architecture shows as
//! a diff. `UPDATE=1` writes them anew. The other tests build tiny files out of random weights, in the shapes of
//! published models, load and run them, and take away, misshape and add tensors: each must be missed by name.

use std::path::{Path, PathBuf};

use motelm_core::gguf::{File, Value, Writer};
use motelm_core::quant::Dtype;
use motelm_core::session::Options;
use motelm_core::{At, Bytes, ErrorKind, Model, Session};
use motelm_tests::{honest, list, reference_models};

fn compare_with_snapshot(name: &str, text: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("snapshots/{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
        std::fs::write(&path, text).expect("a snapshot to write");
    }
    match std::fs::read_to_string(&path) {
        Ok(expected) if expected == text => Ok(()),
        Ok(expected) => Err(format!("{name}: expected\n{expected}\nfound\n{text}")),
        Err(error) => Err(format!("{}: {error}; run with UPDATE=1", path.display())),
    }
}

#[test]
fn plans_of_reference_models_are_as_before() {
    let mut wrong = Vec::new();
    for folder in reference_models() {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let mut files: Vec<PathBuf> = list(&folder);
        files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
        // Files of one model differ in their tensors' types only, except where the name says `dense`.
        let dense = files.iter().position(|path| path.to_string_lossy().contains("dense"));
        let path = &files[dense.unwrap_or(0)];
        let file = File::parse(Bytes::new(std::fs::read(path).expect("a file"))).expect("a model file");
        let model = Model::new(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        wrong.extend(compare_with_snapshot(&name, &model.plan().to_string()).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const DIM: usize = 64;
const HIDDEN: usize = 96;
const VOCAB: usize = 40;

/// A tiny model: metadata, and tensors of two layers. In names, `N` stands for the layer's number; a `?` behind one
/// says that the architecture can do without.
struct Tiny {
    name: &'static str,
    arch: &'static str,
    numbers: &'static [(&'static str, u32)],
    factors: &'static [(&'static str, f32)],
    flags: &'static [(&'static str, bool)],
    strings: &'static [(&'static str, &'static str)],
    tensors: &'static [(&'static str, &'static [usize])],
}

const LAYER_NORM: (&str, f32) = ("attention.layer_norm_epsilon", 1e-5);
const RMS_NORM: (&str, f32) = ("attention.layer_norm_rms_epsilon", 1e-6);
const HEADS: [(&str, u32); 3] =
    [("feed_forward_length", 96), ("attention.head_count", 4), ("attention.head_count_kv", 2)];

const NOTHING: Tiny =
    Tiny { name: "", arch: "", numbers: &HEADS, factors: &[], flags: &[], strings: &[], tensors: &[] };

/// The tensors of the common block.
const LLAMA: &[(&str, &[usize])] = &[
    ("output_norm.weight", &[DIM]),
    ("blk.N.attn_norm.weight", &[DIM]),
    ("blk.N.attn_q.weight", &[DIM, DIM]),
    ("blk.N.attn_k.weight", &[DIM, 32]),
    ("blk.N.attn_v.weight", &[DIM, 32]),
    ("blk.N.attn_output.weight", &[DIM, DIM]),
    ("blk.N.ffn_norm.weight", &[DIM]),
    ("blk.N.ffn_gate.weight", &[DIM, HIDDEN]),
    ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
    ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
];

const MODELS: &[Tiny] = &[
    Tiny {
        name: "granite-3",
        arch: "granite",
        factors: &[
            RMS_NORM,
            ("attention.scale", 0.0625),
            ("embedding_scale", 12.0),
            ("residual_scale", 0.22),
            ("logit_scale", 16.0),
        ],
        tensors: LLAMA,
        ..NOTHING
    },
    Tiny {
        name: "granite-without-positions",
        arch: "granite",
        factors: &[RMS_NORM],
        flags: &[("rope.scaling.finetuned", false)],
        tensors: LLAMA,
        ..NOTHING
    },
    Tiny {
        name: "stablelm-1.6b",
        arch: "stablelm",
        numbers: &[HEADS[0], HEADS[1], HEADS[2], ("rope.dimension_count", 4)],
        factors: &[LAYER_NORM],
        flags: &[("use_parallel_residual", false)],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("output_norm.weight", &[DIM]),
            ("output_norm.bias?", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_norm.bias?", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, DIM]),
            ("blk.N.attn_q.bias?", &[DIM]),
            ("blk.N.attn_k.weight", &[DIM, 32]),
            ("blk.N.attn_k.bias?", &[32]),
            ("blk.N.attn_v.weight", &[DIM, 32]),
            ("blk.N.attn_v.bias?", &[32]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.ffn_norm.weight?", &[DIM]),
            ("blk.N.ffn_norm.bias?", &[DIM]),
            ("blk.N.ffn_gate.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "stablelm-12b",
        arch: "stablelm",
        numbers: &[HEADS[0], HEADS[1], HEADS[2], ("rope.dimension_count", 4)],
        factors: &[LAYER_NORM],
        flags: &[("use_parallel_residual", true)],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("output_norm.weight", &[DIM]),
            ("output_norm.bias?", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_norm.bias?", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, DIM]),
            ("blk.N.attn_q_norm.weight?", &[16, 4]),
            ("blk.N.attn_k.weight", &[DIM, 32]),
            ("blk.N.attn_k_norm.weight", &[16, 2]),
            ("blk.N.attn_v.weight", &[DIM, 32]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.ffn_gate.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "starcoder2-3b",
        arch: "starcoder2",
        factors: &[LAYER_NORM, ("rope.freq_base", 999_999.44)],
        tensors: &[
            ("output_norm.weight", &[DIM]),
            ("output_norm.bias?", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_norm.bias?", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, DIM]),
            ("blk.N.attn_q.bias?", &[DIM]),
            ("blk.N.attn_k.weight", &[DIM, 32]),
            ("blk.N.attn_k.bias?", &[32]),
            ("blk.N.attn_v.weight", &[DIM, 32]),
            ("blk.N.attn_v.bias?", &[32]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.attn_output.bias?", &[DIM]),
            ("blk.N.ffn_norm.weight", &[DIM]),
            ("blk.N.ffn_norm.bias?", &[DIM]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_up.bias?", &[HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
            ("blk.N.ffn_down.bias?", &[DIM]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "qwen3-30b-a3b",
        arch: "qwen3moe",
        numbers: &[
            HEADS[0],
            HEADS[1],
            HEADS[2],
            ("attention.key_length", 32),
            ("attention.value_length", 32),
            ("expert_count", 4),
            ("expert_used_count", 2),
            ("expert_feed_forward_length", 32),
        ],
        factors: &[RMS_NORM, ("rope.freq_base", 1e6)],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("output_norm.weight", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, 128]),
            ("blk.N.attn_q_norm.weight", &[32]),
            ("blk.N.attn_k.weight", &[DIM, 64]),
            ("blk.N.attn_k_norm.weight", &[32]),
            ("blk.N.attn_v.weight", &[DIM, 64]),
            ("blk.N.attn_output.weight", &[128, DIM]),
            ("blk.N.ffn_norm.weight", &[DIM]),
            ("blk.N.ffn_gate_inp.weight", &[DIM, 4]),
            ("blk.N.ffn_gate_exps.weight", &[DIM, 32, 4]),
            ("blk.N.ffn_up_exps.weight", &[DIM, 32, 4]),
            ("blk.N.ffn_up_exps.scale?", &[4]),
            ("blk.N.ffn_down_exps.weight", &[32, DIM, 4]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "falcon-40b",
        arch: "falcon",
        factors: &[LAYER_NORM],
        strings: &[("tensor_data_layout", "jploski")],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("output_norm.weight", &[DIM]),
            ("output_norm.bias?", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_norm.bias?", &[DIM]),
            ("blk.N.attn_norm_2.weight?", &[DIM]),
            ("blk.N.attn_norm_2.bias?", &[DIM]),
            ("blk.N.attn_qkv.weight", &[DIM, 128]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "phi-3-mini-128k-of-old",
        arch: "phi3",
        numbers: &[
            HEADS[0],
            HEADS[1],
            HEADS[2],
            ("rope.dimension_count", 16),
            ("rope.scaling.original_context_length", 16),
            ("attention.sliding_window", 8),
        ],
        factors: &[RMS_NORM],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("rope_factors_long.weight", &[8]),
            ("rope_factors_short.weight", &[8]),
            ("output_norm.weight", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_qkv.weight", &[DIM, 128]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.ffn_norm.weight", &[DIM]),
            ("blk.N.ffn_up.weight", &[DIM, 2 * HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "bitnet-with-scales",
        arch: "bitnet",
        factors: &[RMS_NORM, ("rope.scaling.factor", 1.0)],
        strings: &[("rope.scaling.type", "linear"), ("hidden_activation", "relu2")],
        tensors: &[
            ("output_norm.weight", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, DIM]),
            ("blk.N.attn_q.scale?", &[1]),
            ("blk.N.attn_k.weight", &[DIM, 32]),
            ("blk.N.attn_v.weight", &[DIM, 32]),
            ("blk.N.attn_sub_norm.weight", &[DIM]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.ffn_norm.weight", &[DIM]),
            ("blk.N.ffn_gate.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_sub_norm.weight", &[HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
            ("blk.N.ffn_down.scale?", &[1]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "deepseek-v2-lite-with-sigmoid",
        arch: "deepseek2",
        numbers: &[
            HEADS[0],
            HEADS[1],
            ("attention.head_count_kv", 1),
            ("attention.kv_lora_rank", 24),
            ("attention.key_length_mla", 20),
            ("attention.value_length_mla", 12),
            ("rope.dimension_count", 8),
            ("rope.scaling.original_context_length", 16),
            ("leading_dense_block_count", 0),
            ("expert_count", 4),
            ("expert_used_count", 2),
            ("expert_shared_count", 2),
            ("expert_gating_func", 2),
            ("expert_feed_forward_length", 32),
        ],
        factors: &[
            RMS_NORM,
            ("rope.scaling.factor", 4.0),
            ("rope.scaling.yarn_log_multiplier", 0.0707),
            ("expert_weights_scale", 2.5),
        ],
        flags: &[("expert_weights_norm", true)],
        strings: &[("rope.scaling.type", "yarn")],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("output_norm.weight", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, 80]),
            ("blk.N.attn_kv_a_mqa.weight", &[DIM, 32]),
            ("blk.N.attn_kv_a_norm.weight", &[24]),
            ("blk.N.attn_k_b.weight", &[12, 24, 4]),
            ("blk.N.attn_v_b.weight", &[24, 12, 4]),
            ("blk.N.attn_output.weight", &[48, DIM]),
            ("blk.N.ffn_norm.weight", &[DIM]),
            ("blk.N.ffn_gate_inp.weight", &[DIM, 4]),
            ("blk.N.exp_probs_b.bias?", &[4]),
            ("blk.N.ffn_gate_exps.weight", &[DIM, 32, 4]),
            ("blk.N.ffn_up_exps.weight", &[DIM, 32, 4]),
            ("blk.N.ffn_down_exps.weight", &[32, DIM, 4]),
            ("blk.N.ffn_gate_shexp.weight", &[DIM, 64]),
            ("blk.N.ffn_up_shexp.weight", &[DIM, 64]),
            ("blk.N.ffn_down_shexp.weight", &[64, DIM]),
        ],
    },
    Tiny {
        name: "gemma-3-4b",
        arch: "gemma3",
        numbers: &[
            HEADS[0],
            HEADS[1],
            HEADS[2],
            ("attention.key_length", 32),
            ("attention.value_length", 32),
            ("attention.sliding_window", 8),
            ("attention.sliding_window_pattern", 2),
        ],
        factors: &[RMS_NORM, ("rope.freq_base", 1e6), ("rope.scaling.factor", 8.0)],
        strings: &[("rope.scaling.type", "linear")],
        tensors: &[
            ("output_norm.weight", &[DIM]),
            ("blk.N.attn_norm.weight", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, 128]),
            ("blk.N.attn_q_norm.weight", &[32]),
            ("blk.N.attn_k.weight", &[DIM, 64]),
            ("blk.N.attn_k_norm.weight", &[32]),
            ("blk.N.attn_v.weight", &[DIM, 64]),
            ("blk.N.attn_output.weight", &[128, DIM]),
            ("blk.N.post_attention_norm.weight", &[DIM]),
            ("blk.N.ffn_norm.weight", &[DIM]),
            ("blk.N.ffn_gate.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
            ("blk.N.post_ffw_norm.weight", &[DIM]),
        ],
        ..NOTHING
    },
    Tiny {
        name: "olmo-2-32b",
        arch: "olmo2",
        factors: &[RMS_NORM],
        tensors: &[
            ("output.weight?", &[DIM, VOCAB]),
            ("output_norm.weight", &[DIM]),
            ("blk.N.attn_q.weight", &[DIM, DIM]),
            ("blk.N.attn_q_norm.weight", &[DIM]),
            ("blk.N.attn_k.weight", &[DIM, 32]),
            ("blk.N.attn_k_norm.weight", &[32]),
            ("blk.N.attn_v.weight", &[DIM, 32]),
            ("blk.N.attn_output.weight", &[DIM, DIM]),
            ("blk.N.post_attention_norm.weight", &[DIM]),
            ("blk.N.ffn_gate.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_up.weight", &[DIM, HIDDEN]),
            ("blk.N.ffn_down.weight", &[HIDDEN, DIM]),
            ("blk.N.post_ffw_norm.weight", &[DIM]),
        ],
        ..NOTHING
    },
];

type Tensors = Vec<(String, Dtype, Vec<usize>)>;

impl Tiny {
    /// All tensors, and whether the architecture can do without each.
    fn tensors(&self) -> (Tensors, Vec<bool>) {
        let embedding: (&str, &[usize]) = ("token_embd.weight", &[DIM, VOCAB]);
        let mut tensors = Vec::new();
        let mut optional = Vec::new();
        for (name, dims) in std::iter::once(&embedding).chain(self.tensors) {
            for layer in 0..if name.contains(".N.") { 2 } else { 1 } {
                let name = name.replace(".N.", &format!(".{layer}."));
                optional.push(name.ends_with('?'));
                tensors.push((name.trim_end_matches('?').into(), Dtype::F32, dims.to_vec()));
            }
        }
        (tensors, optional)
    }

    /// The file with its metadata, and other ones for each of `others`.
    fn file(&self, tensors: &Tensors, others: &[(&str, Value<'_>)]) -> Vec<u8> {
        let mut file = Writer::new();
        file.set("general.architecture", Value::Str(self.arch.as_bytes()));
        let common = [("context_length", 64), ("embedding_length", DIM as u32), ("block_count", 2)];
        let numbers = common.iter().chain(self.numbers).map(|(key, n)| (*key, Value::U32(*n)));
        let factors = self.factors.iter().map(|(key, x)| (*key, Value::F32(*x)));
        let flags = self.flags.iter().map(|(key, flag)| (*key, Value::Bool(*flag)));
        let strings = self.strings.iter().map(|(key, string)| (*key, Value::Str(string.as_bytes())));
        let own = numbers.chain(factors).chain(flags).chain(strings);
        for (key, value) in own.filter(|(key, _)| !others.iter().any(|(other, _)| other == key)) {
            file.set(&format!("{}.{key}", self.arch), value);
        }
        for (key, value) in others {
            file.set(&format!("{}.{key}", self.arch), *value);
        }
        file.set_strings("tokenizer.ggml.tokens", [b"token".as_slice(); VOCAB].into_iter());
        honest::with_tensors(file, tensors)
    }
}

fn load(bytes: Vec<u8>) -> Result<Model, motelm_core::Error> {
    Model::new(&File::parse(Bytes::new(bytes))?)
}

#[test]
fn tiny_models_are_planned_as_before_and_run() {
    let mut wrong = Vec::new();
    for tiny in MODELS {
        let (tensors, _) = tiny.tensors();
        let model = load(tiny.file(&tensors, &[])).unwrap_or_else(|e| panic!("{}: {e}", tiny.name));
        wrong.extend(compare_with_snapshot(&format!("tiny/{}", tiny.name), &model.plan().to_string()).err());
        let tokens: Vec<u32> = (0..20).map(|i| i * 7 % VOCAB as u32).collect();
        let logits = |batch| {
            let mut session =
                Session::new(&model, Options { batch, ..Options::default() }).expect("a session");
            session.forward(&tokens).expect("logits").to_vec()
        };
        let (one, many) = (logits(1), logits(20));
        assert!(one.iter().all(|x| x.is_finite()), "{}", tiny.name);
        assert!(one.iter().zip(&many).all(|(a, b)| (a - b).abs() < 1e-3), "{}", tiny.name);
        assert!(one.iter().any(|x| *x != one[0]), "{}", tiny.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_tensor_is_missed_by_name() {
    for tiny in MODELS {
        let (tensors, optional) = tiny.tensors();
        for i in 0..tensors.len() {
            let name = tensors[i].0.clone();
            let mut fewer = tensors.clone();
            fewer.remove(i);
            match load(tiny.file(&fewer, &[])) {
                // What belongs to an optional tensor has no use without it.
                Err(error) if optional[i] => assert_eq!(error.kind, ErrorKind::Surplus, "{name}: {error}"),
                Err(error) => {
                    // Without a fused projection, separate ones are looked for.
                    let expected = At::Tensor(name.replace("attn_qkv", "attn_q"));
                    assert_eq!((error.kind, error.at), (ErrorKind::Missing, expected), "{}", tiny.name);
                }
                Ok(_) => assert!(optional[i], "{}: nobody missed {name}", tiny.name),
            }
        }
    }
}

#[test]
fn every_tensor_has_its_shape() {
    for tiny in MODELS {
        let (tensors, _) = tiny.tensors();
        for i in 0..tensors.len() {
            for dimension in 0..tensors[i].2.len() {
                let mut other = tensors.clone();
                other[i].2[dimension] += 1;
                let error = load(tiny.file(&other, &[])).err().unwrap_or_else(|| {
                    panic!("{}: {} may be {:?}", tiny.name, other[i].0, other[i].2);
                });
                let expected = (ErrorKind::Shape, At::Tensor(other[i].0.clone()));
                assert_eq!((error.kind, error.at), expected, "{}", tiny.name);
            }
        }
    }
}

#[test]
fn tensors_that_nobody_uses_are_refused_unless_they_only_repeat() {
    for tiny in MODELS {
        let with = |name: &str| {
            let (mut tensors, _) = tiny.tensors();
            tensors.push((name.into(), Dtype::F32, vec![8]));
            load(tiny.file(&tensors, &[]))
        };
        for name in ["blk.0.nobody.weight", "blk.2.attn_norm.weight", "v.patch_embd.weight"] {
            let error = with(name).expect_err("a surplus tensor");
            assert_eq!(
                (error.kind, error.at),
                (ErrorKind::Surplus, At::Tensor(name.into())),
                "{}",
                tiny.name
            );
        }
        with("blk.0.attn_rot_embd.inv_freq").unwrap_or_else(|e| panic!("{}: {e}", tiny.name));
    }
}

#[test]
fn values_that_change_the_model_are_refused() {
    let cases: [(&str, &str, Value<'_>); 12] = [
        ("granite-3", "rope.scaling.type", Value::Str(b"longrope")),
        ("granite-3", "attention.causal", Value::Bool(false)),
        ("granite-3", "attention.value_length", Value::U32(8)),
        ("falcon-40b", "attention.max_alibi_bias", Value::F32(8.0)),
        ("olmo-2-32b", "attention.sliding_window", Value::U32(8)),
        ("olmo-2-32b", "attention.clamp_kqv", Value::F32(8.0)),
        ("qwen3-30b-a3b", "expert_gating_func", Value::U32(2)),
        ("qwen3-30b-a3b", "expert_weights_norm", Value::Bool(false)),
        ("bitnet-with-scales", "hidden_activation", Value::Str(b"gelu")),
        ("deepseek-v2-lite-with-sigmoid", "expert_group_count", Value::U32(8)),
        ("deepseek-v2-lite-with-sigmoid", "expert_gating_func", Value::U32(3)),
        ("deepseek-v2-lite-with-sigmoid", "attention.temperature_scale", Value::F32(0.1)),
    ];
    for (name, key, value) in cases {
        let tiny = MODELS.iter().find(|tiny| tiny.name == name).expect("a model");
        let error = load(tiny.file(&tiny.tensors().0, &[(key, value)])).expect_err(key);
        let expected = (ErrorKind::Unsupported, At::Key(format!("{}.{key}", tiny.arch)));
        assert_eq!((error.kind, error.at), expected, "{name}");
    }
}
