//! The tensor table: names, shapes, types, and where the bytes lie.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::reader::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::order::sorted_below;
use crate::quant::Dtype;

/// A tensor's place in its file, checked: `start..start + len` lies inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, as `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Elements per dimension, fastest first (`shape[0]` is the row length); unused dimensions are 1.
    pub shape: [usize; 4],
    /// How many dimensions the file gives, 1 to 4.
    pub n_dims: usize,
    /// Which file of a split holds the bytes.
    pub shard: usize,
    /// Its place in that file's table.
    pub index: usize,
    /// Bytes from the start of that file.
    pub start: usize,
    /// Length in bytes.
    pub len: usize,
}

impl TensorInfo {
    /// Length of a row, the fastest dimension.
    pub fn cols(&self) -> usize {
        self.shape[0]
    }

    /// Number of rows: the product of all other dimensions.
    pub fn rows(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The dimensions that the file gives.
    pub fn dims(&self) -> &[usize] {
        &self.shape[..self.n_dims]
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.dtype.name(), self.dims())
    }
}

/// Reads `n` entries and checks that the tensors lie in the file, aligned, without overlapping.
pub(super) fn read_table(
    input: &mut Reader<'_>,
    n: u64,
    alignment: usize,
    shard: usize,
) -> Result<Vec<TensorInfo>> {
    let mut tensors = Vec::new();
    for index in 0..n {
        tensors.push(read_entry(input, alignment, shard, index as usize)?);
    }
    // Offsets count from the data section, which begins after the table.
    let data = input.at().checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
    let available = input.file_len().saturating_sub(data);
    for tensor in &mut tensors {
        let end = tensor.start.checked_add(tensor.len);
        if end.is_none_or(|end| end > available) {
            let what = format!(
                "{} bytes at offset {} do not fit the {available} bytes of tensor data: the file is truncated",
                tensor.len, tensor.start
            );
            return Err(Error::new(ErrorKind::Truncated, what).at_tensor(&*tensor.name));
        }
        tensor.start += data;
    }
    check_overlap(&tensors)?;
    Ok(tensors)
}

/// One entry; `start` still counts from the data section.
fn read_entry(input: &mut Reader<'_>, alignment: usize, shard: usize, index: usize) -> Result<TensorInfo> {
    let name = input.utf8("a tensor name")?;
    let name = input.text(name);
    let wrong = |kind, what: String| Err(Error::new(kind, what).at_tensor(name));
    let n_dims = input.u32()?;
    if !(1..=4).contains(&n_dims) {
        return wrong(ErrorKind::Malformed, format!("found {n_dims} dimensions, expected 1 to 4"));
    }
    let n_dims = n_dims as usize;
    let mut shape = [1; 4];
    for dim in &mut shape[..n_dims] {
        let found = input.length()?;
        *dim = match usize::try_from(found) {
            Ok(n) if n > 0 => n,
            _ => return wrong(ErrorKind::Malformed, format!("{found} is no dimension for this machine")),
        };
    }
    let id = input.u32()?;
    let offset = input.u64()?;
    let Some(dtype) = Dtype::from_id(id) else {
        return wrong(ErrorKind::Unsupported, format!("tensor type {id}, which this version does not know"));
    };
    let Some(len) = dtype.tensor_bytes(&shape) else {
        let what = format!(
            "shape {:?} is not whole {} blocks of {}, or too large",
            &shape[..n_dims],
            dtype.name(),
            dtype.block_len()
        );
        return wrong(ErrorKind::Malformed, what);
    };
    match usize::try_from(offset) {
        Ok(start) if start % alignment == 0 => {
            Ok(TensorInfo { name: name.into(), dtype, shape, n_dims, shard, index, start, len })
        }
        Ok(_) => wrong(
            ErrorKind::Malformed,
            format!("offset {offset} is no multiple of the alignment {alignment}"),
        ),
        Err(_) => wrong(ErrorKind::Truncated, format!("offset {offset} lies past the end of the file")),
    }
}

fn check_overlap(tensors: &[TensorInfo]) -> Result<()> {
    let by_start = sorted_below(tensors.len(), &|a, b| tensors[a].start.cmp(&tensors[b].start));
    for pair in by_start.windows(2) {
        let (one, next) = (&tensors[pair[0] as usize], &tensors[pair[1] as usize]);
        if one.start + one.len > next.start {
            let what = format!("its bytes overlap those of `{}`", one.name);
            return Err(Error::new(ErrorKind::Malformed, what).at_tensor(&*next.name));
        }
    }
    Ok(())
}
