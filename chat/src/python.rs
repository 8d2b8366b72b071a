//! How Python writes values: `str`, `repr` and `json.dumps`.
//!
//! Templates are written for jinja2, so `{{ value }}` prints what Python's `str(value)` gives (`None`, `True`,
//! `{'a': [1.0]}`), and `tojson` prints what `json.dumps(value, ensure_ascii=False)` gives.

use std::fmt::Write;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use crate::meter::{MAX_BYTES, MAX_DEPTH, Meter, Stop};

/// Text that is paid for while it grows.
struct Text<'a> {
    text: String,
    paid: usize,
    meter: &'a Meter,
}

impl<'a> Text<'a> {
    fn new(meter: &'a Meter) -> Self {
        Self { text: String::new(), paid: 0, meter }
    }

    fn push(&mut self, piece: &str) -> Result<(), Error> {
        if piece.len() > MAX_BYTES - self.text.len() {
            return Err(self.meter.stop(Stop::TooLarge));
        }
        self.text.push_str(piece);
        // In steps, since the pieces are mostly tiny.
        if self.text.len() - self.paid >= 256 {
            self.meter.make_text(self.text.len() - self.paid)?;
            self.paid = self.text.len();
        }
        Ok(())
    }
}

fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a value nests deeper than {MAX_DEPTH} levels"))
}

/// `str(value)`; undefined is empty, as jinja2's default undefined is.
pub(crate) fn str(value: &Value, meter: &Meter) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        meter.make_text(text.len())?;
        return Ok(text.to_string());
    }
    if value.is_undefined() {
        return Ok(String::new());
    }
    let mut out = Text::new(meter);
    repr(value, &mut out, 0)?;
    Ok(out.text)
}

fn repr(value: &Value, out: &mut Text<'_>, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::Undefined => out.push("Undefined"),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.is_tuple();
            out.push(if tuple { "(" } else { "[" })?;
            let mut n = 0;
            for item in value.try_iter()? {
                if n > 0 {
                    out.push(", ")?;
                }
                repr(&item, out, depth + 1)?;
                n += 1;
            }
            out.push(match (tuple, n) {
                (true, 1) => ",)",
                (true, _) => ")",
                (false, _) => "]",
            })
        }
        ValueKind::Map => {
            out.push("{")?;
            for (n, key) in value.try_iter()?.enumerate() {
                if n > 0 {
                    out.push(", ")?;
                }
                repr(&key, out, depth + 1)?;
                out.push(": ")?;
                repr(&value.get_item(&key)?, out, depth + 1)?;
            }
            out.push("}")
        }
        _ => out.push(&value.to_string()),
    }
}

/// A string literal: single quotes, unless only single quotes occur inside.
fn quote(text: &str, out: &mut Text<'_>) -> Result<(), Error> {
    let quote = if text.contains('\'') && !text.contains('"') { "\"" } else { "'" };
    out.push(quote)?;
    let mut buffer = String::new();
    for c in text.chars() {
        buffer.clear();
        match c {
            '\n' => buffer.push_str("\\n"),
            '\r' => buffer.push_str("\\r"),
            '\t' => buffer.push_str("\\t"),
            '\\' => buffer.push_str("\\\\"),
            '\'' if quote == "'" => buffer.push_str("\\'"),
            c if c < ' ' || ('\x7f'..='\u{a0}').contains(&c) || c == '\u{ad}' => {
                let _ = write!(buffer, "\\x{:02x}", u32::from(c)); // writing into a string cannot fail
            }
            c => buffer.push(c),
        }
        out.push(&buffer)?;
    }
    out.push(quote)
}

/// An integer in full, a float as Python's `repr` prints it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(x) if !value.is_integer() => float(x),
        _ => value.to_string(),
    }
}

