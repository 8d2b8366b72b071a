//! The arguments, with the help that they print.
// That help is no rustdoc: its brackets are defaults, not links.
#![expect(rustdoc::broken_intra_doc_links)]

mod encode;
mod processor;
mod quantize;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use motelm_chat::DateTime;
use motelm_core::KvType;
use motelm_core::sample::SamplerKind;
use motelm_core::simd::Level;

use encode::{EMBED_EXAMPLES, SIMILAR_EXAMPLES};
pub use encode::{EmbedArgs, EncodeArgs, Format, SimilarArgs};

pub use processor::ProcessorArgs;
use processor::level;

use quantize::{IMATRIX_EXAMPLES, QUANTIZE_EXAMPLES};
pub use quantize::{ImatrixArgs, QuantizeArgs};

const TOUR: &str = "\
Examples:
  mote run \"Once upon a time\"                       a story by the model inside this program
  mote run -m qwen2.5-0.5b.gguf -n 50 \"The capital of France is\"
  mote chat -m qwen2.5-0.5b.gguf                    a conversation; /help lists its commands
  mote inspect model.gguf                           what a file holds, and what is wrong with it
  echo \"Hello\" | mote tokenize -m model.gguf -      the tokens of a text

Exit codes: 0 done, 2 wrong arguments, 3 a bad file or model, 4 not enough memory, 130 Ctrl-C, 1 anything else.";

/// Runs GGUF language models.
#[derive(Debug, Parser)]
#[command(name = "mote", version, after_help = TOUR, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Continue a text
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Talk with a model
    #[command(after_help = CHAT_EXAMPLES)]
    Chat(ChatArgs),
    /// Make vectors of texts
    #[command(after_help = EMBED_EXAMPLES)]
    Embed(EmbedArgs),
    /// Find the texts of a file that are nearest to a query
    #[command(after_help = SIMILAR_EXAMPLES)]
    Similar(SimilarArgs),
    /// Show the tokens of a text, or the text of tokens
    #[command(after_help = TOKENIZE_EXAMPLES)]
    Tokenize(TokenizeArgs),
    /// Show what a model file holds
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Show the raw numbers that a model computes
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeArgs),
    /// Show the text that a chat template makes of messages
    #[command(after_help = RENDER_EXAMPLES)]
    Render(RenderArgs),
    /// Measure how fast a model runs here
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Write a model with weights of fewer bits
    #[command(after_help = QUANTIZE_EXAMPLES)]
    Quantize(QuantizeArgs),
    /// Measure, over a text, how much each column of a model's matrices matters
    #[command(after_help = IMATRIX_EXAMPLES)]
    Imatrix(ImatrixArgs),
}

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArg {
    /// GGUF file of the model; of a split model, any part. Default: the story model inside this program
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Read the file into memory of its own instead of mapping it: starts slower and takes more memory, but often
    /// writes faster, as memory comes in large pages then
    #[arg(long)]
    pub no_mmap: bool,
}

