//! Texts one by one: arguments, or the lines of a file or of a pipe, plain or JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::vec::IntoIter;

use serde_json::Value;

use crate::cli::errors::{Failure, Kind};

/// A text, and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: usize,
    pub text: String,
    pub title: Option<String>,
}

/// All texts, read as they are asked for.
pub struct Lines {
    source: Source,
    /// What the source is called in errors.
    name: String,
    number: usize,
    field: Option<String>,
    title_field: Option<String>,
}

enum Source {
    Arguments(IntoIter<String>),
    Reader(Box<dyn BufRead>),
}

impl Lines {
    /// The texts of the arguments, or of a file; `-` in the place of either is standard input.
    pub fn new(texts: &[String], file: Option<&Path>, field: Option<&str>) -> Result<Self, Failure> {
        let piped = matches!(texts, [text] if text == "-") || file == Some(Path::new("-"));
        let (source, name) = match file {
            _ if piped => (Source::Reader(Box::new(io::stdin().lock())), "standard input".into()),
            Some(path) => {
                let file = File::open(path).map_err(|error| Failure::read(path, &error))?;
                (Source::Reader(Box::new(BufReader::new(file))), path.display().to_string())
            }
            None => (Source::Arguments(Vec::from(texts).into_iter()), "the arguments".into()),
        };
        Ok(Self { source, name, number: 0, field: field.map(Into::into), title_field: None })
    }

    /// The same with titles, of texts that are members of JSON objects.
    pub fn with_titles(self, title_field: Option<&str>) -> Self {
        Self { title_field: title_field.map(Into::into), ..self }
    }

    fn read(&mut self) -> Result<Option<String>, Failure> {
        let reader = match &mut self.source {
            Source::Arguments(texts) => return Ok(texts.next()),
            Source::Reader(reader) => reader,
        };
        let mut bytes = Vec::new();
        let read = reader.read_until(b'\n', &mut bytes);
        if read.map_err(|error| Failure::read(Path::new(&self.name), &error))? == 0 {
            return Ok(None);
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| self.wrong("is no UTF-8 text"))?;
        Ok(Some(text))
    }

    fn parse(&self, text: String) -> Result<Line, Failure> {
        let number = self.number;
        let Some(field) = &self.field else { return Ok(Line { number, text, title: None }) };
        let object: Value =
            serde_json::from_str(&text).map_err(|error| self.wrong(&format!("is no JSON ({error})")))?;
        let member = |name: &str| object.get(name).and_then(Value::as_str).map(String::from);
        let text = member(field).ok_or_else(|| self.wrong(&format!("has no text `{field}`")))?;
        let title = self.title_field.as_deref().and_then(member).filter(|title| !title.is_empty());
        Ok(Line { number, text, title })
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::new(Kind::File, format!("{}: line {} {what}", self.name, self.number))
    }
}

impl Iterator for Lines {
    type Item = Result<Line, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        let text = self.read().transpose()?;
        Some(text.and_then(|text| self.parse(text)))
    }
}
