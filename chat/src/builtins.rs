//! Filters, tests and methods as templates know them from jinja2 and Python, paid for.
//!
//! Most are the engine's own with a price in front. Those whose result can outgrow their operands, and those that
//! differ from jinja2's, are written here.

use std::sync::Arc;

use minijinja::formatting::FormatStyle;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters, functions, tests};
use minijinja_contrib::pycompat;

use crate::meter::Meter;
use crate::ops;
use crate::python::{self, JsonStyle};

/// Adds all of them.
pub(crate) fn register(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    // What looks at text at most, and at nothing of a list.
    macro_rules! cheap {
        ($($name:literal: $filter:path),* $(,)?) => {$(
            add_filter(env, $name, meter, Meter::read_text, Value::from_function($filter));
        )*};
    }
    cheap! {
        "abs": filters::abs, "attr": filters::attr, "bool": filters::bool, "count": length,
        "d": filters::default, "default": filters::default, "float": float, "int": int, "length": length,
        "round": filters::round, "safe": safe,
    }
    // What looks at its operands once and gives back no more than it got.
    macro_rules! shallow {
        ($($name:literal: $filter:path),* $(,)?) => {$(
            add_filter(env, $name, meter, Meter::read, made(meter, Value::from_function($filter)));
        )*};
    }
    shallow! {
        "capitalize": capitalize, "e": filters::escape, "escape": filters::escape, "first": filters::first,
        "items": items, "last": filters::last, "list": list, "lower": filters::lower, "map": filters::map,
        "reject": filters::reject, "rejectattr": filters::rejectattr, "reverse": reverse,
        "select": filters::select, "selectattr": filters::selectattr, "title": filters::title,
        "trim": filters::trim, "upper": filters::upper,
    }
    // What looks into the elements.
    macro_rules! deep {
        ($($name:literal: $filter:path),* $(,)?) => {$(
            add_filter(env, $name, meter, Meter::read_deep, made(meter, Value::from_function($filter)));
        )*};
    }
    deep! {
        "dictsort": filters::dictsort, "groupby": filters::groupby, "max": filters::max, "min": filters::min,
        "sort": filters::sort, "unique": filters::unique,
    }
    macro_rules! own {
        ($($name:literal: $filter:path),* $(,)?) => {$({
            let paying = Arc::clone(meter);
            env.add_filter($name, move |args: Rest<ValueOrKwargs>| $filter(&paying, &args.into_values()));
        })*};
    }
    own! {
        "batch": batch, "format": printf, "indent": indent, "join": join, "replace": replace, "string": string,
        "sum": sum, "tojson": tojson,
    }

    macro_rules! test {
        ($($name:literal: $test:path),* $(,)?) => {$({
            let (paying, test) = (Arc::clone(meter), Value::from_function($test));
            env.add_test($name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
                let args = args.into_values();
                args.iter().try_for_each(|arg| paying.read_deep(arg))?;
                test.call(state, &args).map(|result| result.is_true())
            });
        })*};
    }
    test! {
        "eq": tests::is_eq, "equalto": tests::is_eq, "==": tests::is_eq, "ne": tests::is_ne, "!=": tests::is_ne,
        "lt": tests::is_lt, "lessthan": tests::is_lt, "<": tests::is_lt, "le": tests::is_le, "<=": tests::is_le,
        "gt": tests::is_gt, "greaterthan": tests::is_gt, ">": tests::is_gt, "ge": tests::is_ge,
        ">=": tests::is_ge, "in": tests::is_in, "lower": tests::is_lower, "upper": tests::is_upper,
        "startingwith": tests::is_startingwith, "endingwith": tests::is_endingwith,
    }
    macro_rules! free {
        ($($name:literal: $test:path),* $(,)?) => { $(env.add_test($name, $test);)* };
    }
    free! {
        "boolean": tests::is_boolean, "defined": tests::is_defined, "even": tests::is_even,
        "escaped": tests::is_safe, "false": tests::is_false, "filter": tests::is_filter, "float": tests::is_float,
        "int": tests::is_integer, "integer": tests::is_integer, "mapping": tests::is_mapping,
        "none": tests::is_none, "number": tests::is_number, "odd": tests::is_odd, "safe": tests::is_safe,
        "sameas": tests::is_sameas, "string": tests::is_string, "test": tests::is_test, "true": tests::is_true,
        "undefined": tests::is_undefined,
    }
    // Text has a length and items, so jinja2 calls it a sequence too.
    env.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined | ValueKind::Iterable
        )
    });
    env.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined | ValueKind::Iterable
        )
    });
    // The engine's own divides by zero.
    env.add_test("divisibleby", |a: &Value, b: &Value| {
        match ops::ints(a, b).map(|(a, b)| a.checked_rem(b)) {
            Some(Some(rest)) => Ok(rest == 0),
            _ => Err(invalid(format!("a {} is not divisible by a {}", a.kind(), b.kind()))),
        }
    });
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);

    env.add_function("dict", functions::dict);
    env.add_function("namespace", functions::namespace);

    let paying = Arc::clone(meter);
    env.set_unknown_method_callback(move |state, value, name, args| {
        method(&paying, state, value, name, args)
    });
}