/// How a model is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub struct SessionArgs {
    /// Tokens that fit, prompt and answer together. Default: as many as the model was trained with, at most 4096
    #[arg(short, long, value_name = "N", value_parser = positive)]
    pub context: Option<usize>,
    /// Tokens of a prompt that are worked on together: more is faster, and takes memory
    #[arg(short, long, value_name = "N", default_value = "512", value_parser = positive)]
    pub batch: usize,
    /// How keys and values are stored: q8_0 takes half the memory of f16, q4_0 a quarter, and answers change a little
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub kv: Kv,
    /// Multiply decoded weights in f32 instead of with 8-bit activations: slow, for comparison
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub processor: ProcessorArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kv {
    F16,
    F32,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

impl From<Kv> for KvType {
    fn from(kv: Kv) -> Self {
        match kv {
            Kv::F16 => Self::F16,
            Kv::F32 => Self::F32,
            Kv::Q8_0 => Self::Q8_0,
            Kv::Q4_0 => Self::Q4_0,
        }
    }
}

/// How tokens are chosen. What is absent has the value in brackets.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature; 0 always takes the likeliest token [0.8; story model 0.6]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temp: Option<f32>,
    /// Same seed, same text. Default: another one each time; --stats and --json tell it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Keep the K likeliest tokens; 0 is off [40]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens that hold this share of the probability; 1 is off [0.95; story model 1]
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Keep tokens at least this share as likely as the best; 0 is off [0.05; story model 0]
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Locally typical sampling; 1 is off [1]
    #[arg(long, value_name = "P")]
    pub typical_p: Option<f32>,
    /// Keep logits within N standard deviations of the best; negative is off [-1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub top_n_sigma: Option<f32>,
    /// How often XTC drops the likeliest tokens; 0 is off [0]
    #[arg(long, value_name = "P")]
    pub xtc_probability: Option<f32>,
    /// From which probability XTC drops tokens [0.1]
    #[arg(long, value_name = "P")]
    pub xtc_threshold: Option<f32>,
    /// Temperature moves by this with the entropy; 0 is off [0]
    #[arg(long, value_name = "RANGE")]
    pub dynatemp_range: Option<f32>,
    /// Power of the entropy in dynamic temperature [1]
    #[arg(long, value_name = "X")]
    pub dynatemp_exponent: Option<f32>,
    /// Truncating samplers leave at least N tokens [0]
    #[arg(long, value_name = "N")]
    pub min_keep: Option<usize>,
    /// Past tokens that the penalties look at [64]
    #[arg(long, value_name = "N")]
    pub repeat_last_n: Option<usize>,
    /// Divide the logits of past tokens; 1 is off [1]
    #[arg(long, value_name = "X")]
    pub repeat_penalty: Option<f32>,
    /// Taken from the logit of past tokens; 0 is off [0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Taken from the logit of past tokens as often as they occurred; 0 is off [0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// DRY penalty against repeated sequences; 0 is off [0]
    #[arg(long, value_name = "X")]
    pub dry_multiplier: Option<f32>,
    /// DRY: growth of the penalty per token [1.75]
    #[arg(long, value_name = "X")]
    pub dry_base: Option<f32>,
    /// DRY: length of repetitions that go unpunished [2]
    #[arg(long, value_name = "N")]
    pub dry_allowed_length: Option<usize>,
    /// DRY: past tokens it looks at [the whole context]
    #[arg(long, value_name = "N")]
    pub dry_last_n: Option<usize>,
    /// DRY: a text that repetitions do not reach across; may be repeated [line feed : " *]
    #[arg(long, value_name = "TEXT")]
    pub dry_breaker: Vec<String>,
    /// Mirostat instead of the chain: 0 (off), 1 or 2 [0]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub mirostat: Option<u8>,
    /// Mirostat: surprise to hold, in bits [5]
    #[arg(long, value_name = "X")]
    pub mirostat_tau: Option<f32>,
    /// Mirostat: how fast it learns [0.1]
    #[arg(long, value_name = "X")]
    pub mirostat_eta: Option<f32>,
    /// The chain's order; by default penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature
    #[arg(long, value_name = "NAMES", value_parser = chain)]
    pub samplers: Option<Chain>,
    /// Add X to the logit of a token; may be repeated. `-inf` bans the token
    #[arg(long, value_name = "ID=X", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
}

/// The links of a sampler chain.
#[derive(Debug, Clone)]
pub struct Chain(pub Vec<SamplerKind>);

/// What ends a generation, and what is told about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ending")]
pub struct LimitArgs {
    /// Tokens to generate at most [run: 256; chat: no limit but the context]
    #[arg(short = 'n', long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// End where this text appears, and leave it out; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// Go on when the model says that the text is over
    #[arg(long)]
    pub ignore_eos: bool,
    /// When the context is full, forget the earlier half of the text instead of ending
    #[arg(long)]
    pub shift: bool,
    /// Tell speed and memory at the end, on stderr
    #[arg(long)]
    pub stats: bool,
}

const RUN_EXAMPLES: &str = "\
Examples:
  mote run \"Once upon a time\"
  mote run --temp 0 -n 40 \"The little mermaid\"       the same words every time
  mote run -m model.gguf -f letter.txt --stats       the prompt from a file
  git log -5 | mote run -m model.gguf --json -       the prompt from a pipe, the answer as JSON
  mote render -m model.gguf --messages chat.json > p.txt
  mote run -m model.gguf --parse-special --no-add-special -f p.txt   a rendered conversation";

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArg,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Do not repeat PROMPT before its continuation
    #[arg(long)]
    pub no_echo: bool,
    /// One JSON object instead of text: text, tokens, prompt_tokens, stop, timings
    #[arg(long)]
    pub json: bool,
    /// With --json: log-probabilities of each token and of the N likeliest
    #[arg(long, value_name = "N", requires = "json")]
    pub logprobs: Option<usize>,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub session: SessionArgs,
}

