//! Architectures: metadata and tensor names of a file become a [`Plan`].
//!
//! Each architecture is a short function from a `Builder` to a [`Plan`], and a row below. The builder claims
//! every tensor it hands out and checks its shape; what nobody claimed in the end is an error, because a tensor that
//! the plan does not use is a sign that the plan is not the model.

mod bert;
mod bitnet;
mod builder;
mod deepseek;
mod falcon;
mod gemma;
mod gpt;
mod gpt_oss;
mod lfm2;
mod llama;
mod mamba;
mod phi;
mod qwen;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Error, ErrorKind, Result};
use crate::gguf::File;
use crate::model::plan::Plan;
use builder::Builder;

/// Declares the architectures: `general.architecture`, and the function that plans it.
macro_rules! archs {
    ($($name:literal => $plan:path;)*) => {
        /// Names of all architectures, as `general.architecture` gives them.
        pub const NAMES: &[&str] = &[$($name),*];

        fn planner(name: &str) -> Option<fn(&mut Builder<'_>) -> Result<Plan>> {
            match name {
                $($name => Some($plan),)*
                _ => None,
            }
        }
    };
}

archs! {
    "llama" => llama::llama;
    "granite" => llama::granite;
    "smollm3" => llama::smollm3;
    "olmo2" => llama::olmo2;
    "qwen2" => qwen::qwen2;
    "qwen2moe" => qwen::qwen2moe;
    "qwen3" => qwen::qwen3;
    "qwen3moe" => qwen::qwen3moe;
    "phi2" => phi::phi2;
    "phi3" => phi::phi3;
    "gemma" => gemma::gemma;
    "gemma2" => gemma::gemma2;
    "gemma3" => gemma::gemma3;
    "gemma-embedding" => gemma::embedding;
    "falcon" => falcon::falcon;
    "gpt2" => gpt::gpt2;
    "gptneox" => gpt::gptneox;
    "starcoder2" => gpt::starcoder2;
    "stablelm" => gpt::stablelm;
    "gpt-oss" => gpt_oss::gpt_oss;
    "deepseek2" => deepseek::deepseek2;
    "lfm2" => lfm2::lfm2;
    "mamba2" => mamba::mamba2;
    "bitnet" => bitnet::bitnet;
    "bitnet-25" => bitnet::bitnet_b158;
    "bitnet-b1.58" => bitnet::bitnet_b158;
    "bert" => bert::bert;
    "nomic-bert" => bert::nomic_bert;
    "jina-bert-v2" => bert::jina_bert_v2;
    "jina-bert-v3" => bert::jina_bert_v3;
}

/// Plans the model in `file`.
///
/// # Errors
/// An unknown architecture; a missing, misshapen or surplus tensor; a missing or impossible hyper-parameter. Each
/// names the key or tensor.
pub fn plan(file: &File) -> Result<Plan> {
    let key = "general.architecture";
    let name = file.str(key)?.ok_or_else(|| {
        Error::new(ErrorKind::Missing, "the file does not say its architecture: no model?").at_key(key)
    })?;
    let planner = planner(name).ok_or_else(|| {
        let what = format!("architecture `{name}` is not known; known are {}", NAMES.join(", "));
        Error::new(ErrorKind::Unsupported, what).at_key(key)
    })?;
    let mut builder = Builder::new(file, name);
    let plan = planner(&mut builder)?;
    let surplus: Vec<&str> = builder.unclaimed().filter(|name| !is_redundant(name)).collect();
    match surplus.first() {
        None => Ok(plan),
        Some(first) => {
            let others = surplus.len() - 1;
            let others = if others > 0 { format!(", nor {others} others") } else { String::new() };
            let what = format!("architecture `{name}` does not use it{others}: the file is another model's");
            Err(Error::new(ErrorKind::Surplus, what).at_tensor(*first))
        }
    }
}

/// Whether a tensor only repeats what metadata says: the frequencies that old converters kept.
fn is_redundant(name: &str) -> bool {
    name.ends_with(".attn_rot_embd.inv_freq") || name.ends_with(".attn_rot_embd.weight")
}
