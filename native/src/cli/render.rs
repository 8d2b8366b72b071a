//! `mote render`: the prompt that a chat template makes of messages.

use std::path::Path;

use motelm_chat::{Message, Request, Template, ends};
use serde::de::DeserializeOwned;

use super::args::RenderArgs;
use super::engine::Source;
use super::errors::{Failure, Kind};
use super::output;
use super::prompt::text_file;

/// Shows the prompt, byte for byte.
pub fn render(args: &RenderArgs) -> Result<(), Failure> {
    let source = args.template.model.as_deref().map(|path| Source::map(Some(path))).transpose()?;
    let template = match (&args.template.template, &source) {
        (Some(path), _) => template_file(path)?,
        (None, Some(source)) => Template::from_gguf(&source.file, None)?,
        (None, None) => unreachable!("clap demands one of the two"),
    };
    let messages: Vec<Message> = json_file(&args.messages)?;
    let tools: Option<serde_json::Value> = args.tools.as_deref().map(json_file).transpose()?;
    let (mut bos, mut eos) = (String::new(), String::new());
    if let Some(source) = &source {
        (bos, eos) = ends(&source.tokenizer()?);
    }
    let request = Request {
        tools: tools.as_ref(),
        bos: args.bos.as_deref().unwrap_or(&bos),
        eos: args.eos.as_deref().unwrap_or(&eos),
        add_generation_prompt: !args.no_generation_prompt,
        extra: args.extra.as_deref().map(json_file).transpose()?.unwrap_or_default(),
        now: args.now,
        ..Request::new(&messages)
    };
    output::show(&template.render(&request)?)
}

/// A template from a file.
pub fn template_file(path: &Path) -> Result<Template, Failure> {
    Template::new(&text_file(path)?)
        .map_err(|error| Failure::new(Kind::File, format!("{}: {error}", path.display())))
}

fn json_file<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_str(&text_file(path)?).map_err(|error| {
        Failure::new(Kind::File, format!("{}: {error}", path.display()))
            .hint("`mote help render` shows examples")
    })
}