/// Where the prompt comes from, and how it is read.
#[derive(Debug, Args)]
pub struct PromptArgs {
    #[command(flatten)]
    pub source: PromptSource,
    /// Names of special tokens in the prompt, such as <|im_start|>, mean those tokens
    #[arg(long, conflicts_with = "tokens")]
    pub parse_special: bool,
    /// Do not add the tokens that texts begin with
    #[arg(long, conflicts_with = "tokens")]
    pub no_add_special: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PromptSource {
    /// The text to continue; `-` reads it from the pipe
    pub prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The prompt as token ids: 1,2,3
    #[arg(long, value_name = "IDS", value_parser = token_ids)]
    pub tokens: Option<TokenIds>,
}

/// A list of token ids.
#[derive(Debug, Clone)]
pub struct TokenIds(pub Vec<u32>);

const CHAT_EXAMPLES: &str = "\
Examples:
  mote chat -m qwen2.5-0.5b-instruct.gguf
  mote chat -m model.gguf --system \"Answer in one sentence.\" --temp 0.3
  mote chat -m base.gguf --template chatml.jinja      for files without a template

Ctrl-C stops an answer. Commands: /help /clear /save FILE /load FILE /stats /exit. A line that ends with \\ goes on.";

#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// What the model should know before the conversation
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// A Jinja chat template, instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub session: SessionArgs,
}

const TOKENIZE_EXAMPLES: &str = "\
Examples:
  mote tokenize -m model.gguf \"Hello, world\"
  mote tokenize -m model.gguf --json - < letter.txt
  mote tokenize -m model.gguf --detokenize 9707,11,1879";

#[derive(Debug, Args)]
pub struct TokenizeArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// The text; `-` reads it from the pipe
    #[arg(required_unless_present = "detokenize")]
    pub text: Option<String>,
    /// Show the text of these token ids instead: 1,2,3
    #[arg(long, value_name = "IDS", value_parser = token_ids, conflicts_with = "text")]
    pub detokenize: Option<TokenIds>,
    /// {"ids": [...], "pieces": [...]}, or with --detokenize {"text": "..."}
    #[arg(long)]
    pub json: bool,
    /// Do not add the tokens that texts begin and end with
    #[arg(long)]
    pub no_add_special: bool,
    /// Names of special tokens in the text are text
    #[arg(long)]
    pub no_parse_special: bool,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  mote inspect model.gguf
  mote inspect model.gguf --tensors --plan
  mote inspect model.gguf --memory -c 8192       bytes that a session of 8192 tokens takes
  mote inspect model.gguf --json | jq .metadata";

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// GGUF file of the model; of a split model, any part. Default: the story model inside this program
    pub model: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    /// List all tensors: type, shape, place
    #[arg(long)]
    pub tensors: bool,
    /// Show what the model computes, layer by layer
    #[arg(long)]
    pub plan: bool,
    /// Show the bytes that a session takes, beside the file
    #[arg(long)]
    pub memory: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}

