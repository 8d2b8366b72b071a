//! The arguments of `mote quantize` and `mote imatrix`.

use std::path::PathBuf;

use clap::Args;
use motelm::quantize::Regex;
use motelm_core::quant::Dtype;

use super::{ModelArg, ProcessorArgs, positive};

pub const QUANTIZE_EXAMPLES: &str = "\
Examples:
  mote quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M
  mote quantize model-f16.gguf small.gguf IQ2_XS --imatrix model.imatrix.gguf
  mote quantize model-f16.gguf mine.gguf Q4_K_S --tensor-type 'ffn_down=Q6_K' --output-type Q8_0
  mote quantize model-f16.gguf fitted.gguf --target-bpw 4.5 --verbose     types chosen by measured error
  mote quantize model-f16.gguf - Q4_0 --dry-run                           what it would be, without writing

Types: F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4_MOE MXFP4 NVFP4
Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S IQ3_XS IQ3_XXS Q2_K Q2_K_S IQ2_M IQ2_S IQ2_XS IQ2_XXS Q2_0 IQ1_M IQ1_S TQ2_0 TQ1_0
I2_S Q1_0, and COPY.";

#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// GGUF file of the model, best F16, BF16 or F32; of a split model, any part
    pub input: PathBuf,
    /// File to write; one that is there is replaced when the new one is whole
    pub output: PathBuf,
    /// The file type, a mix as llama.cpp has it; COPY leaves the tensors as they are
    #[arg(value_name = "TYPE", required_unless_present = "target_bpw", conflicts_with = "target_bpw")]
    pub mix: Option<String>,
    /// Importance of the columns, as `mote imatrix` or llama.cpp wrote it (.gguf or .dat)
    #[arg(long, value_name = "FILE")]
    pub imatrix: Option<PathBuf>,
    /// Type for the tensors whose name matches; may be repeated, the first match counts
    #[arg(long, value_name = "REGEX=TYPE", value_parser = tensor_type)]
    pub tensor_type: Vec<(Regex, Dtype)>,
    /// Type for the output matrix, also when that is the embedding
    #[arg(long, value_name = "TYPE", value_parser = weight_type)]
    pub output_type: Option<Dtype>,
    /// Type for the token embedding
    #[arg(long, visible_alias = "token-embedding-type", value_name = "TYPE", value_parser = weight_type)]
    pub token_embd_type: Option<Dtype>,
    /// The same type for all matrices, without the mix
    #[arg(long)]
    pub pure: bool,
    /// Choose types by measured error, to have this many bits per weight in all
    #[arg(long, value_name = "BITS")]
    pub target_bpw: Option<f64>,
    /// Round weights again that are rounded already: they lose more than from the original
    #[arg(long)]
    pub allow_requantize: bool,
    /// As many files as the input has: OUTPUT-00001-of-0000N.gguf
    #[arg(long)]
    pub keep_split: bool,
    /// Only tell types and sizes
    #[arg(long)]
    pub dry_run: bool,
    /// List all tensors: types, bytes, and what rounding lost
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub processor: ProcessorArgs,
}

pub const IMATRIX_EXAMPLES: &str = "\
Examples:
  mote imatrix -m model-f16.gguf -f text.txt -o model.imatrix.gguf
  mote imatrix -m model-f16.gguf -f text.txt -o model.dat --chunks 50     the format of older llama.cpp";

#[derive(Debug, Args)]
pub struct ImatrixArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// The text: like what the model will be used for, some hundred kilobytes
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// File to write; its name ends with .gguf, or with .dat for the older format
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Read at most so many pieces of the text. Default: all
    #[arg(long, value_name = "N", value_parser = positive)]
    pub chunks: Option<usize>,
    /// Tokens in a piece; each is read by itself
    #[arg(short, long, value_name = "N", default_value = "512", value_parser = positive)]
    pub context: usize,
    #[command(flatten)]
    pub processor: ProcessorArgs,
}

fn weight_type(name: &str) -> Result<Dtype, String> {
    let dtype = Dtype::from_name(name).filter(|dtype| motelm::quantize::holds_weights(*dtype));
    dtype.ok_or_else(|| format!("`{name}` is no type of weights; expected one such as Q6_K or F16"))
}

fn tensor_type(text: &str) -> Result<(Regex, Dtype), String> {
    let (pattern, dtype) = text.rsplit_once('=').ok_or("expected REGEX=TYPE, such as ffn_down=Q6_K")?;
    let pattern =
        Regex::new(pattern).map_err(|error| format!("`{pattern}` is no regular expression: {error}"))?;
    Ok((pattern, weight_type(dtype)?))
}
