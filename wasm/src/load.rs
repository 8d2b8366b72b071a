//! From a file's bytes to a model.

use js_sys::{Array, Object, Uint8Array};
use motelm_core::gguf::{File, Incoming};
use motelm_core::model::plan::Plan;
use motelm_core::{Bytes, Error, ErrorKind, arch};
use wasm_bindgen::prelude::*;

use crate::error::Result;
use crate::model::Model;
use crate::object::{number, object};
use crate::{describe, options, threads};

/// What the beginning of a model file says; the weights are not needed.
#[wasm_bindgen]
pub struct Head {
    file: File,
    plan: Plan,
}

impl Head {
    fn of(file: File) -> motelm_core::Result<Self> {
        Ok(Self { plan: arch::plan(&file)?, file })
    }
}

#[wasm_bindgen]
impl Head {
    /// Reads the beginnings of a model's files: of each its first bytes, and how many bytes it has in all. Nothing
    /// comes back when more bytes are needed (some hundred KB to some MB, most of it the vocabulary).
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(starts: Vec<Uint8Array>, file_bytes: Vec<f64>) -> Result<Option<Head>> {
        let mut heads = Vec::new();
        for (start, &len) in starts.iter().zip(&file_bytes) {
            let (start, len) = (start.to_vec(), address(len)?);
            if File::head_len(&start, len)?.is_none() {
                return Ok(None);
            }
            heads.push((Bytes::new(start), len));
        }
        Ok(Some(Self::of(File::parse_heads(heads)?)?))
    }

    /// How many files the model is split into, from the beginning of the first; nothing when more bytes are needed.
    ///
    /// # Errors
    /// What is wrong with the file.
    #[wasm_bindgen(js_name = splitCount)]
    pub fn split_count(start: &Uint8Array, file_bytes: f64) -> Result<Option<usize>> {
        let start = start.to_vec();
        match File::head_len(&start, address(file_bytes)?)? {
            None => Ok(None),
            Some(_) => Ok(Some(File::split_count(&Bytes::new(start))?)),
        }
    }

    /// `{ architecture, name, parameters, bytes, weights, layers, vocabulary, trainedContext, task, ... }`
    pub fn info(&self) -> Object {
        describe::info(&self.file, &self.plan)
    }

    /// `[[key, value], ...]`
    pub fn metadata(&self) -> Array {
        describe::metadata(&self.file)
    }

    /// `[{ name, type, shape, bytes }, ...]`
    pub fn tensors(&self) -> Array {
        describe::tensors(&self.file)
    }

    /// The memory that the model and one session of these options take, in bytes:
    /// `{ weights, metadata, vectors, tokenizer, kv, buffers, total }`.
    ///
    /// # Errors
    /// `Memory`, with the reason, when it cannot fit this module's memory, however much the machine has.
    pub fn plan(&self, options: &JsValue) -> Result<Object> {
        let memory = self.plan.memory(&options::longest(&self.plan, options::session(options)?))?;
        let weights: u64 = self.file.tensors().iter().map(|tensor| tensor.len as u64).sum();
        let metadata = self.file.total_bytes() - weights;
        let vectors = self.plan.vector_bytes(&self.file);
        let tokenizer = tokenizer_bytes(&self.file);
        let total = weights + metadata + vectors + tokenizer + memory.total() + threads::stacks();
        let longest = self.file.tensors().iter().max_by_key(|tensor| tensor.len);
        if let Some(tensor) = longest.filter(|tensor| tensor.len > isize::MAX as usize) {
            let what = format!("it has {} bytes; no tensor may have more than {}", tensor.len, isize::MAX);
            return Err(Error::new(ErrorKind::Memory, what).at_tensor(&*tensor.name).into());
        }
        if total > MOST {
            let what = format!(
                "the model needs {total} bytes of memory ({weights} of weights, {} of context); \
                 WebAssembly has {MOST} at most",
                memory.kv
            );
            return Err(Error::new(ErrorKind::Memory, what).into());
        }
        Ok(object([
            ("weights", number(weights)),
            ("metadata", number(metadata)),
            ("vectors", number(vectors)),
            ("tokenizer", number(tokenizer)),
            ("kv", number(memory.kv)),
            ("buffers", number(memory.buffers)),
            ("total", number(total)),
        ]))
    }
}

