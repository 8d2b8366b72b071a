//! `mote tokenize`: text to tokens, tokens to text.

use motelm_core::Tokenizer;
use motelm_core::tokenizer::ShowControl;
use serde::Serialize;

use super::args::TokenizeArgs;
use super::engine::Source;
use super::errors::{Failure, Kind};
use super::output;
use super::prompt::{encode_options, piped};

#[derive(Serialize)]
struct Tokens<'a> {
    ids: &'a [u32],
    /// What each token adds to the text; bytes that are no text by themselves show as U+FFFD.
    pieces: Vec<String>,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

/// Shows tokens or text.
pub fn tokenize(args: &TokenizeArgs) -> Result<(), Failure> {
    let text = match args.text.as_deref() {
        Some("-") => piped()?,
        text => text.unwrap_or_default().into(),
    };
    let tokenizer = Source::of(&args.model)?.tokenizer()?;
    if let Some(ids) = &args.detokenize {
        return show_text(&tokenizer, &ids.0, args.json);
    }
    let ids = tokenizer.encode(&text, encode_options(args.no_add_special, args.no_parse_special));
    let pieces = ids.iter().map(|&id| piece(&tokenizer, id)).collect();
    if args.json {
        return output::json(&Tokens { ids: &ids, pieces });
    }
    let lines: String = ids.iter().zip(pieces).map(|(id, piece)| format!("{id:>8}  {piece:?}\n")).collect();
    output::show(&lines)
}

fn show_text(tokenizer: &Tokenizer, ids: &[u32], json: bool) -> Result<(), Failure> {
    if let Some(id) = ids.iter().find(|&&id| id >= tokenizer.len()) {
        let what = format!("token {id} is not in the vocabulary of {}", tokenizer.len());
        return Err(Failure::new(Kind::Usage, what).hint("ids begin at 0"));
    }
    let text = tokenizer.decode_with(ids, ShowControl::Show);
    if json { output::json(&Text { text }) } else { output::show(&format!("{text}\n")) }
}

/// What a token adds to a text.
pub fn piece(tokenizer: &Tokenizer, id: u32) -> String {
    String::from_utf8_lossy(&tokenizer.piece(id, ShowControl::Show)).into_owned()
}
