//! Text that comes in: prompts, files, pipes.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use motelm_core::Tokenizer;
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial};

use super::args::{PromptArgs, PromptSource};
use super::errors::{Failure, Kind};

/// A prompt.
pub enum Prompt {
    /// Text; the second says whether it was typed, so that its continuation reads well behind it.
    Text(String, Origin),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Argument,
    Elsewhere,
}

impl Prompt {
    /// Reads it from where the arguments say.
    pub fn read(source: &PromptSource) -> Result<Self, Failure> {
        Ok(match source {
            PromptSource { tokens: Some(tokens), .. } => Self::Tokens(tokens.0.clone()),
            PromptSource { file: Some(file), .. } => Self::Text(text_file(file)?, Origin::Elsewhere),
            PromptSource { prompt: Some(prompt), .. } if prompt == "-" => {
                Self::Text(piped()?, Origin::Elsewhere)
            }
            PromptSource { prompt, .. } => Self::Text(prompt.clone().unwrap_or_default(), Origin::Argument),
        })
    }

    /// The tokens to begin with, at least one.
    pub fn tokens(&self, tokenizer: &Tokenizer, args: &PromptArgs) -> Result<Vec<u32>, Failure> {
        let tokens = match self {
            Self::Tokens(tokens) => tokens.clone(),
            Self::Text(text, _) => {
                let encode = encode_options(args.no_add_special, !args.parse_special);
                let mut tokens = tokenizer.encode(text, encode);
                // The end of a text is what the model is to find.
                if tokenizer.adds_eos() && !args.no_add_special && tokens.len() > 1 {
                    tokens.pop();
                }
                tokens
            }
        };
        if tokens.is_empty() {
            return Err(Failure::new(Kind::Usage, "the prompt is empty").hint("this model needs some text"));
        }
        Ok(tokens)
    }

    /// The text that its continuation is shown behind.
    pub fn echo(&self) -> &str {
        match self {
            Self::Text(text, Origin::Argument) => text,
            _ => "",
        }
    }
}

/// What the two negative flags of the command line mean.
pub fn encode_options(no_add_special: bool, no_parse_special: bool) -> Encode {
    Encode {
        add_special: if no_add_special { AddSpecial::No } else { AddSpecial::Yes },
        parse_special: if no_parse_special { ParseSpecial::No } else { ParseSpecial::Yes },
    }
}

/// The text of a file; `-` is standard input.
pub fn text_file(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return piped();
    }
    let bytes = fs::read(path).map_err(|error| Failure::read(path, &error))?;
    text(bytes, &path.display().to_string())
}

/// The text of standard input, to its end.
pub fn piped() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Kind::File, format!("standard input: {error}")))?;
    text(bytes, "standard input")
}

fn text(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(Kind::File, format!("{name}: byte {at} is no UTF-8 text"))
            .hint("save it as UTF-8, or convert it with iconv")
    })
}
