//! Small honest GGUF files to lie about, made with the engine's own writer.

use motelm_core::Bytes;
use motelm_core::gguf::{File, Value, Writer};
use motelm_core::quant::{Dtype, quantize};
use motelm_core::sample::random::Random;

/// All of them.
pub fn files() -> Vec<Vec<u8>> {
    vec![llama(), spm(), unigram(), wordpiece()]
}

/// The tensor of files that are only a vocabulary.
pub const UNUSED: &str = "unused.weight";

/// Tokens of the byte-level vocabulary: the end of text, 256 bytes, and a few merges.
const MERGES: [&str; 6] = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r"];
const DIM: usize = 32;
const FFN: usize = 64;
const HEADS: u32 = 4;
const KV_HEADS: u32 = 2;

/// A whole language model of two layers with random weights, and a byte-level BPE tokenizer.
pub fn llama() -> Vec<u8> {
    let tokens = byte_level_tokens();
    let mut file = Writer::new();
    file.set("general.architecture", Value::Str(b"llama"));
    file.set("general.name", Value::Str(b"honest"));
    for (key, value) in [
        ("context_length", 64),
        ("embedding_length", DIM as u32),
        ("block_count", 2),
        ("feed_forward_length", FFN as u32),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("rope.dimension_count", DIM as u32 / HEADS),
        ("vocab_size", tokens.len() as u32),
    ] {
        file.set(&format!("llama.{key}"), Value::U32(value));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    file.set("llama.rope.freq_base", Value::F32(10000.0));
    file.set("tokenizer.ggml.model", Value::Str(b"gpt2"));
    file.set("tokenizer.ggml.pre", Value::Str(b"gpt-2"));
    set_tokens(&mut file, &tokens);
    file.set_strings("tokenizer.ggml.merges", MERGES.iter().map(|merge| merge.as_bytes()));
    file.set("tokenizer.ggml.bos_token_id", Value::U32(0));
    file.set("tokenizer.ggml.eos_token_id", Value::U32(0));
    file.set("tokenizer.ggml.add_bos_token", Value::Bool(true));

    let kv = DIM / HEADS as usize * KV_HEADS as usize;
    let mut tensors = vec![
        ("token_embd.weight".to_string(), Dtype::Q8_0, vec![DIM, tokens.len()]),
        ("output_norm.weight".to_string(), Dtype::F32, vec![DIM]),
    ];
    for layer in 0..2 {
        for (name, dtype, dims) in [
            ("attn_norm", Dtype::F32, vec![DIM]),
            ("attn_q", Dtype::Q4_0, vec![DIM, DIM]),
            ("attn_k", Dtype::Q8_0, vec![DIM, kv]),
            ("attn_v", Dtype::F16, vec![DIM, kv]),
            ("attn_output", Dtype::Q8_0, vec![DIM, DIM]),
            ("ffn_norm", Dtype::F32, vec![DIM]),
            ("ffn_gate", Dtype::Q8_0, vec![DIM, FFN]),
            ("ffn_up", Dtype::Q8_0, vec![DIM, FFN]),
            ("ffn_down", Dtype::Q8_0, vec![FFN, DIM]),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), dtype, dims));
        }
    }
    with_tensors(file, &tensors)
}

/// A SentencePiece vocabulary (merges by score, bytes as a last resort), without a model.
pub fn spm() -> Vec<u8> {
    let bytes = (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6));
    let pieces = ["▁", "h", "e", "l", "o", "he", "ll", "hell", "hello", "▁hello"];
    let pieces = pieces.iter().zip(0i8..).map(|(piece, rank)| ((*piece).into(), f32::from(-rank), 1));
    let special = [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(text, kind)| (text.to_string(), 0.0, kind));
    vocabulary("llama", "default", special.into_iter().chain(bytes).chain(pieces).collect())
}

/// A SentencePiece vocabulary of the unigram kind, without a model.
pub fn unigram() -> Vec<u8> {
    let pieces = ["▁", "h", "e", "l", "o", "he", "llo", "hello", "▁hello"];
    let pieces = pieces.iter().zip(2i8..).map(|(piece, rank)| ((*piece).into(), f32::from(-rank), 1));
    let special = [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(text, kind)| (text.to_string(), 0.0, kind));
    vocabulary("t5", "default", special.into_iter().chain(pieces).collect())
}