/// What a module can use: all addresses, or the 16 GiB that browsers stop at, less what the program and its stack take.
const MOST: u64 = (1 << if usize::BITS == 32 { 32 } else { 34 }) - (4 << 20);

/// A tokenizer's tables: what an entry of the vocabulary takes, and of the merges.
fn tokenizer_bytes(file: &File) -> u64 {
    let len = |key: &str| file.array(key).ok().flatten().map_or(0, |array| array.len() as u64);
    40 * len("tokenizer.ggml.tokens") + 32 * len("tokenizer.ggml.merges")
}

/// A file's length as a size in memory.
fn address(bytes: f64) -> Result<usize> {
    if bytes >= 0.0 && bytes <= usize::MAX as f64 {
        return Ok(bytes as usize);
    }
    let what = format!("a file of {bytes} bytes; WebAssembly's memory ends at {}", usize::MAX);
    Err(Error::new(ErrorKind::Memory, what).into())
}

/// Takes a model's bytes as they come, and puts each tensor where it stays.
#[wasm_bindgen]
pub struct Loader {
    incoming: Incoming,
}

#[wasm_bindgen]
impl Loader {
    /// For files of these lengths in bytes: one, or all of a split, in order.
    ///
    /// # Errors
    /// When one is longer than memory can be.
    #[wasm_bindgen(constructor)]
    pub fn new(file_bytes: Vec<f64>) -> Result<Self> {
        let lens = file_bytes.iter().map(|&bytes| Ok(address(bytes)? as u64)).collect::<Result<Vec<_>>>()?;
        Ok(Self { incoming: Incoming::new(&lens)?.by_fours() })
    }

    /// Takes the next bytes, as many as there are; files follow each other without a gap.
    ///
    /// # Errors
    /// What is wrong with the file, as soon as it shows, or that there is no memory for a tensor.
    pub fn push(&mut self, bytes: &Uint8Array) -> Result<()> {
        let mut at = 0;
        while at < bytes.length() {
            let room = self.incoming.room((bytes.length() - at) as usize)?;
            let n = room.len();
            bytes.subarray(at, at + n as u32).copy_to(room);
            self.incoming.filled(n)?;
            at += n as u32;
        }
        Ok(())
    }

    /// Where in this module's memory the next bytes will stay, at most `most` of them: `{ address, length }`. Whoever
    /// can read them to this place does so before anything else is called, and says so with [`Loader::filled`].
    ///
    /// # Errors
    /// As [`Loader::push`].
    pub fn room(&mut self, most: usize) -> Result<Object> {
        let room = self.incoming.room(most)?;
        let (address, length) = (room.as_mut_ptr() as u64, room.len() as u64);
        Ok(object([("address", number(address)), ("length", number(length))]))
    }

    /// Takes the first `n` bytes of the room that was given last.
    ///
    /// # Errors
    /// As [`Loader::push`].
    pub fn filled(&mut self, n: usize) -> Result<()> {
        Ok(self.incoming.filled(n)?)
    }

    /// What the beginning of a model in one file says, as soon as it is there.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn head(&self) -> Result<Option<Head>> {
        Ok(self.incoming.head()?.map(Head::of).transpose()?)
    }

    /// Bytes that came so far.
    #[wasm_bindgen(getter)]
    pub fn received(&self) -> f64 {
        self.incoming.received() as f64
    }

    /// The model, when all bytes came.
    ///
    /// # Errors
    /// That they did not, or what is wrong with them.
    pub fn finish(self) -> Result<Model> {
        Model::new(&self.incoming.finish()?)
    }
}
