//! Importance: how much the rounding of each column of each matrix matters.
//!
//! A matrix multiplies what comes in, so an error in a column counts as much as the values that meet it: their mean
//! square over some text. An importance file ("imatrix") holds, for each matrix, the sum of these squares per column,
//! and how many rows were summed; of matrices that are stacked for experts, each has its own.
//!
//! Both formats of llama.cpp are read and written: GGUF, with tensors `NAME.in_sum2` and `NAME.counts`, and the older
//! one without a magic number, `.dat`, whose sums are divided by the rows and multiplied with the number of chunks. What
//! newer versions add to the former (sums of the values, statistics) is passed by.
//!
//! ```text
//! n_entries: i32, n_entries x (len: i32 | name | n_chunks: i32 | n_values: i32 | values: f32)
//! n_chunks: i32 | len: i32 | name of the text
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use motelm_core::gguf::{File, Value, Writer};
use motelm_core::quant::{Dtype, dequantize};
use motelm_core::{Bytes, Error, ErrorKind};

use crate::mmap;
use crate::open::OpenError;

/// Keys of quantised files that tell which importance was used.
pub(super) mod keys {
    pub const FILE: &str = "quantize.imatrix.file";
    pub const DATASET: &str = "quantize.imatrix.dataset";
    pub const ENTRIES: &str = "quantize.imatrix.entries_count";
    pub const CHUNKS: &str = "quantize.imatrix.chunks_count";
}

/// Sums of squares of what comes into a matrix, or into each of several that are stacked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Squares {
    /// One per column, for each matrix.
    pub sums: Vec<f32>,
    /// Rows that were summed, one number per matrix.
    pub counts: Vec<f32>,
}

/// What is known of a model's columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    /// By tensor.
    pub squares: BTreeMap<String, Squares>,
    /// Names of the texts.
    pub datasets: Vec<String>,
    /// Pieces of text that were read, and tokens in each; 0 when the file does not say.
    pub chunks: u32,
    #[expect(missing_docs)]
    pub chunk_size: u32,
}

/// The weights of columns' squared errors: mean squares.
#[derive(Debug, Clone, Default)]
pub struct Importance {
    weights: BTreeMap<String, Vec<f32>>,
    name: String,
    datasets: Vec<String>,
    chunks: u32,
}

impl Importance {
    /// Reads a file of either format.
    ///
    /// # Errors
    /// [`OpenError`] as for models.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let bytes = mmap::map(path).map_err(|source| OpenError::io(path, source))?;
        let gathered =
            Gathered::parse(bytes).map_err(|source| OpenError::Model { path: path.into(), source })?;
        let name = path.display().to_string();
        Ok(Self { name, ..gathered.importance() })
    }

    /// Whether the tensor is known.
    pub fn has(&self, tensor: &str) -> bool {
        self.weights.contains_key(tensor)
    }

    /// The tensor's columns' weights, one row for each of its matrices.
    pub fn of(&self, tensor: &str) -> Option<&[f32]> {
        self.weights.get(tensor).map(Vec::as_slice)
    }

    /// How many tensors are known.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Writes down, in a quantised file, what was used.
    pub(super) fn tell(&self, writer: &mut Writer) {
        writer.set(keys::FILE, Value::Str(self.name.as_bytes()));
        if let Some(dataset) = self.datasets.first() {
            writer.set(keys::DATASET, Value::Str(dataset.as_bytes()));
        }
        writer.set(keys::ENTRIES, Value::I32(self.len() as i32));
        if self.chunks > 0 {
            writer.set(keys::CHUNKS, Value::I32(self.chunks as i32));
        }
    }
}

impl Gathered {
    /// Reads either format.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] or [`ErrorKind::Malformed`] when it is neither, or holds what is no sum of squares.
    pub fn parse(bytes: Bytes) -> Result<Self, Error> {
        let gathered = if bytes.starts_with(b"GGUF") {
            Self::from_gguf(&File::parse(bytes)?)?
        } else {
            Self::from_dat(&bytes)?
        };
        for (name, squares) in &gathered.squares {
            let numbers = squares.sums.iter().chain(&squares.counts);
            if let Some(wrong) = numbers.into_iter().find(|x| !(x.is_finite() && **x >= 0.0)) {
                let what = format!("found {wrong} in the importance file, expected a sum of squares");
                return Err(Error::new(ErrorKind::Malformed, what).at_tensor(name));
            }
        }
        if gathered.squares.is_empty() {
            let what = "found no tensor's sums of squares: the importance file is empty, or a model";
            return Err(Error::new(ErrorKind::Malformed, what));
        }
        Ok(gathered)
    }