/// A WordPiece vocabulary, without a model.
pub fn wordpiece() -> Vec<u8> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|text| (text.to_string(), 0.0, 3));
    let words = ["▁hello", "▁he", "llo", "▁w", "or", "ld", "▁,", "▁h", "e", "l", "o"];
    let words = words.iter().map(|word| ((*word).into(), 0.0, 1));
    vocabulary("bert", "jina-v2-en", special.into_iter().chain(words).collect())
}

fn vocabulary(model: &str, pre: &str, tokens: Vec<(String, f32, i32)>) -> Vec<u8> {
    let mut file = Writer::new();
    file.set("general.architecture", Value::Str(b"llama"));
    file.set("tokenizer.ggml.model", Value::Str(model.as_bytes()));
    file.set("tokenizer.ggml.pre", Value::Str(pre.as_bytes()));
    file.set_array("tokenizer.ggml.scores", &tokens.iter().map(|token| token.1).collect::<Vec<_>>());
    set_tokens(&mut file, &tokens);
    for (key, token) in
        [("bos_token_id", 1), ("eos_token_id", 2), ("unknown_token_id", 0), ("seperator_token_id", 3)]
    {
        file.set(&format!("tokenizer.ggml.{key}"), Value::U32(token));
    }
    file.set("tokenizer.ggml.add_bos_token", Value::Bool(true));
    // Without a tensor, the padding after the last entry could pass for more of it.
    with_tensors(file, &[(UNUSED.to_string(), Dtype::F32, vec![8])])
}

fn set_tokens(file: &mut Writer, tokens: &[(String, f32, i32)]) {
    file.set_strings("tokenizer.ggml.tokens", tokens.iter().map(|token| token.0.as_bytes()));
    file.set_array("tokenizer.ggml.token_type", &tokens.iter().map(|token| token.2).collect::<Vec<_>>());
}

/// GPT-2's way to write a byte as a character: itself where it can be seen, else the next code point from 256 on.
fn byte_level_tokens() -> Vec<(String, f32, i32)> {
    let mut next = 256;
    let bytes = (0..=255u8).map(|byte| {
        let visible = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let code = if visible { u32::from(byte) } else { next };
        next += u32::from(!visible);
        char::from_u32(code).expect("below the surrogates").to_string()
    });
    let bytes: Vec<_> = bytes.collect();
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    let tokens = bytes.into_iter().chain(merged).map(|text| (text, 0.0, 1));
    std::iter::once(("<|endoftext|>".to_string(), 0.0, 3)).chain(tokens).collect()
}

/// The file with these tensors, filled with small random weights.
///
/// # Panics
/// When a shape cannot be stored.
pub fn with_tensors(mut file: Writer, tensors: &[(String, Dtype, Vec<usize>)]) -> Vec<u8> {
    let mut random = Random::new(0);
    let mut data = Vec::new();
    for (name, dtype, dims) in tensors {
        let len = file.tensor(name, *dtype, dims).expect("an honest shape");
        let elements: usize = dims.iter().product();
        let weights: Vec<f32> = (0..elements).map(|_| random.unit() as f32 - 0.5).collect();
        let start = data.len();
        data.resize(start + len, 0);
        quantize(*dtype, &weights, dims[0], None, &mut data[start..]).expect("whole rows");
        data.resize(data.len() + Writer::padding(len), 0);
    }
    let mut bytes = file.head();
    bytes.extend(data);
    bytes
}

/// A file without the entry `key`, and with whatever `edit` writes instead.
///
/// # Panics
/// When the file is not honest.
pub fn edited(bytes: &[u8], key: &str, edit: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let file = File::parse(Bytes::new(bytes.to_vec())).expect("an honest file");
    let mut writer = Writer::new();
    file.metadata().filter(|(name, _)| *name != key).for_each(|(name, value)| writer.set(name, value));
    edit(&mut writer);
    let mut data = Vec::new();
    for tensor in file.tensors() {
        writer.tensor(&tensor.name, tensor.dtype, tensor.dims()).expect("an honest shape");
        data.extend_from_slice(&file.data(tensor));
        data.resize(data.len() + Writer::padding(tensor.len), 0);
    }
    [writer.head(), data].concat()
}