/// A filter of the engine, with `read` to pay for every operand.
fn add_filter(
    env: &mut Environment<'_>,
    name: &'static str,
    meter: &Arc<Meter>,
    read: fn(&Meter, &Value) -> Result<(), Error>,
    filter: Value,
) {
    let paying = Arc::clone(meter);
    env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args = args.into_values();
        args.iter().try_for_each(|arg| read(&paying, arg))?;
        filter.call(state, &args)
    });
}

/// The same filter, paying for its result too.
fn made(meter: &Arc<Meter>, filter: Value) -> Value {
    let paying = Arc::clone(meter);
    Value::from_function(move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let result = filter.call(state, &args.into_values())?;
        paying.made(&result)?;
        Ok::<_, Error>(result)
    })
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// Without escaping there is nothing to mark.
fn safe(value: Value) -> Value {
    value
}

/// Undefined has length 0.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| invalid(format!("a {} has no length", value.kind())))
}

fn capitalize(value: &Value) -> Result<Value, Error> {
    Ok(value.as_str().map_or_else(|| value.clone(), |text| Value::from(capitalized(text))))
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase()
    })
}

/// What the text or number says, or else the default.
fn float(value: &Value, default: Option<f64>) -> f64 {
    let found = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    found.or(default).unwrap_or(0.0)
}

/// The whole number that the text or number begins with, or else the default.
fn int(value: &Value, default: Option<i64>, base: Option<u32>) -> i64 {
    let found = match value.as_str().map(str::trim) {
        Some(text) => match base {
            Some(base @ 2..=36) => i64::from_str_radix(text, base).ok(),
            _ => text.parse().ok().or_else(|| text.parse().ok().map(|x: f64| x as i64)),
        },
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None => value.as_i64().or_else(|| f64::try_from(value.clone()).ok().map(|x| x as i64)),
    };
    found.or(default).unwrap_or(0)
}

fn list(value: &Value) -> Result<Vec<Value>, Error> {
    if value.kind() == ValueKind::None {
        return Err(invalid("none is not iterable"));
    }
    Ok(value.try_iter()?.collect())
}

/// Key and value pairs; of undefined, none.
fn items(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Map => Ok(Value::from(pairs(value)?)),
        kind => Err(invalid(format!("a {kind} has no items"))),
    }
}

fn pairs(map: &Value) -> Result<Vec<Value>, Error> {
    map.try_iter()?
        .map(|key| {
            let value = map.get_item(&key)?;
            Ok(Value::from(Tuple::from([key, value])))
        })
        .collect()
}

fn reverse(value: &Value) -> Result<Value, Error> {
    Ok(match value.as_str() {
        Some(text) => Value::from(text.chars().rev().collect::<String>()),
        None => {
            let mut items = list(value)?;
            items.reverse();
            Value::from(items)
        }
    })
}

fn string(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let (value,): (&Value,) = from_args(args)?;
    if value.kind() == ValueKind::String {
        return Ok(value.clone());
    }
    python::str(value, meter).map(Value::from)
}

fn sum(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let (value, attribute, start, kwargs): (&Value, Option<&str>, Option<Value>, Kwargs) = from_args(args)?;
    let attribute = attribute.or(kwargs.get("attribute")?);
    let mut total = start.or(kwargs.get("start")?).unwrap_or_else(|| Value::from(0));
    kwargs.assert_all_used()?;
    for item in value.try_iter()? {
        meter.spend_one()?;
        let item = attribute.map_or_else(|| Ok(item.clone()), |name| item.get_attr(name))?;
        total = ops::add(meter, &total, &item)?;
    }
    Ok(total)
}

