//! Vectors as text or bytes.

use std::io::{self, Write};

use motelm_core::embed::Embeddings;
use serde::Serialize;

use crate::cli::args::Format;

/// Writes vectors as they come, except for NumPy's format, whose head says how many there are.
pub struct Vectors<W> {
    format: Format,
    dim: usize,
    out: W,
    /// Vectors so far.
    n: usize,
    /// What waits for the head.
    kept: Vec<f32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding<'a> {
    OfText(&'a [f32]),
    OfTokens(Vec<&'a [f32]>),
}

#[derive(Serialize)]
struct Object<'a> {
    embedding: Embedding<'a>,
    tokens: usize,
    dropped: usize,
}

impl<W: Write> Vectors<W> {
    pub fn new(format: Format, dim: usize, mut out: W) -> io::Result<Self> {
        if format == Format::Json {
            out.write_all(b"[")?;
        }
        Ok(Self { format, dim, out, n: 0, kept: Vec::new() })
    }

    /// Writes the vectors of some texts, and shows them at once.
    pub fn write(&mut self, embeddings: &Embeddings) -> io::Result<()> {
        for (i, text) in embeddings.texts().iter().enumerate() {
            let vector = embeddings.of(i);
            match self.format {
                Format::Json | Format::Jsonl => {
                    if self.format == Format::Json && self.n > 0 {
                        self.out.write_all(b",\n")?;
                    }
                    let embedding = if vector.len() == self.dim {
                        Embedding::OfText(vector)
                    } else {
                        Embedding::OfTokens(vector.chunks(self.dim).collect())
                    };
                    let object = Object { embedding, tokens: text.tokens, dropped: text.dropped };
                    serde_json::to_writer(&mut self.out, &object)?;
                    if self.format == Format::Jsonl {
                        self.out.write_all(b"\n")?;
                    }
                }
                Format::Csv => self.write_numbers(vector, ",")?,
                Format::Tsv => self.write_numbers(vector, "\t")?,
                Format::Raw => self.write_bytes(vector)?,
                Format::Npy => self.kept.extend_from_slice(vector),
            }
            self.n += vector.len() / self.dim;
        }
        self.out.flush()
    }

    fn write_numbers(&mut self, vectors: &[f32], between: &str) -> io::Result<()> {
        for vector in vectors.chunks(self.dim) {
            for (i, x) in vector.iter().enumerate() {
                write!(self.out, "{}{x}", if i > 0 { between } else { "" })?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn write_bytes(&mut self, numbers: &[f32]) -> io::Result<()> {
        numbers.iter().try_for_each(|x| self.out.write_all(&x.to_le_bytes()))
    }

    /// No vectors follow.
    pub fn finish(mut self) -> io::Result<()> {
        match self.format {
            Format::Json => self.out.write_all(b"]\n")?,
            Format::Npy => {
                self.out.write_all(&npy_head(self.n, self.dim))?;
                let kept = std::mem::take(&mut self.kept);
                self.write_bytes(&kept)?;
            }
            _ => {}
        }
        self.out.flush()
    }
}

/// The head of version 1.0 of NumPy's format, for `n` rows of `dim` little-endian f32 (NEP 1): its length is a multiple
/// of 64, so that the numbers are aligned.
fn npy_head(n: usize, dim: usize) -> Vec<u8> {
    let facts = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {dim}), }}");
    let before = b"\x93NUMPY\x01\x00".len() + 2;
    let len = (before + facts.len() + 1).next_multiple_of(64) - before;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend((len as u16).to_le_bytes());
    head.extend(facts.as_bytes());
    head.resize(before + len - 1, b' ');
    head.push(b'\n');
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numpy_reads_the_head() {
        let head = npy_head(3, 768);
        assert_eq!(head.len() % 64, 0);
        assert_eq!(head[..8], *b"\x93NUMPY\x01\x00");
        assert_eq!(usize::from(u16::from_le_bytes([head[8], head[9]])), head.len() - 10);
        assert!(head[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 768), }  "));
        assert_eq!(head.last(), Some(&b'\n'));
    }
}
