//! GGUF files, versions 1 to 3, from byte slices.
//!
//! ```text
//! "GGUF" | version: u32 | n_tensors | n_keys                        (counts and lengths: u32 in v1, u64 since v2)
//! n_keys    x  key: string | kind: u32 | value
//! n_tensors x  name: string | n_dims: u32 | dims | dtype: u32 | offset: u64
//! padding to `general.alignment`, then the tensors' bytes
//! ```
//!
//! [`File::parse`] walks all of it once and trusts it afterwards: every length was compared with the bytes that
//! remain before anything was allocated, every size was multiplied with checks, every tensor lies inside its file.
//! Values stay where they are: a vocabulary of 150,000 strings is an [`Array`] view, not a vector. Where the bytes do not
//! lie in one piece but arrive one after the other, [`Incoming`] puts them where they stay.
//!
//! Source: the GGUF specification in the ggml repository.

mod incoming;
mod reader;
mod tensor;
mod value;
mod writer;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use crate::bytes::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::order::sorted_below;
use crate::quant::fours::{self, Layout};
use reader::Reader;

pub use incoming::Incoming;
pub use tensor::TensorInfo;
pub use value::{Array, Value, ValueType};
pub use writer::{Scalar, Writer};

/// More entries than any real file has; a bound on what a hostile one can make us allocate.
const MAX_ENTRIES: u64 = 1 << 16;

/// A checked GGUF model: one file, or all files of a split. Cloning costs a reference count.
#[derive(Debug, Clone)]
pub struct File {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    version: u32,
    /// One per split file; metadata comes from the first.
    shards: Vec<Shard>,
    entries: Vec<Entry>,
    /// Indices of `entries`, sorted by key.
    entries_by_key: Vec<u32>,
    tensors: Vec<TensorInfo>,
    /// Indices of `tensors`, sorted by name.
    tensors_by_name: Vec<u32>,
}

/// One file.
#[derive(Debug)]
struct Shard {
    /// Its beginning, as far as the end of the tensor table at least.
    head: Bytes,
    /// Bytes of the whole file.
    len: usize,
    data: Data,
}

/// Where the bytes of a file's tensors are.
#[derive(Debug)]
enum Data {
    /// Behind the head, which is the whole file.
    Behind,
    /// Each on its own, in the order of the table.
    Apart {
        tensors: Vec<Bytes>,
        /// Whether those that can be lie by fours.
        by_fours: bool,
    },
    /// Elsewhere.
    Absent,
}

/// Where a metadata entry lies in the first shard.
#[derive(Debug, Clone)]
struct Entry {
    key: Range<usize>,
    kind: ValueType,
    at: usize,
}

impl File {
    /// Checks a whole file.
    ///
    /// # Errors
    /// Truncated or malformed bytes, with the offset; a tensor type this version does not know, with the tensor;
    /// a big-endian file; the first file of a split (use [`File::parse_split`]).
    pub fn parse(bytes: Bytes) -> Result<Self> {
        Self::parse_split(alloc::vec![bytes])
    }

    /// Checks all files of a split (`NAME-00001-of-00003.gguf`, ...), given in order.
    ///
    /// # Errors
    /// As [`File::parse`], and when the files are not all there, in order, from the same split.
    pub fn parse_split(shards: Vec<Bytes>) -> Result<Self> {
        let shards = shards.into_iter().map(|head| Shard { len: head.len(), head, data: Data::Behind });
        Self::parse_shards(shards.collect())
    }

    /// Checks all files of a split (or the only one) of which nothing but the heads is here: each its beginning, and
    /// the length of the whole file. [`arch::plan`](crate::arch::plan) is all that such a file is good for; it has no
    /// [`data`](File::data).
    ///
    /// # Errors
    /// As [`File::parse_split`]; [`ErrorKind::Truncated`] also when a head is not complete ([`File::head_len`]).
    pub fn parse_heads(heads: Vec<(Bytes, usize)>) -> Result<Self> {
        let shards = heads.into_iter().map(|(head, len)| Shard { head, len, data: Data::Absent });
        Self::parse_shards(shards.collect())
    }

