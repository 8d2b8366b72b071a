//! What models want to be told before a text: what its vector is for.
//!
//! The strings are those the models were trained with, from their published cards and configurations
//! (`config_sentence_transformers.json`); not one character of them may differ.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

/// A prompt by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// What it is called here.
    pub name: &'static str,
    /// Goes before the text.
    pub prefix: &'static str,
    /// Goes before a title, and between it and the text, where the model knows titles.
    titled: Option<[&'static str; 2]>,
}

impl Task {
    const fn new(name: &'static str, prefix: &'static str) -> Self {
        Self { name, prefix, titled: None }
    }

    /// The text as the model wants to read it.
    pub fn prompt(&self, text: &str) -> String {
        format!("{}{text}", self.prefix)
    }

    /// The same of a text that has a title. Where the model knows none, it becomes the text's first line.
    pub fn prompt_titled(&self, title: &str, text: &str) -> String {
        match self.titled {
            Some([before, between]) => format!("{before}{title}{between}{text}"),
            None => format!("{}{title}\n{text}", self.prefix),
        }
    }
}

/// EmbeddingGemma's, by its model card.
const EMBEDDING_GEMMA: &[Task] = &[
    Task::new("query", "task: search result | query: "),
    Task { name: "document", prefix: "title: none | text: ", titled: Some(["title: ", " | text: "]) },
    Task::new("question-answering", "task: question answering | query: "),
    Task::new("fact-checking", "task: fact checking | query: "),
    Task::new("classification", "task: classification | query: "),
    Task::new("clustering", "task: clustering | query: "),
    Task::new("similarity", "task: sentence similarity | query: "),
    Task::new("code-retrieval", "task: code retrieval | query: "),
    Task::new("summarization", "task: summarization | query: "),
];

/// nomic-embed-text's, v1 and v1.5.
const NOMIC: &[Task] = &[
    Task::new("query", "search_query: "),
    Task::new("document", "search_document: "),
    Task::new("classification", "classification: "),
    Task::new("clustering", "clustering: "),
];

/// E5's (Wang et al., 2022).
const E5: &[Task] = &[Task::new("query", "query: "), Task::new("document", "passage: ")];

/// BGE's in English (Xiao et al., 2023).
const BGE: &[Task] = &[
    Task::new("query", "Represent this sentence for searching relevant passages: "),
    Task::new("document", ""),
];

/// The tasks of a model, by its architecture or, where that is everybody's, by its name.
pub(super) fn of(model: &Model) -> &'static [Task] {
    let name = model.file().str("general.name").ok().flatten().unwrap_or_default().to_ascii_lowercase();
    match model.plan().arch.as_str() {
        "gemma-embedding" => EMBEDDING_GEMMA,
        "nomic-bert" => NOMIC,
        "bert" if name.contains("bge-") && name.contains("-en") => BGE,
        "bert" if name.starts_with("e5-") || name.contains("multilingual-e5") => E5,
        _ => &[],
    }
}

/// The task of this name.
pub(super) fn find(model: &Model, name: &str) -> Result<Task> {
    let tasks = of(model);
    tasks.iter().find(|task| task.name.eq_ignore_ascii_case(name)).copied().ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name).collect();
        let known = if names.is_empty() { "none".into() } else { names.join(", ") };
        Error::new(ErrorKind::Argument, format!("there is no task `{name}`; the model knows {known}"))
    })
}
