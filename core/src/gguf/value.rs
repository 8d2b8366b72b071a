//! Metadata values: views into the file.

use alloc::format;
use core::fmt;
use core::ops::Range;

use super::reader::Reader;
use crate::error::{Error, ErrorKind, Result};

/// Arrays of arrays deeper than this are refused: no real file nests at all.
const MAX_DEPTH: usize = 4;

/// Declares the kinds of values once: number in the file, name, and bytes of a number.
macro_rules! value_types {
    ($($id:literal $name:ident $rust:ty, $size:literal;)*) => {
        /// The kind of a metadata value or of an array's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ValueType { $(#[doc = concat!("`", stringify!($rust), "`")] $name,)* }

        impl ValueType {
            pub(super) fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }

            pub(super) fn id(self) -> u32 {
                match self { $(Self::$name => $id,)* }
            }

            /// Bytes of a value, or `None` for strings and arrays.
            pub(super) fn size(self) -> Option<usize> {
                let size = match self { $(Self::$name => $size,)* };
                (size > 0).then_some(size)
            }
        }
    };
}

value_types! {
    0 U8 u8, 1; 1 I8 i8, 1; 2 U16 u16, 2; 3 I16 i16, 2; 4 U32 u32, 4; 5 I32 i32, 4; 6 F32 f32, 4; 7 Bool bool, 1;
    8 Str str, 0; 9 Array array, 0; 10 U64 u64, 8; 11 I64 i64, 8; 12 F64 f64, 8;
}

impl ValueType {
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self> {
        let at = input.at() as u64;
        let id = input.u32()?;
        Self::from_id(id).ok_or_else(|| {
            let what = format!("found value type {id}, expected 0 to 12");
            Error::new(ErrorKind::Malformed, what).at_offset(at)
        })
    }
}

/// A metadata value.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs)] // the variants are the types they hold
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The value whose bytes [`skip`] has checked at `at`.
    pub(super) fn at(bytes: &'a [u8], version: u32, kind: ValueType, at: usize) -> Self {
        Self::read(&mut Reader::resume(bytes, version, at), bytes, kind)
            .expect("checked when the file was parsed")
    }

    fn read(input: &mut Reader<'a>, bytes: &'a [u8], kind: ValueType) -> Result<Self> {
        Ok(match kind {
            ValueType::U8 => Self::U8(u8::from_le_bytes(input.array()?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(input.array()?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(input.array()?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(input.array()?)),
            ValueType::U32 => Self::U32(input.u32()?),
            ValueType::I32 => Self::I32(i32::from_le_bytes(input.array()?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(input.array()?)),
            ValueType::Bool => Self::Bool(input.array::<1>()? != [0]),
            ValueType::Str => Self::Str(&bytes[input.string()?]),
            ValueType::Array => {
                let kind = ValueType::read(input)?;
                let len =
                    input.length()?.try_into().expect("no array has more elements than the file has bytes");
                let array = Array { bytes, version: input.version, kind, len, at: input.at() };
                skip_elements(input, kind, len as u64, 0)?;
                Self::Array(array)
            }
            ValueType::U64 => Self::U64(input.u64()?),
            ValueType::I64 => Self::I64(i64::from_le_bytes(input.array()?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(input.array()?)),
        })
    }

    /// Any integer that is not negative.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// Either float.
    pub fn as_f32(self) -> Option<f32> {
        match self {
            Self::F32(x) => Some(x),
            Self::F64(x) => Some(x as f32),
            _ => None,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(n) => n.fmt(f),
            Self::I8(n) => n.fmt(f),
            Self::U16(n) => n.fmt(f),
            Self::I16(n) => n.fmt(f),
            Self::U32(n) => n.fmt(f),
            Self::I32(n) => n.fmt(f),
            Self::U64(n) => n.fmt(f),
            Self::I64(n) => n.fmt(f),
            Self::F32(x) => x.fmt(f),
            Self::F64(x) => x.fmt(f),
            Self::Bool(b) => b.fmt(f),
            Self::Str(bytes) => fmt_string(bytes, f),
            Self::Array(array) => write!(f, "an array of {} {:?}", array.len(), array.kind()),
        }
    }
}

/// A string in quotes, cut after 60 characters.
fn fmt_string(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SHOWN: usize = 60;
    let head = &bytes[..bytes.len().min(4 * SHOWN)];
    f.write_str("\"")?;
    let mut chars = 0;
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars().take(SHOWN - chars) {
            write!(f, "{}", c.escape_debug())?;
            chars += 1;
        }
        if chars < SHOWN && !chunk.invalid().is_empty() {
            write!(f, "\u{fffd}")?;
            chars += 1;
        }
    }
    f.write_str(if chars == SHOWN || head.len() < bytes.len() { "…\"" } else { "\"" })
}

/// An array that stays in the file and is read as it is walked.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    bytes: &'a [u8],
    version: u32,
    kind: ValueType,
    len: usize,
    at: usize,
}

impl<'a> Array<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The kind of every element.
    pub fn kind(&self) -> ValueType {
        self.kind
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut input = Reader::resume(self.bytes, self.version, self.at);
        let (bytes, kind) = (self.bytes, self.kind);
        (0..self.len)
            .map(move |_| Value::read(&mut input, bytes, kind).expect("checked when the file was parsed"))
    }

    /// Of an array of strings: where in the (first) file each one's bytes lie. Nothing for other kinds.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let len = if self.kind == ValueType::Str { self.len } else { 0 };
        let mut input = Reader::resume(self.bytes, self.version, self.at);
        (0..len).map(move |_| input.string().expect("checked when the file was parsed"))
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array({} x {:?} at byte {})", self.len, self.kind, self.at)
    }
}

/// Walks over a value, checking that it is there and well-formed.
pub(super) fn skip(input: &mut Reader<'_>, kind: ValueType, depth: usize) -> Result<()> {
    let at = input.at() as u64;
    match kind {
        ValueType::Str => input.string().map(drop),
        ValueType::Bool => match input.array()? {
            [0 | 1] => Ok(()),
            [found] => {
                Err(Error::new(ErrorKind::Malformed, format!("found {found} as a bool, expected 0 or 1"))
                    .at_offset(at))
            }
        },
        ValueType::Array if depth == MAX_DEPTH => {
            let what = format!("arrays nested more than {MAX_DEPTH} deep");
            Err(Error::new(ErrorKind::Malformed, what).at_offset(at))
        }
        ValueType::Array => {
            let kind = ValueType::read(input)?;
            let len = input.length()?;
            skip_elements(input, kind, len, depth + 1)
        }
        _ => input.take(kind.size().expect("numbers have a size")).map(drop),
    }
}

fn skip_elements(input: &mut Reader<'_>, kind: ValueType, len: u64, depth: usize) -> Result<()> {
    // Whatever the elements are, each takes at least a byte: a length that lies is found before it is walked.
    let size = kind.size().unwrap_or(4);
    let bytes = usize::try_from(len).ok().and_then(|len| len.checked_mul(size));
    match bytes {
        Some(bytes) if bytes <= input.remaining() => {}
        _ => {
            let what = format!("an array of {len} {kind:?}, but only {} bytes are left", input.remaining());
            return Err(Error::new(ErrorKind::Truncated, what).at_offset(input.at() as u64));
        }
    }
    if kind.size().is_some() && kind != ValueType::Bool {
        return input.take(bytes.expect("checked above")).map(drop);
    }
    (0..len).try_for_each(|_| skip(input, kind, depth))
}