    fn parse_shards(shards: Vec<Shard>) -> Result<Self> {
        let parse = |(i, shard): (usize, &Shard)| Head::parse(&mut shard.reader(), i);
        let heads = shards.iter().enumerate().map(parse).collect::<Result<Vec<Head>>>()?;
        Self::assemble(shards, heads)
    }

    /// Puts files together whose heads were read.
    fn assemble(shards: Vec<Shard>, heads: Vec<Head>) -> Result<Self> {
        let n_shards = shards.len();
        let mut heads = heads.into_iter();
        let head = heads.next().ok_or_else(|| Error::new(ErrorKind::Argument, "no file was given"))?;
        let mut inner = Inner {
            version: head.version,
            entries_by_key: head.keys_sorted(&shards[0].head)?,
            entries: head.entries,
            tensors: head.tensors,
            tensors_by_name: Vec::new(),
            shards,
        };
        for (index, head) in (1..).zip(heads) {
            check_split_number(&head, &inner.shards[index].head, index, n_shards)?;
            inner.tensors.extend(head.tensors);
        }
        inner.tensors_by_name = sort_unique(&inner.tensors)?;
        let file = Self { inner: Arc::new(inner) };
        file.check_split()?;
        Ok(file)
    }

    /// How long the head (metadata and tensor table) of a file of `file_len` bytes is that begins with `start`, or
    /// `None` when `start` ends before it.
    ///
    /// # Errors
    /// As [`File::parse`].
    pub fn head_len(start: &[u8], file_len: usize) -> Result<Option<usize>> {
        Ok(Head::parse_start(start, file_len, 0)?.map(|head| head.len))
    }

    /// How many files this model is split into, read from the metadata of its first file; 1 when it is whole.
    ///
    /// # Errors
    /// As [`File::parse`], except that tensors are not looked at.
    pub fn split_count(first: &Bytes) -> Result<usize> {
        let mut input = Reader::new(first, first.len());
        let (version, _, n_keys) = read_counts(&mut input)?;
        let entries = read_entries(&mut input, n_keys)?;
        Ok(split_value(&entries, first, version, "split.count").map_or(1, |n| n.max(1)))
    }

    /// The format's version, 1 to 3.
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// The bytes of the first file, into which [`Array::spans`] point; at least its head.
    pub fn bytes(&self) -> &Bytes {
        &self.inner.shards[0].head
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.inner.shards.iter().map(|shard| shard.len as u64).sum()
    }

