//! Writes GGUF version 3: the head at once, then the caller streams the tensors' bytes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::value::{Array, Value, ValueType};
use crate::error::{Error, ErrorKind, Result};
use crate::quant::Dtype;

/// A file in the making. Memory: the metadata and the tensor table, never a tensor.
///
/// ```
/// use motelm_core::gguf::{File, Value, Writer};
/// use motelm_core::quant::Dtype;
/// let mut writer = Writer::new();
/// writer.set("general.architecture", Value::Str(b"llama"));
/// writer.tensor("token_embd.weight", Dtype::F32, &[2, 3])?;
/// let mut bytes = writer.head();
/// bytes.extend([0; 2 * 3 * 4]);
/// bytes.resize(bytes.len() + Writer::padding(2 * 3 * 4), 0);
/// let file = File::parse(motelm_core::Bytes::new(bytes))?;
/// assert_eq!(file.str("general.architecture")?, Some("llama"));
/// # Ok::<(), motelm_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    entries: Vec<u8>,
    n_entries: u64,
    table: Vec<u8>,
    n_tensors: u64,
    /// Where the next tensor's bytes go, from the start of the data section.
    next: u64,
}

/// The alignment of tensors in files written here (`general.alignment`'s default).
const ALIGNMENT: usize = 32;

/// A number that arrays can hold.
pub trait Scalar: Copy {
    /// Its kind in the file.
    const KIND: ValueType;
    /// Appends its little-endian bytes.
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! scalars {
    ($($rust:ty: $kind:ident),*) => {$(
        impl Scalar for $rust {
            const KIND: ValueType = ValueType::$kind;
            fn write(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )*};
}

scalars!(u8: U8, i8: I8, u16: U16, i16: I16, u32: U32, i32: I32, f32: F32, u64: U64, i64: I64, f64: F64);

impl Writer {
    /// A file without metadata or tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a metadata entry, a copy of another file's value for instance. Keys must be unique.
    pub fn set(&mut self, key: &str, value: Value<'_>) {
        self.begin(key, kind_of(&value));
        write_value(&mut self.entries, value);
    }

    /// Appends an array of numbers.
    pub fn set_array<T: Scalar>(&mut self, key: &str, values: &[T]) {
        self.begin_array(key, T::KIND, values.len());
        values.iter().for_each(|&value| value.write(&mut self.entries));
    }

    /// Appends an array of strings.
    pub fn set_strings<'s>(&mut self, key: &str, strings: impl ExactSizeIterator<Item = &'s [u8]>) {
        self.begin_array(key, ValueType::Str, strings.len());
        strings.for_each(|string| write_string(&mut self.entries, string));
    }

    /// Appends a tensor to the table; its bytes must follow in the same order after the head, each padded with
    /// [`Writer::padding`]. `dims`: elements per dimension, fastest first. Returns the tensor's length in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] when there are not 1 to 4 dimensions, or rows are not whole blocks of `dtype`.
    pub fn tensor(&mut self, name: &str, dtype: Dtype, dims: &[usize]) -> Result<usize> {
        let mut shape = [1; 4];
        let fits = (1..=4).contains(&dims.len());
        if fits {
            shape[..dims.len()].copy_from_slice(dims);
        }
        let Some(len) = dtype.tensor_bytes(&shape).filter(|_| fits) else {
            let what = format!("shape {dims:?} cannot be stored as {}", dtype.name());
            return Err(Error::new(ErrorKind::Shape, what).at_tensor(String::from(name)));
        };
        write_string(&mut self.table, name.as_bytes());
        (dims.len() as u32).write(&mut self.table);
        dims.iter().for_each(|&dim| (dim as u64).write(&mut self.table));
        dtype.id().write(&mut self.table);
        self.next.write(&mut self.table);
        self.n_tensors += 1;
        self.next += (len + Self::padding(len)) as u64;
        Ok(len)
    }

    /// Zero bytes to write after a tensor of `len` bytes.
    pub fn padding(len: usize) -> usize {
        len.next_multiple_of(ALIGNMENT) - len
    }

    /// Everything before the first tensor's bytes.
    pub fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.entries.len() + self.table.len() + ALIGNMENT);
        out.extend(b"GGUF");
        3u32.write(&mut out);
        self.n_tensors.write(&mut out);
        self.n_entries.write(&mut out);
        out.extend(&self.entries);
        out.extend(&self.table);
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }

    fn begin(&mut self, key: &str, kind: ValueType) {
        write_string(&mut self.entries, key.as_bytes());
        kind.id().write(&mut self.entries);
        self.n_entries += 1;
    }

    fn begin_array(&mut self, key: &str, kind: ValueType, len: usize) {
        self.begin(key, ValueType::Array);
        kind.id().write(&mut self.entries);
        (len as u64).write(&mut self.entries);
    }
}

fn kind_of(value: &Value<'_>) -> ValueType {
    match value {
        Value::U8(_) => ValueType::U8,
        Value::I8(_) => ValueType::I8,
        Value::U16(_) => ValueType::U16,
        Value::I16(_) => ValueType::I16,
        Value::U32(_) => ValueType::U32,
        Value::I32(_) => ValueType::I32,
        Value::F32(_) => ValueType::F32,
        Value::Bool(_) => ValueType::Bool,
        Value::Str(_) => ValueType::Str,
        Value::Array(_) => ValueType::Array,
        Value::U64(_) => ValueType::U64,
        Value::I64(_) => ValueType::I64,
        Value::F64(_) => ValueType::F64,
    }
}

fn write_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::U8(n) => n.write(out),
        Value::I8(n) => n.write(out),
        Value::U16(n) => n.write(out),
        Value::I16(n) => n.write(out),
        Value::U32(n) => n.write(out),
        Value::I32(n) => n.write(out),
        Value::F32(x) => x.write(out),
        Value::Bool(b) => u8::from(b).write(out),
        Value::Str(bytes) => write_string(out, bytes),
        Value::Array(array) => write_array(out, array),
        Value::U64(n) => n.write(out),
        Value::I64(n) => n.write(out),
        Value::F64(x) => x.write(out),
    }
}

fn write_array(out: &mut Vec<u8>, array: Array<'_>) {
    array.kind().id().write(out);
    (array.len() as u64).write(out);
    array.iter().for_each(|value| write_value(out, value));
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    (bytes.len() as u64).write(out);
    out.extend(bytes);
}
