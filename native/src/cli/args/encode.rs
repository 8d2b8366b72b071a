//! The arguments of the commands that make vectors of texts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use motelm_core::embed::Pooling;

use super::{ProcessorArgs, positive};

/// Which model makes vectors, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Encoding")]
pub struct EncodeArgs {
    /// GGUF file of the model; of a split model, any part
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,
    /// How the vectors of tokens become one. Default: as the file says
    #[arg(long, value_name = "HOW")]
    pub pooling: Option<PoolingName>,
    /// Keep the first N elements of each vector, for models that are trained for it
    #[arg(long, value_name = "N", value_parser = positive)]
    pub dim: Option<usize>,
    /// Leave vectors as long as the model makes them, instead of bringing them to length 1
    #[arg(long)]
    pub no_normalize: bool,
    /// Tokens of a text that are read. Default: as many as the model was trained with
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_tokens: Option<usize>,
    /// Tokens, of one text or several, that are worked on together; a text is never cut
    #[arg(short, long, value_name = "N", default_value = "512", value_parser = positive)]
    pub batch: usize,
    /// Multiply decoded weights in f32 instead of with 8-bit activations: slow, for comparison
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub processor: ProcessorArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PoolingName {
    /// A vector for every token
    None,
    /// The average over all tokens
    Mean,
    /// The first token's
    Cls,
    /// The last token's
    Last,
    /// The greatest of all tokens, element by element
    Max,
    /// A reranker's score
    Rank,
}

impl From<PoolingName> for Pooling {
    fn from(name: PoolingName) -> Self {
        match name {
            PoolingName::None => Self::None,
            PoolingName::Mean => Self::Mean,
            PoolingName::Cls => Self::Cls,
            PoolingName::Last => Self::Last,
            PoolingName::Max => Self::Max,
            PoolingName::Rank => Self::Rank,
        }
    }
}

pub const EMBED_EXAMPLES: &str = "\
Examples:
  mote embed -m embeddinggemma.gguf --task query \"Which planet is red?\"
  mote embed -m minilm.gguf -f sentences.txt --format npy -o vectors.npy
  mote embed -m minilm.gguf -f articles.jsonl --field body --title-field title --task document --dim 256
  cat sentences.txt | mote embed -m bge-small.gguf --format csv --stats -";

#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// The texts; `-` reads them from the pipe, a line each
    #[arg(required_unless_present = "file")]
    pub texts: Vec<String>,
    /// Read the texts from a file, a line each
    #[arg(short, long, value_name = "FILE", conflicts_with = "texts")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub lines: LineArgs,
    /// What the vectors are for, by a name that the model knows (query, document, ...): puts its prompt in front
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// With --field: the member that holds the text's title, for tasks that want one
    #[arg(long, value_name = "NAME", requires = "field", requires = "task")]
    pub title_field: Option<String>,
    /// What the vectors are written as
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    pub format: Format,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Tell speed at the end, on stderr
    #[arg(long)]
    pub stats: bool,
    #[command(flatten)]
    pub encode: EncodeArgs,
}

/// What a line of input is.
#[derive(Debug, Args)]
pub struct LineArgs {
    /// Lines are JSON objects; the text is this member of each
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One array of the objects of `jsonl`
    Json,
    /// An object a line: embedding, tokens that were read, tokens that did not fit
    Jsonl,
    /// Numbers between commas, a vector a line
    Csv,
    /// Numbers between tabs, a vector a line
    Tsv,
    /// An array of f32 for NumPy, written at the end
    Npy,
    /// Little-endian f32 and nothing else
    Raw,
}

pub const SIMILAR_EXAMPLES: &str = "\
Examples:
  mote similar -m embeddinggemma.gguf \"Which planet is red?\" sentences.txt
  mote similar -m minilm.gguf -k 3 --json \"a cat sat\" notes.jsonl --field text
  mote similar -m reranker.gguf \"Which planet is red?\" candidates.txt     scores pairs instead of angles

The vectors of the file's lines are kept for the next query; what changes in the file is computed anew.";

#[derive(Debug, Args)]
pub struct SimilarArgs {
    /// What to look for
    pub query: String,
    /// The file to look in, a text a line; `-` reads from the pipe
    pub file: PathBuf,
    /// How many of the nearest to show
    #[arg(short = 'k', long, value_name = "N", default_value = "10", value_parser = positive)]
    pub top: usize,
    #[command(flatten)]
    pub lines: LineArgs,
    /// The query's task. Default: `query` where the model knows it
    #[arg(long, value_name = "NAME")]
    pub query_task: Option<String>,
    /// The task of the file's texts. Default: `document` where the model knows it
    #[arg(long, value_name = "NAME")]
    pub document_task: Option<String>,
    /// Keep vectors in this file. Default: one of its own in the user's cache folder
    #[arg(long, value_name = "FILE")]
    pub cache: Option<PathBuf>,
    /// Keep no vectors, and use none that were kept
    #[arg(long, conflicts_with = "cache")]
    pub no_cache: bool,
    /// One JSON object: {"results": [{"score", "line", "text"}, ...]}
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub encode: EncodeArgs,
}