    /// All metadata, in the file's order.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.inner.entries.iter().map(|entry| (self.key(entry), self.value(entry)))
    }

    /// The value of `key`, when the file has it.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let by_key = &self.inner.entries_by_key;
        let found = by_key.binary_search_by(|&i| self.key(&self.inner.entries[i as usize]).cmp(key)).ok()?;
        Some(self.value(&self.inner.entries[by_key[found] as usize]))
    }

    /// The string at `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when it is something else, or not UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a UTF-8 string", |value| match value {
            Value::Str(bytes) => core::str::from_utf8(bytes).ok(),
            _ => None,
        })
    }

    /// The number at `key`, stored as any integer type.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when it is no integer from 0 to `u32::MAX`.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "a 32-bit unsigned number", |value| value.as_u64()?.try_into().ok())
    }

    /// The number at `key`, stored as any integer type.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when it is no integer from 0 to `u64::MAX`.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a 64-bit unsigned number", |value| value.as_u64())
    }

    /// The finite number at `key`, stored as f32 or f64.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when it is something else, infinite or NaN.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a finite float", |value| value.as_f32().filter(|x| x.is_finite()))
    }

    /// The truth value at `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when it is something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(b) => Some(b),
            _ => None,
        })
    }

    /// The array at `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when it is something else.
    pub fn array(&self, key: &str) -> Result<Option<Array<'_>>> {
        self.typed(key, "an array", |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    /// All tensors, in the order of the table.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor_index(name).map(|i| &self.inner.tensors[i])
    }

    /// The position in [`File::tensors`] of the tensor called `name`.
    pub fn tensor_index(&self, name: &str) -> Option<usize> {
        let by_name = &self.inner.tensors_by_name;
        let found =
            by_name.binary_search_by(|&i| self.inner.tensors[i as usize].name.as_str().cmp(name)).ok()?;
        Some(by_name[found] as usize)
    }

    /// The bytes of a tensor of this file, in the order that [`File::layout`] tells.
    ///
    /// # Panics
    /// When the tensor comes from another file, or the file from [`File::parse_heads`].
    pub fn data(&self, tensor: &TensorInfo) -> Bytes {
        let shard = &self.inner.shards[tensor.shard];
        let bytes = match &shard.data {
            Data::Behind => shard.head.slice(tensor.start..tensor.start + tensor.len),
            Data::Apart { tensors, .. } => tensors.get(tensor.index).cloned(),
            Data::Absent => panic!("only the heads of the files are here"),
        };
        bytes.expect("a tensor of this file, checked when it was parsed")
    }

    /// How the rows of a tensor of this file lie: as in the file, unless [`Incoming::by_fours`] was asked for.
    pub fn layout(&self, tensor: &TensorInfo) -> Layout {
        match self.inner.shards[tensor.shard].data {
            Data::Apart { by_fours: true, .. } if fours::four_rows(tensor.dtype, &tensor.shape).is_some() => {
                Layout::Fours
            }
            _ => Layout::Rows,
        }
    }

    /// Whether the bytes of the tensors are here, as they are unless it comes from [`File::parse_heads`].
    pub fn has_data(&self) -> bool {
        !self.inner.shards.iter().any(|shard| matches!(shard.data, Data::Absent))
    }

    fn key(&self, entry: &Entry) -> &str {
        core::str::from_utf8(&self.bytes()[entry.key.clone()])
            .expect("keys were checked when the file was parsed")
    }

    fn value(&self, entry: &Entry) -> Value<'_> {
        Value::at(self.bytes(), self.inner.version, entry.kind, entry.at)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => {
                let what = format!("found {value}, expected {expected}");
                Err(Error::new(ErrorKind::Malformed, what).at_key(key))
            }
        }
    }

    /// A split's parts must be all there, and hold as many tensors as the first announces.
    fn check_split(&self) -> Result<()> {
        let count = self.u64("split.count")?.unwrap_or(0);
        let given = self.inner.shards.len() as u64;
        if count > 1 && count != given || count <= 1 && given > 1 {
            let what = format!("the model is split into {} files, {given} were given", count.max(1));
            return Err(Error::new(ErrorKind::Missing, what).at_key("split.count"));
        }
        if given > 1
            && let Some(expected) = self.u64("split.tensors.count")?
            && expected != self.tensors().len() as u64
        {
            let what = format!("the parts hold {} tensors, expected {expected}", self.tensors().len());
            return Err(Error::new(ErrorKind::Malformed, what).at_key("split.tensors.count"));
        }
        Ok(())
    }
}

/// One file's metadata and tensor table.
#[derive(Clone)]
struct Head {
    version: u32,
    entries: Vec<Entry>,
    tensors: Vec<TensorInfo>,
    /// Bytes up to the end of the table.
    len: usize,
}

impl Shard {
    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.head, self.len)
    }
}

impl Head {
    fn parse(input: &mut Reader<'_>, shard: usize) -> Result<Self> {
        let (version, n_tensors, n_keys) = read_counts(input)?;
        let entries = read_entries(input, n_keys)?;
        let alignment = alignment(input.bytes(), version, &entries)?;
        let tensors = tensor::read_table(input, n_tensors, alignment, shard)?;
        Ok(Self { version, entries, tensors, len: input.at() })
    }

    /// The head of a file of `len` bytes that begins with `start`, or `None` when it ends later.
    fn parse_start(start: &[u8], len: usize, shard: usize) -> Result<Option<Self>> {
        let mut input = Reader::new(start, len);
        match Self::parse(&mut input, shard) {
            Err(_) if input.starved() => Ok(None),
            parsed => parsed.map(Some),
        }
    }

    /// Indices of the entries, sorted by key.
    fn keys_sorted(&self, bytes: &[u8]) -> Result<Vec<u32>> {
        let key = |i: usize| &bytes[self.entries[i].key.clone()];
        let sorted = sorted_below(self.entries.len(), &|a, b| key(a).cmp(key(b)));
        match sorted.windows(2).find(|pair| key(pair[0] as usize) == key(pair[1] as usize)) {
            None => Ok(sorted),
            Some(pair) => {
                let name = String::from_utf8_lossy(key(pair[0] as usize)).into_owned();
                Err(Error::new(ErrorKind::Malformed, "the file has this key twice").at_key(name))
            }
        }
    }
}

