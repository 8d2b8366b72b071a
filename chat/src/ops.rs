//! Python's operators, paid for: what [`crate::compile`] calls instead of the engine's own instructions.
//!
//! The engine's operators build lazy chains (a slice of a slice of a slice) and convert where Python raises
//! `TypeError`. These build plain values at once.

use std::sync::Arc;

use minijinja::formatting::{self, FormatStyle};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::meter::{MAX_BYTES, Meter};
use crate::python;

/// Most elements of a `range`, the limit of jinja2's sandbox.
const MAX_RANGE: i128 = 100_000;

/// Adds the operators, under names that only the compiler uses, and `range`.
pub(crate) fn register(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    fn binary(
        env: &mut Environment<'_>,
        name: &'static str,
        meter: &Arc<Meter>,
        op: impl Fn(&Meter, &Value, &Value) -> Result<Value, Error> + Send + Sync + 'static,
    ) {
        let meter = Arc::clone(meter);
        env.add_function(name, move |a: &Value, b: &Value| op(&meter, a, b));
    }
    binary(env, "+", meter, add);
    binary(env, "*", meter, mul);
    binary(env, "%", meter, rem);
    binary(env, "~", meter, |meter, a, b| concat(meter, &python::str(a, meter)?, &python::str(b, meter)?));
    binary(env, "[]", meter, item);
    let paying = Arc::clone(meter);
    env.add_function("[:]", move |value: &Value, start: &Value, stop: &Value, step: &Value| {
        slice(&paying, value, start, stop, step)
    });
    let paying = Arc::clone(meter);
    env.add_function("pay", move |value: &Value| paying.read(value));
    let paying = Arc::clone(meter);
    env.add_function("pay deep", move |value: &Value| paying.read_deep(value));
    let paying = Arc::clone(meter);
    env.add_function("pay loop", move |value: &Value| match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
            let what = format!("{} is not iterable", value.kind());
            Err(Error::new(ErrorKind::InvalidOperation, what))
        }
        _ => paying.read(value),
    });
    let paying = Arc::clone(meter);
    env.add_function("range", move |a: i64, b: Option<i64>, step: Option<i64>| range(&paying, a, b, step));
}

fn wrong(op: &str, a: &Value, b: &Value) -> Error {
    let what = format!("unsupported operands for {op}: {} and {}", a.kind(), b.kind());
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The two values as integers, where both are (`True` is 1).
pub(crate) fn ints(a: &Value, b: &Value) -> Option<(i128, i128)> {
    let int = |x: &Value| match x.kind() {
        ValueKind::Bool => Some(i128::from(x.is_true())),
        _ if x.is_integer() => i128::try_from(x.clone()).ok(),
        _ => None,
    };
    Some((int(a)?, int(b)?))
}

fn floats(a: &Value, b: &Value) -> Option<(f64, f64)> {
    let float = |x: &Value| match x.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(x.is_true()))),
        ValueKind::Number => f64::try_from(x.clone()).ok(),
        _ => None,
    };
    Some((float(a)?, float(b)?))
}

/// An integer as the engine likes it: small where it fits.
fn int(x: i128) -> Value {
    i64::try_from(x).map_or_else(|_| Value::from(x), Value::from)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// A new list, or tuple if `like` is one.
fn list(like: &Value, items: Vec<Value>) -> Value {
    if like.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) }
}

fn concat(meter: &Meter, a: &str, b: &str) -> Result<Value, Error> {
    meter.make_text(a.len().saturating_add(b.len()))?;
    Ok(Value::from([a, b].concat()))
}

pub(crate) fn add(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return concat(meter, a, b);
    }
    if is_list(a) && is_list(b) && a.is_tuple() == b.is_tuple() {
        meter.make_list(a.len().unwrap_or(0).saturating_add(b.len().unwrap_or(0)))?;
        return Ok(list(a, a.try_iter()?.chain(b.try_iter()?).collect()));
    }
    if let Some((x, y)) = ints(a, b) {
        return x.checked_add(y).map(int).ok_or_else(|| wrong("+", a, b));
    }
    floats(a, b).map(|(x, y)| Value::from(x + y)).ok_or_else(|| wrong("+", a, b))
}

fn mul(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some((x, y)) = ints(a, b) {
        return x.checked_mul(y).map(int).ok_or_else(|| wrong("*", a, b));
    }
    if let Some((x, y)) = floats(a, b) {
        return Ok(Value::from(x * y));
    }
    let (many, n) = if a.is_integer() { (b, a) } else { (a, b) };
    let Some((n, _)) = ints(n, n) else { return Err(wrong("*", a, b)) };
    // More than a length can say is more than the meter allows.
    let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
    if let Some(text) = many.as_str() {
        let bytes = text.len().saturating_mul(n);
        meter.make_text(bytes)?;
        return Ok(Value::from(if bytes == 0 { String::new() } else { text.repeat(n) }));
    }
    if is_list(many) {
        let items: Vec<Value> = many.try_iter()?.collect();
        let len = items.len().saturating_mul(n);
        meter.make_list(len)?;
        return Ok(list(many, items.into_iter().cycle().take(len).collect()));
    }
    Err(wrong("*", a, b))
}