fn printf(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let Some((Some(text), args)) = args.split_first().map(|(text, args)| (text.as_str(), args)) else {
        return Err(invalid("only text is a format"));
    };
    ops::format(meter, FormatStyle::Printf, text, args)
}

fn join(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let (value, with, attribute, kwargs): (&Value, Option<&Value>, Option<&str>, Kwargs) = from_args(args)?;
    let attribute = attribute.or(kwargs.get("attribute")?);
    let with = match with {
        Some(with) => python::str(with, meter)?,
        None => kwargs.get::<Option<&str>>("d")?.unwrap_or_default().to_string(),
    };
    kwargs.assert_all_used()?;
    let items = match attribute {
        Some(name) => value.try_iter()?.map(|item| item.get_attr(name)).collect::<Result<Vec<_>, _>>()?,
        None if value.is_none() => return Err(invalid("none is not iterable")),
        None => value.try_iter()?.collect(),
    };
    joined(meter, &with, &items)
}

fn joined(meter: &Meter, with: &str, items: &[Value]) -> Result<Value, Error> {
    meter.make_list(items.len())?;
    let texts = items.iter().map(|item| python::str(item, meter)).collect::<Result<Vec<_>, _>>()?;
    let separators = with.len().saturating_mul(items.len());
    meter.make_text(texts.iter().fold(separators, |sum, text| sum.saturating_add(text.len())))?;
    Ok(Value::from(texts.join(with)))
}

fn replace(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let (text, old, new, count): (&Value, &Value, &Value, Option<i64>) = from_args(args)?;
    let text = python::str(text, meter)?;
    replaced(meter, &text, &python::str(old, meter)?, &python::str(new, meter)?, count.unwrap_or(-1))
}

fn replaced(meter: &Meter, text: &str, old: &str, new: &str, count: i64) -> Result<Value, Error> {
    meter.make_text(text.len())?;
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let found = text.matches(old).take(most).count();
    meter.make_text(found.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(Value::from(text.replacen(old, new, most)))
}

/// jinja2's `indent(width=4, first=False, blank=False)`.
fn indent(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let (text, width, first, blank, kwargs): (&Value, Option<Value>, Option<bool>, Option<bool>, Kwargs) =
        from_args(args)?;
    let width = width.or(kwargs.get("width")?);
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let text = python::str(text, meter)?;
    let by = indentation(meter, width)?.unwrap_or_else(|| "    ".into());
    let lines = text.matches('\n').count() + 1;
    meter.make_text(lines.saturating_mul(by.len()).saturating_add(text.len()))?;
    let mut out = String::with_capacity(text.len());
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&by);
        }
        out.push_str(line.strip_suffix('\r').unwrap_or(line));
    }
    Ok(Value::from(out))
}

/// A number of spaces, or text to indent with.
fn indentation(meter: &Meter, width: Option<Value>) -> Result<Option<String>, Error> {
    let Some(width) = width.filter(|width| !width.is_none() && !width.is_undefined()) else {
        return Ok(None);
    };
    if let Some(text) = width.as_str() {
        return Ok(Some(text.to_string()));
    }
    let n = i64::try_from(width)?.max(0);
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    meter.make_text(n)?;
    Ok(Some(" ".repeat(n)))
}

/// The tools of a request are JSON in the prompt, in exactly this form:
/// `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    type Positional<'a> = (&'a Value, Option<Value>, Option<Value>, Option<Vec<String>>, Kwargs);
    let (value, ascii, indent, separators, kwargs): Positional<'_> = from_args(args)?;
    let ascii = ascii.or(kwargs.get("ensure_ascii")?).is_some_and(|ascii| ascii.is_true());
    let indent = indentation(meter, indent.or(kwargs.get("indent")?))?;
    let separators = separators.or(kwargs.get("separators")?);
    let sort_keys = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let (comma, colon) = match separators.map(<[String; 2]>::try_from) {
        Some(Ok([comma, colon])) => (comma, colon),
        Some(Err(_)) => return Err(invalid("separators are a pair")),
        None => (if indent.is_some() { "," } else { ", " }.into(), ": ".into()),
    };
    python::json(value, &JsonStyle { indent, comma, colon, sort_keys, ascii }, meter).map(Value::from)
}