fn read_counts(input: &mut Reader<'_>) -> Result<(u32, u64, u64)> {
    let magic = input.take(4)?;
    if magic != b"GGUF" {
        let what = format!("found the bytes {magic:02x?}, expected \"GGUF\": this is no GGUF file");
        return Err(Error::new(ErrorKind::Malformed, what).at_offset(0));
    }
    let version = input.u32()?;
    if version.swap_bytes() <= 3 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a big-endian file; convert it to little-endian first",
        )
        .at_offset(4));
    }
    if !(1..=3).contains(&version) {
        let what = format!("GGUF version {version}; this program reads 1 to 3");
        return Err(Error::new(ErrorKind::Unsupported, what).at_offset(4));
    }
    input.version = version;
    let (n_tensors, n_keys) = (input.length()?, input.length()?);
    for (what, found) in [("tensors", n_tensors), ("metadata keys", n_keys)] {
        if found > MAX_ENTRIES {
            let what = format!("found {found} {what}, expected at most {MAX_ENTRIES}");
            return Err(Error::new(ErrorKind::Malformed, what).at_offset(8));
        }
    }
    Ok((version, n_tensors, n_keys))
}

fn read_entries(input: &mut Reader<'_>, n_keys: u64) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for _ in 0..n_keys {
        let start = input.at() as u64;
        let key = input.utf8("a metadata key")?;
        if key.is_empty() {
            // Padding, read as an entry, has this look.
            return Err(Error::new(ErrorKind::Malformed, "a metadata key without a name").at_offset(start));
        }
        let kind = ValueType::read(input)?;
        let at = input.at();
        value::skip(input, kind, 0)?;
        entries.push(Entry { key, kind, at });
    }
    Ok(entries)
}

/// `general.alignment`, 32 by default.
fn alignment(bytes: &[u8], version: u32, entries: &[Entry]) -> Result<usize> {
    let key = "general.alignment";
    let Some(entry) = entries.iter().find(|entry| bytes[entry.key.clone()] == *key.as_bytes()) else {
        return Ok(32);
    };
    let value = Value::at(bytes, version, entry.kind, entry.at);
    match value.as_u64() {
        Some(n) if n.is_power_of_two() && n <= 1 << 20 => Ok(n as usize),
        _ => {
            let what = format!("found {value}, expected a power of two up to {}", 1 << 20);
            Err(Error::new(ErrorKind::Malformed, what).at_key(key))
        }
    }
}

/// A number of the split's description (`split.no`, `split.count`), when the file has it.
fn split_value(entries: &[Entry], bytes: &Bytes, version: u32, key: &str) -> Option<usize> {
    let entry = entries.iter().find(|entry| bytes[entry.key.clone()] == *key.as_bytes())?;
    Value::at(bytes, version, entry.kind, entry.at).as_u64()?.try_into().ok()
}

fn check_split_number(head: &Head, bytes: &Bytes, index: usize, count: usize) -> Result<()> {
    for (key, expected) in [("split.no", index), ("split.count", count)] {
        let found = split_value(&head.entries, bytes, head.version, key);
        if found != Some(expected) {
            let found = found.map_or(String::from("none"), |n| format!("{n}"));
            let what = format!("part {} of the split: found {found}, expected {expected}", index + 1);
            return Err(Error::new(ErrorKind::Malformed, what).at_key(key));
        }
    }
    Ok(())
}

/// Indices of the tensors, sorted by name.
fn sort_unique(tensors: &[TensorInfo]) -> Result<Vec<u32>> {
    let name = |i: u32| tensors[i as usize].name.as_str();
    let sorted = sorted_below(tensors.len(), &|a, b| tensors[a].name.cmp(&tensors[b].name));
    match sorted.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        None => Ok(sorted),
        Some(pair) => Err(Error::new(ErrorKind::Malformed, "the file has two tensors of this name")
            .at_tensor(name(pair[0]))),
    }
}

#[cfg(test)]
mod tests;