const PROBE_EXAMPLES: &str = "\
Examples:
  mote probe -m model.gguf --tokens 1,2,3                    the likeliest next tokens
  mote probe -m model.gguf --tokens 1,2,3 --positions all --json
  mote probe -m model.gguf --tokens 1,2,3 --layers --exact --kv f32 --json
  mote probe -m bge-small.gguf --tokens 101,7592,102 --json    {\"embedding\": [...]} of an encoder";

#[derive(Debug, Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// Token ids: 1,2,3
    #[arg(long, value_name = "IDS", value_parser = token_ids)]
    pub tokens: TokenIds,
    /// Whose logits to show
    #[arg(long, value_name = "WHICH", default_value = "last")]
    pub positions: Positions,
    /// With --json: the residual stream too, before the first block, after each block, after the final norm
    #[arg(long, requires = "json")]
    pub layers: bool,
    /// All numbers, at full precision: {"logits": [[...], ...]}
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub session: SessionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Positions {
    Last,
    All,
}

const RENDER_EXAMPLES: &str = "\
Examples:
  mote render -m model.gguf --messages chat.json
  mote render --template chatml.jinja --messages - --no-generation-prompt < chat.json
  mote render -m model.gguf --messages chat.json --tools tools.json --extra thinking.json

chat.json:      [{\"role\": \"user\", \"content\": \"Hello\"}]
thinking.json:  {\"enable_thinking\": false}";

#[derive(Debug, Args)]
pub struct RenderArgs {
    #[command(flatten)]
    pub template: TemplateSource,
    /// The messages, a JSON list; `-` reads it from the pipe
    #[arg(long, value_name = "FILE")]
    pub messages: PathBuf,
    /// The tools that the model may call, as JSON
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
    /// Further variables of the template, a JSON object
    #[arg(long, value_name = "FILE")]
    pub extra: Option<PathBuf>,
    /// Text of the token that begins a sequence [the model's]
    #[arg(long, value_name = "TEXT")]
    pub bos: Option<String>,
    /// Text of the token that ends a sequence [the model's]
    #[arg(long, value_name = "TEXT")]
    pub eos: Option<String>,
    /// The date and time that the template sees, such as 2024-07-26T12:30:45 [this machine's]
    #[arg(long, value_name = "ISO")]
    pub now: Option<DateTime>,
    /// Without the opening of the model's next answer
    #[arg(long)]
    pub no_generation_prompt: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct TemplateSource {
    /// Take the template from this GGUF file
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Take the template from this Jinja file
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  mote bench -m qwen2.5-0.5b.gguf -t 1,2
  mote bench -m model.gguf -p 512 -n 128 -d 0,4096 --json
  mote bench --shape qwen2.5-0.5b:q4_k_m -o shape.gguf    a model of that shape with random weights, to measure

Columns as in llama-bench: pp512 reads a prompt of 512 tokens, tg128 generates 128, @ d4096 behind 4096 others.";

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArg,
    /// Tokens of the prompt to read; 0 leaves it out
    #[arg(short, long, value_name = "N,..", default_value = "512", value_delimiter = ',')]
    pub prompt: Vec<usize>,
    /// Tokens to generate; 0 leaves it out
    #[arg(short = 'n', long, value_name = "N,..", default_value = "128", value_delimiter = ',')]
    pub generate: Vec<usize>,
    /// Tokens that are in the context before
    #[arg(short, long, value_name = "N,..", default_value = "0", value_delimiter = ',')]
    pub depth: Vec<usize>,
    /// Threads. Default: physical cores
    #[arg(short, long, value_name = "N,..", value_delimiter = ',', value_parser = positive)]
    pub threads: Vec<usize>,
    /// Tokens of a prompt that are worked on together
    #[arg(short, long, value_name = "N", default_value = "512", value_parser = positive)]
    pub batch: usize,
    /// Runs that count
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = positive)]
    pub repetitions: usize,
    /// How keys and values are stored: q8_0 takes half the memory of f16, q4_0 a quarter, and answers change a little
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub kv: Kv,
    /// Instructions to use. Default: the best there are
    #[arg(long, value_name = "NAME", value_parser = level)]
    pub level: Option<Level>,
    /// One JSON object, with every run
    #[arg(long)]
    pub json: bool,
    /// Write a model of random weights to -o instead: a published model's shape in a mix of types, as NAME:MIX
    #[arg(long, value_name = "NAME:MIX", requires = "output", conflicts_with = "model")]
    pub shape: Option<String>,
    /// Where --shape writes to
    #[arg(short, long, value_name = "FILE", requires = "shape")]
    pub output: Option<PathBuf>,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}; expected a whole number")),
    }
}

fn token_ids(text: &str) -> Result<TokenIds, String> {
    let ids = text.split([',', ' ']).filter(|id| !id.is_empty());
    let ids: Result<Vec<u32>, String> =
        ids.map(|id| id.parse().map_err(|_| format!("`{id}` is no token id; expected 1,2,3"))).collect();
    match ids {
        Ok(ids) if ids.is_empty() => Err("no token id; expected 1,2,3".into()),
        ids => ids.map(TokenIds),
    }
}

fn chain(text: &str) -> Result<Chain, String> {
    SamplerKind::parse_chain(text).map(Chain).map_err(|error| error.what)
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, x)| Some((id.parse().ok()?, x.parse().ok()?)));
    parsed.ok_or_else(|| "expected a token id and a number, as 15043=-2.5".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_and_pairs() {
        assert_eq!(token_ids("1,2, 3").unwrap().0, [1, 2, 3]);
        assert!(token_ids("").is_err() && token_ids("1,-2").is_err() && token_ids("4294967296").is_err());
        assert_eq!(bias("7=-inf").unwrap(), (7, f32::NEG_INFINITY));
        assert!(bias("7").is_err() && bias("x=1").is_err());
        assert!(positive("0").is_err() && positive("9").is_ok());
    }
}
