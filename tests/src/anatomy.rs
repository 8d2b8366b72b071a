//! Where in a GGUF file each number lies that a hostile writer could lie about.
//!
//! This is a second reader of the format, for honest files only and with none of the engine's code.

/// A number in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the file.
    pub at: usize,
    /// How many bytes it takes.
    pub width: usize,
    /// What it says.
    pub kind: Kind,
    /// Whose it is: a metadata key, a tensor's name, or nothing.
    pub owner: String,
}

/// What a [`Field`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `GGUF`.
    Magic,
    /// 1 to 3.
    Version,
    /// How many tensors follow.
    TensorCount,
    /// How many metadata entries follow.
    KeyCount,
    /// Bytes of a string.
    StringLength,
    /// The type of a value.
    ValueType,
    /// The type of an array's elements.
    ElementType,
    /// Elements of an array.
    ArrayLength,
    /// A value that is an integer, a bool or (`true`) a float.
    Value(bool),
    /// A tensor's number of dimensions.
    DimCount,
    /// A tensor's dimension.
    Dim,
    /// A tensor's type.
    Dtype,
    /// Where a tensor's bytes begin.
    Offset,
}

impl Kind {
    /// Whether any other number makes the file contradict itself, so that it has to be refused.
    ///
    /// Not so for values (another context length is another model), nor for types, some of which can stand for
    /// others of the same size.
    pub fn is_structure(self) -> bool {
        !matches!(self, Self::Value(_) | Self::ValueType | Self::ElementType | Self::Dtype | Self::Version)
    }
}

impl Field {
    /// What the file says there.
    pub fn read(&self, bytes: &[u8]) -> u64 {
        let mut value = [0; 8];
        value[..self.width].copy_from_slice(&bytes[self.at..self.at + self.width]);
        u64::from_le_bytes(value)
    }

    /// The file with another number there.
    pub fn lie(&self, bytes: &[u8], value: u64) -> Vec<u8> {
        let mut lying = bytes.to_vec();
        lying[self.at..self.at + self.width].copy_from_slice(&value.to_le_bytes()[..self.width]);
        lying
    }

    /// Numbers that fit the field and are not what the file says: near it, and the ends of every integer type.
    pub fn lies(&self, bytes: &[u8]) -> Vec<u64> {
        let honest = self.read(bytes);
        let mask = u64::MAX >> (64 - 8 * self.width);
        let near = [honest.wrapping_sub(1), honest.wrapping_add(1), honest.wrapping_mul(2), honest / 2];
        let ends = [0, 1, 3, 1 << 7, 1 << 15, 1 << 31, (1 << 31) - 1, u32::MAX.into(), 1 << 32];
        let far = [1 << 40, 1 << 62, 1 << 63, i64::MAX as u64, u64::MAX, u64::MAX - 7];
        let floats = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, f32::MAX, 1e-45, -0.0];
        let floats = floats.map(|x| u64::from(x.to_bits()));
        let is_float = self.kind == Kind::Value(true);
        let mut lies: Vec<u64> =
            near.into_iter().chain(ends).chain(far).chain(floats.into_iter().filter(|_| is_float)).collect();
        lies.iter_mut().for_each(|lie| *lie &= mask);
        lies.retain(|&lie| lie != honest);
        lies.sort_unstable();
        lies.dedup();
        lies
    }
}

/// All fields of an honest file (version 2 or 3). Of the strings in an array only the first, the middle and the last.
///
/// # Panics
/// When the file is not honest.
pub fn fields(bytes: &[u8]) -> Vec<Field> {
    let mut walk = Walk { bytes, at: 0, fields: Vec::new(), owner: String::new() };
    walk.number(4, Kind::Magic);
    walk.number(4, Kind::Version);
    let n_tensors = walk.number(8, Kind::TensorCount);
    let n_keys = walk.number(8, Kind::KeyCount);
    for _ in 0..n_keys {
        walk.name();
        let kind = walk.number(4, Kind::ValueType);
        walk.value(kind);
    }
    for _ in 0..n_tensors {
        walk.name();
        let n_dims = walk.number(4, Kind::DimCount);
        for _ in 0..n_dims {
            walk.number(8, Kind::Dim);
        }
        walk.number(4, Kind::Dtype);
        walk.number(8, Kind::Offset);
    }
    walk.fields
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Field>,
    owner: String,
}

impl Walk<'_> {
    fn number(&mut self, width: usize, kind: Kind) -> u64 {
        let field = Field { at: self.at, width, kind, owner: self.owner.clone() };
        let value = field.read(self.bytes);
        self.fields.push(field);
        self.at += width;
        value
    }

    /// A string that owns what follows it.
    fn name(&mut self) {
        self.owner.clear();
        let text = self.string();
        self.owner = String::from_utf8(text).expect("names are UTF-8");
        let length = self.fields.last_mut().expect("the string's length");
        length.owner.clone_from(&self.owner);
    }

    fn string(&mut self) -> Vec<u8> {
        let len = self.number(8, Kind::StringLength) as usize;
        self.at += len;
        self.bytes[self.at - len..self.at].to_vec()
    }

    fn value(&mut self, kind: u64) {
        match kind {
            8 => drop(self.string()),
            9 => {
                let kind = self.number(4, Kind::ElementType);
                let len = self.number(8, Kind::ArrayLength);
                for i in 0..len {
                    let before = self.fields.len();
                    self.value(kind);
                    if ![0, len / 2, len - 1].contains(&i) {
                        self.fields.truncate(before);
                    }
                }
            }
            kind => {
                let width = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind as usize];
                self.number(width, Kind::Value(kind == 6));
            }
        }
    }
}
