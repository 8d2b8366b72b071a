//! Tensor types.

/// How a tensor's elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
}

impl Dtype {
    /// The type with ggml's number `id`.
    pub fn from_id(id: u32) -> Option<Self> {
        [Self::F32, Self::F16].into_iter().find(|dtype| dtype.id() == id)
    }

    /// ggml's number.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// ggml's name.
    pub fn name(self) -> &'static str {
        ["F32", "F16"][self as usize]
    }

    /// Elements per block.
    pub fn block_len(self) -> usize {
        1
    }

    /// Bytes of a tensor of this shape, or `None` when rows are not whole blocks or the size overflows.
    pub fn tensor_bytes(self, shape: &[usize; 4]) -> Option<usize> {
        shape.iter().try_fold(4 >> self as usize, |bytes: usize, &dim| bytes.checked_mul(dim))
    }
}