/// Remainder with the divisor's sign, or `'%s' % value` formatting.
fn rem(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(text) = a.as_str() {
        let args: Vec<Value> = if b.is_tuple() { b.try_iter()?.collect() } else { vec![b.clone()] };
        return format(meter, FormatStyle::Printf, text, &args);
    }
    if let Some((x, y)) = ints(a, b) {
        let r = x.checked_rem(y).ok_or_else(|| wrong("%", a, b))?;
        return Ok(int(if r != 0 && (r < 0) != (y < 0) { r + y } else { r }));
    }
    match floats(a, b) {
        Some((x, y)) if y != 0.0 => Ok(Value::from(x - y * (x / y).floor())),
        _ => Err(wrong("%", a, b)),
    }
}

/// `str.format` or `%` formatting, its widths and precisions kept within three digits.
pub(crate) fn format(meter: &Meter, style: FormatStyle, text: &str, args: &[Value]) -> Result<Value, Error> {
    if !modest_widths(&style, text) {
        let what = "a format whose width or precision has more than three digits or comes from an argument";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    // Every placeholder takes at least two characters, and may print the largest argument.
    let mut largest = 1000;
    for arg in args {
        meter.read_deep(arg)?;
        largest = largest.max(python::str(arg, meter)?.len().saturating_mul(2));
    }
    meter.make_text(text.matches(['%', '{']).count().saturating_mul(largest).saturating_add(text.len()))?;
    formatting::format(style, text, args).map(Value::from)
}

/// Whether every width and precision is written out and below 1000.
fn modest_widths(style: &FormatStyle, text: &str) -> bool {
    let short = |spec: &str| !spec.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 3);
    match style {
        FormatStyle::Printf => text.split('%').skip(1).all(|spec| {
            let end = spec.find(|c: char| !" #+-.*0123456789".contains(c)).unwrap_or(spec.len());
            !spec[..end].contains('*') && short(&spec[..end])
        }),
        // A width from an argument is a brace inside the braces, right after the colon or further in.
        FormatStyle::StrFormat => text.split('{').skip(1).all(|spec| {
            let (spec, closed) = spec.split_once('}').map_or((spec, false), |(spec, _)| (spec, true));
            spec.split_once(':').is_none_or(|(_, format)| closed && short(format))
        }),
    }
}

fn item(meter: &Meter, value: &Value, key: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(
            ErrorKind::UndefinedError,
            format!("an item ({key:?}) of an undefined value"),
        ));
    }
    if value.kind() != ValueKind::Map {
        meter.spend_one()?;
        if value.as_str().is_some() || value.kind() == ValueKind::Iterable {
            meter.read(value)?;
        }
    }
    value.get_item(key)
}

/// `value[start:stop:step]` of text and lists.
fn slice(meter: &Meter, value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let bound = |bound: &Value| match bound.kind() {
        ValueKind::None | ValueKind::Undefined => Ok(None),
        _ => bound
            .as_i64()
            .map(|x| Some(i128::from(x)))
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "slice indices are integers or none")),
    };
    let (start, stop, step) = (bound(start)?, bound(stop)?, bound(step)?.unwrap_or(1));
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "a slice's step cannot be zero"));
    }
    meter.read(value)?;
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            meter.make_text(text.len())?;
            let chars: Vec<char> = text.chars().collect();
            Ok(Value::from(places(chars.len(), start, stop, step).map(|i| chars[i]).collect::<String>()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            meter.make_list(value.len().unwrap_or(0))?;
            let items: Vec<Value> = value.try_iter()?.collect();
            Ok(list(value, places(items.len(), start, stop, step).map(|i| items[i].clone()).collect()))
        }
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("a {kind} cannot be sliced"))),
    }
}

/// The indices below `len` that Python's slice visits.
fn places(len: usize, start: Option<i128>, stop: Option<i128>, step: i128) -> impl Iterator<Item = usize> {
    let len = len as i128;
    // Backwards the ends lie one before each place.
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |x: i128| (if x < 0 { x + len } else { x }).clamp(low, high);
    let (first, end) = if step > 0 { (low, high) } else { (high, low) };
    let (first, end) = (start.map_or(first, clamp), stop.map_or(end, clamp));
    let n = if step > 0 { (end - first + step - 1) / step } else { (first - end - step - 1) / -step };
    (0..n.max(0)).map(move |k| (first + k * step) as usize)
}

fn range(meter: &Meter, a: i64, b: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = b.map_or((0, i128::from(a)), |b| (i128::from(a), i128::from(b)));
    let step = i128::from(step.unwrap_or(1));
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "a range's step cannot be zero"));
    }
    let n = (stop - start + step - step.signum()) / step;
    if n > MAX_RANGE {
        let what = format!("a range of {n} elements; at most {MAX_RANGE} are allowed");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    meter.make_list(usize::try_from(n.max(0)).unwrap_or(MAX_BYTES))?;
    Ok((0..n.max(0)).map(|k| int(start + k * step)).collect())
}