    fn from_gguf(file: &File) -> Result<Self, Error> {
        let mut gathered = Self {
            chunks: file.u32("imatrix.chunk_count")?.unwrap_or(0),
            chunk_size: file.u32("imatrix.chunk_size")?.unwrap_or(0),
            ..Self::default()
        };
        for name in file.array("imatrix.datasets")?.iter().flat_map(|array| array.iter()) {
            if let Value::Str(name) = name {
                gathered.datasets.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        let values = |name: &str| {
            let Some(tensor) = file.tensor(name).filter(|tensor| tensor.dtype == Dtype::F32) else {
                let what = "is not in the importance file as F32: it is damaged, or a model";
                return Err(Error::new(ErrorKind::Malformed, what).at_tensor(name));
            };
            let mut values = vec![0.0; tensor.elements()];
            dequantize(Dtype::F32, &file.data(tensor), &mut values)?;
            Ok(values)
        };
        for tensor in file.tensors() {
            let Some(name) = tensor.name.strip_suffix(".in_sum2") else {
                continue;
            };
            let squares = Squares { sums: values(&tensor.name)?, counts: values(&format!("{name}.counts"))? };
            if !squares.sums.len().is_multiple_of(squares.counts.len()) {
                let (sums, counts) = (squares.sums.len(), squares.counts.len());
                let what = format!("found {sums} sums and {counts} counts, expected whole rows");
                return Err(Error::new(ErrorKind::Malformed, what).at_tensor(name));
            }
            gathered.squares.insert(name.into(), squares);
        }
        Ok(gathered)
    }

    fn from_dat(bytes: &[u8]) -> Result<Self, Error> {
        let mut input = Dat { rest: bytes, len: bytes.len() };
        let mut gathered = Self::default();
        for _ in 0..input.count("entries")? {
            let len = input.count("bytes of a name")?;
            let name = String::from_utf8_lossy(input.take(len)?).into_owned();
            let chunks = input.count("chunks")?;
            let n = input.count("values")?;
            let values = input.take(n.checked_mul(4).ok_or_else(|| input.truncated(n))?)?;
            let sums = values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            gathered.squares.insert(name, Squares { sums, counts: vec![chunks.max(1) as f32] });
        }
        // Old files end here.
        if !input.rest.is_empty() {
            gathered.chunks = input.count("chunks")? as u32;
            let len = input.count("bytes of a name")?;
            gathered.datasets.push(String::from_utf8_lossy(input.take(len)?).into_owned());
        }
        Ok(gathered)
    }

    /// The mean squares. Of an expert that no token chose nothing is known: its columns count alike.
    pub fn importance(&self) -> Importance {
        let weights = self.squares.iter().map(|(name, squares)| {
            let cols = squares.sums.len() / squares.counts.len().max(1);
            let rows = squares.sums.chunks(cols.max(1)).zip(&squares.counts);
            let means = rows.flat_map(|(sums, &count)| {
                sums.iter().map(move |sum| if count > 0.0 { sum / count } else { 1.0 })
            });
            (name.clone(), means.collect())
        });
        Importance {
            weights: weights.collect(),
            name: String::new(),
            datasets: self.datasets.clone(),
            chunks: self.chunks,
        }
    }

    /// The bytes of a GGUF file.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for a tensor without columns.
    pub fn to_gguf(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new();
        writer.set("general.type", Value::Str(b"imatrix"));
        writer.set_strings("imatrix.datasets", self.datasets.iter().map(String::as_bytes));
        writer.set("imatrix.chunk_count", Value::U32(self.chunks));
        writer.set("imatrix.chunk_size", Value::U32(self.chunk_size));
        let mut data = Vec::new();
        for (name, squares) in &self.squares {
            let matrices = squares.counts.len();
            let cols = squares.sums.len().checked_div(matrices).unwrap_or(0);
            for (suffix, dims, values) in
                [("in_sum2", [cols, matrices], &squares.sums), ("counts", [1, matrices], &squares.counts)]
            {
                let len = writer.tensor(&format!("{name}.{suffix}"), Dtype::F32, &dims)?;
                data.extend(values.iter().flat_map(|x| x.to_le_bytes()));
                data.resize(data.len() + Writer::padding(len), 0);
            }
        }
        Ok([writer.head(), data].concat())
    }

    /// The bytes of a file of the older format.
    pub fn to_dat(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |out: &mut Vec<u8>, n: usize| out.extend((n as i32).to_le_bytes());
        number(&mut out, self.squares.len());
        for (name, squares) in &self.squares {
            let largest = squares.counts.iter().fold(0.0f32, |largest, &n| largest.max(n));
            let chunks = (largest / self.chunk_size.max(1) as f32).ceil().max(1.0);
            number(&mut out, name.len());
            out.extend(name.as_bytes());
            number(&mut out, chunks as usize);
            number(&mut out, squares.sums.len());
            let cols = squares.sums.len().checked_div(squares.counts.len()).unwrap_or(0).max(1);
            for (sums, &count) in squares.sums.chunks(cols).zip(&squares.counts) {
                let mean = |sum: &f32| if count > 0.0 { sum / count } else { 1.0 };
                out.extend(sums.iter().flat_map(|sum| (mean(sum) * chunks).to_le_bytes()));
            }
        }
        number(&mut out, self.chunks as usize);
        let dataset = self.datasets.first().map_or("", String::as_str);
        number(&mut out, dataset.len());
        out.extend(dataset.as_bytes());
        out
    }
}

/// What is left of a file of the older format.
struct Dat<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Dat<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated(n)),
        }
    }

    fn truncated(&self, n: usize) -> Error {
        let what = format!("{n} bytes were announced, and {} are left: no importance file", self.rest.len());
        Error::new(ErrorKind::Truncated, what).at_offset((self.len - self.rest.len()) as u64)
    }

    /// A number of something, at most as many as the file has bytes.
    fn count(&mut self, of: &str) -> Result<usize, Error> {
        let at = (self.len - self.rest.len()) as u64;
        let b = self.take(4)?;
        let n = i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        usize::try_from(n).map_err(|_| {
            let what = format!("found {n} {of}, expected a number from 0 up: no importance file");
            Error::new(ErrorKind::Malformed, what).at_offset(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered() -> Gathered {
        let squares = [
            ("blk.0.attn_q.weight", Squares { sums: vec![1.0, 2.0, 3.0, 4.0], counts: vec![32.0] }),
            ("blk.0.ffn_up_exps.weight", Squares { sums: vec![1.0, 2.0, 0.0, 0.0], counts: vec![2.0, 0.0] }),
        ];
        Gathered {
            squares: squares.map(|(name, squares)| (name.into(), squares)).into(),
            datasets: vec!["text.txt".into()],
            chunks: 2,
            chunk_size: 16,
        }
    }

    #[test]
    fn gguf_files_come_back() {
        let bytes = gathered().to_gguf().unwrap();
        assert_eq!(Gathered::parse(Bytes::new(bytes)).unwrap(), gathered());
    }

    #[test]
    fn what_newer_versions_add_is_passed_by() {
        let mut writer = Writer::new();
        for (suffix, dims) in
            [("in_sum", [4, 1]), ("in_sum2", [4, 1]), ("counts", [1, 1]), ("stats", [12, 1])]
        {
            writer.tensor(&format!("blk.0.attn_q.weight.{suffix}"), Dtype::F32, &dims).unwrap();
        }
        // 32 bytes each, or what is padded to it; the sums of squares are ones, and one row was summed.
        let data = [[0.0f32; 8], [1.0; 8], [1.0; 8], [0.0; 8], [0.0; 8]].concat();
        let data = data.iter().flat_map(|x| x.to_le_bytes());
        let file: Vec<u8> = writer.head().into_iter().chain(data).collect();
        let importance = Gathered::parse(Bytes::new(file)).unwrap().importance();
        assert_eq!(importance.len(), 1);
        assert_eq!(importance.of("blk.0.attn_q.weight"), Some(&[1.0; 4][..]));
    }

    #[test]
    fn both_formats_mean_the_same() {
        let dat = Gathered::parse(Bytes::new(gathered().to_dat())).unwrap();
        assert_eq!((dat.chunks, &*dat.datasets), (2, &["text.txt".to_string()][..]));
        let (a, b) = (dat.importance(), gathered().importance());
        for name in ["blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight"] {
            assert_eq!(a.of(name), b.of(name), "{name}");
        }
        assert_eq!(b.of("blk.0.ffn_up_exps.weight"), Some(&[0.5, 1.0, 1.0, 1.0][..]));
        assert_eq!(b.of("blk.1.attn_q.weight"), None);
    }

    #[test]
    fn cut_files_are_refused() {
        for whole in [gathered().to_dat(), gathered().to_gguf().unwrap()] {
            for len in 0..whole.len() {
                let cut = Gathered::parse(Bytes::new(whole[..len].to_vec()));
                // Files of the older format may lack what follows the last entry, and zeros may pad the newer one.
                assert!(
                    cut.is_err() || cut.unwrap().importance().len() == 2,
                    "{len} of {} bytes",
                    whole.len()
                );
            }
        }
    }

    #[test]
    fn lies_are_refused() {
        let with = |edit: fn(&mut Squares)| {
            let mut lie = gathered();
            edit(lie.squares.get_mut("blk.0.attn_q.weight").unwrap());
            Gathered::parse(Bytes::new(lie.to_gguf().unwrap()))
        };
        assert_eq!(with(|squares| squares.sums[1] = f32::NAN).unwrap_err().kind, ErrorKind::Malformed);
        assert_eq!(with(|squares| squares.sums[1] = -1.0).unwrap_err().kind, ErrorKind::Malformed);
        for bytes in [&[255; 64][..], &[1, 0, 0, 0, 255, 255, 255, 127], &[0; 4], b""] {
            assert!(Gathered::parse(Bytes::new(bytes.to_vec())).is_err(), "{bytes:?}");
        }
    }
}