/// The shortest digits that read back as `x`; an exponent below 1e-4 and from 1e16.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').expect("Rust's `e` format has an exponent");
    let exponent: i32 = exponent.parse().expect("a float's exponent is small");
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`, keys in their own order or sorted.
///
/// # Errors
/// Undefined and other things that JSON cannot say, and whatever the meter refuses.
pub(crate) fn json(value: &Value, style: &JsonStyle, meter: &Meter) -> Result<String, Error> {
    let mut out = Text::new(meter);
    json_into(value, style, &mut out, 0)?;
    Ok(out.text)
}

/// The arguments of `tojson`.
pub(crate) struct JsonStyle {
    /// What one level is indented by, or everything on one line.
    pub(crate) indent: Option<String>,
    /// Between items.
    pub(crate) comma: String,
    /// Between key and value.
    pub(crate) colon: String,
    /// Whether keys are sorted.
    pub(crate) sort_keys: bool,
    /// Whether everything beyond ASCII is escaped.
    pub(crate) ascii: bool,
}

fn json_into(value: &Value, style: &JsonStyle, out: &mut Text<'_>, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::None => out.push("null"),
        ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push(&match number(value).as_str() {
            "nan" => "NaN".into(),
            "inf" => "Infinity".into(),
            "-inf" => "-Infinity".into(),
            number => number.to_string(),
        }),
        ValueKind::String => json_string(value.as_str().unwrap_or_default(), style, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut any = false;
            out.push("[")?;
            for item in value.try_iter()? {
                separate(&mut any, style, out, depth)?;
                json_into(&item, style, out, depth + 1)?;
            }
            close(any, style, out, depth)?;
            out.push("]")
        }
        ValueKind::Map => {
            let mut any = false;
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            out.meter.make_list(keys.len())?;
            if style.sort_keys {
                keys.sort();
            }
            out.push("{")?;
            for key in keys {
                separate(&mut any, style, out, depth)?;
                match key.kind() {
                    ValueKind::String => json_string(key.as_str().unwrap_or_default(), style, out)?,
                    ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                        out.push("\"")?;
                        json_into(&key, style, out, depth + 1)?;
                        out.push("\"")?;
                    }
                    kind => {
                        let what = format!("a JSON key cannot be a {kind}");
                        return Err(Error::new(ErrorKind::InvalidOperation, what));
                    }
                }
                out.push(&style.colon)?;
                json_into(&value.get_item(&key)?, style, out, depth + 1)?;
            }
            close(any, style, out, depth)?;
            out.push("}")
        }
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} is not JSON serializable"))),
    }
}

/// The comma before all items but the first, and the new line of the indented style.
fn separate(any: &mut bool, style: &JsonStyle, out: &mut Text<'_>, depth: usize) -> Result<(), Error> {
    if std::mem::replace(any, true) {
        out.push(&style.comma)?;
    }
    new_line(style, out, depth + 1)
}

fn close(any: bool, style: &JsonStyle, out: &mut Text<'_>, depth: usize) -> Result<(), Error> {
    if any { new_line(style, out, depth) } else { Ok(()) }
}

fn new_line(style: &JsonStyle, out: &mut Text<'_>, depth: usize) -> Result<(), Error> {
    if let Some(indent) = &style.indent {
        out.push("\n")?;
        for _ in 0..depth {
            out.push(indent)?;
        }
    }
    Ok(())
}

fn json_string(text: &str, style: &JsonStyle, out: &mut Text<'_>) -> Result<(), Error> {
    out.push("\"")?;
    let mut buffer = String::new();
    for c in text.chars() {
        buffer.clear();
        match c {
            '"' => buffer.push_str("\\\""),
            '\\' => buffer.push_str("\\\\"),
            '\n' => buffer.push_str("\\n"),
            '\r' => buffer.push_str("\\r"),
            '\t' => buffer.push_str("\\t"),
            '\x08' => buffer.push_str("\\b"),
            '\x0c' => buffer.push_str("\\f"),
            c if c < ' ' || (style.ascii && c > '~') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(buffer, "\\u{unit:04x}"); // writing into a string cannot fail
                }
            }
            c => buffer.push(c),
        }
        out.push(&buffer)?;
    }
    out.push("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Value) -> String {
        str(&value, &Meter::new(10_000)).unwrap()
    }

    #[test]
    fn floats_print_as_in_python() {
        for (x, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float(x), expected);
        }
    }

    #[test]
    fn containers_print_as_in_python() {
        let value = Value::from(minijinja::value::Serde(
            serde_json::json!({"a": [1, 2.0, null, true], "it's": "\n\"'é"}),
        ));
        assert_eq!(shown(value), r#"{'a': [1, 2.0, None, True], "it's": '\n"\'é'}"#);
    }
}