fn batch(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let (value, n, fill): (&Value, usize, Option<Value>) = from_args(args)?;
    if n == 0 {
        return Err(invalid("a batch has at least one element"));
    }
    let items = list(value)?;
    meter.make_list(items.len())?;
    if fill.is_some() {
        meter.make_list(n)?;
    }
    let batches = items.chunks(n).map(|chunk| {
        let mut batch = chunk.to_vec();
        if let Some(fill) = &fill {
            batch.resize(n, fill.clone());
        }
        Value::from(batch)
    });
    Ok(batches.collect())
}

/// A method of text, a mapping or a list.
fn method(
    meter: &Meter,
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    meter.read(value)?;
    args.iter().try_for_each(|arg| meter.read_deep(arg))?;
    if let Some(text) = value.as_str()
        && let Some(result) = text_method(meter, text, name, args)?
    {
        return Ok(result);
    }
    match (value.kind(), name) {
        (ValueKind::Map, "items") => Ok(Value::from(pairs(value)?)),
        (ValueKind::Map, "keys") => Ok(value.try_iter()?.collect()),
        (ValueKind::Map, "values") => {
            value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        (ValueKind::Map | ValueKind::Seq, "copy") => Ok(value.clone()),
        (ValueKind::Seq, "index") => {
            let (wanted,): (&Value,) = from_args(args)?;
            meter.read_deep(value)?;
            match value.try_iter()?.position(|item| item == *wanted) {
                Some(at) => Ok(Value::from(at)),
                None => Err(invalid("the value is not in the list")),
            }
        }
        _ => {
            if value.kind() == ValueKind::Seq {
                meter.read_deep(value)?;
            }
            let result = pycompat::unknown_method_callback(state, value, name, args)?;
            meter.made(&result)?;
            Ok(result)
        }
    }
}

/// The methods of text that the engine's collection lacks, or that can outgrow their operands; nothing for the others.
fn text_method(meter: &Meter, text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match name {
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            replaced(meter, text, old, new, count.unwrap_or(-1))?
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            joined(meter, text, &list(items)?)?
        }
        "format" => ops::format(meter, FormatStyle::StrFormat, text, args)?,
        "capitalize" => Value::from(capitalized(text)),
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "swapcase" => {
            let swap = |c: char| -> Vec<char> {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            Value::from(text.chars().flat_map(swap).collect::<String>())
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "index" => {
            let (part,): (&str,) = from_args(args)?;
            match text.find(part) {
                Some(at) => Value::from(text[..at].chars().count()),
                None => return Err(invalid("the text does not contain that")),
            }
        }
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(char::is_numeric)),
        "ljust" | "rjust" | "center" | "zfill" => padded(meter, text, name, args)?,
        "partition" | "rpartition" => {
            let (at,): (&str,) = from_args(args)?;
            let parts = match (name, text.split_once(at), text.rsplit_once(at)) {
                ("partition", Some((a, b)), _) | ("rpartition", _, Some((a, b))) => [a, at, b],
                ("partition", ..) => [text, "", ""],
                _ => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "rsplit" => {
            let (at, most): (&str, Option<i64>) = from_args(args)?;
            let most = usize::try_from(most.unwrap_or(-1)).map_or(usize::MAX, |n| n.saturating_add(1));
            meter.make_list(text.len())?;
            let mut parts: Vec<Value> = text.rsplitn(most, at).map(Value::from).collect();
            parts.reverse();
            Value::from(parts)
        }
        "split" | "splitlines" => {
            meter.make_list(text.len() / 4)?;
            return Ok(None);
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

/// Text filled up to a width in characters.
fn padded(meter: &Meter, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<char>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    let fill = fill.unwrap_or(if name == "zfill" { '0' } else { ' ' });
    let missing = width.saturating_sub(text.chars().count());
    meter.make_text(missing.saturating_mul(fill.len_utf8()).saturating_add(text.len()))?;
    let before = match name {
        "ljust" => 0,
        // Python's `center` puts the odd one before where the width is odd.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    // A sign stays in front of the zeros.
    let sign = if name == "zfill" && text.starts_with(['+', '-']) { 1 } else { 0 };
    let mut out = text[..sign].to_string();
    out.extend(std::iter::repeat_n(fill, before));
    out.push_str(&text[sign..]);
    out.extend(std::iter::repeat_n(fill, missing - before));
    Ok(Value::from(out))
}
