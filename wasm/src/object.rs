//! JavaScript's objects: made of what is told, and read where options come.

use js_sys::{Array, JSON, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

use crate::error::{Failure, Result};

/// An object of these fields.
pub(crate) fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a property of a fresh object cannot fail.
        let _ = Reflect::set(&object, &name.into(), &value);
    }
    object
}

/// A count as JavaScript's only number.
pub(crate) fn number(count: u64) -> JsValue {
    (count as f64).into()
}

/// Whatever it is, as text for people.
pub(crate) fn shown(value: &JsValue) -> String {
    let json = JSON::stringify(value).ok().and_then(|text| JsValue::from(text).as_string());
    json.unwrap_or_else(|| "something else".into())
}

/// A number without a fraction, not below zero.
pub(crate) fn whole(value: &JsValue) -> Option<u64> {
    let number = value.as_f64()?;
    (number >= 0.0 && number as u64 as f64 == number).then_some(number as u64)
}

/// A whole number that fits where it is going.
pub(crate) fn count<T: TryFrom<u64>>(value: &JsValue) -> Option<T> {
    whole(value)?.try_into().ok()
}

/// The elements of an array, if `convert` takes them all.
pub(crate) fn list<T>(value: &JsValue, convert: impl FnMut(JsValue) -> Option<T>) -> Option<Vec<T>> {
    Array::is_array(value).then(|| Array::from(value).iter().map(convert).collect())?
}

/// Fields of an object, taken out one by one: what is left was not understood.
pub(crate) struct Fields {
    object: Object,
    left: Vec<String>,
}

impl Fields {
    /// Of an object; `undefined` is one without fields.
    pub(crate) fn of(value: &JsValue) -> Result<Self> {
        if value.is_undefined() {
            return Ok(Self { object: Object::new(), left: Vec::new() });
        }
        let object: &Object = value
            .dyn_ref()
            .ok_or_else(|| Failure::argument(format!("options are {}; expected an object", shown(value))))?;
        let left = Object::keys(object).iter().filter_map(|name| name.as_string()).collect();
        Ok(Self { object: object.clone(), left })
    }

    /// Converts a field into `to`, where it is given.
    pub(crate) fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        to: &mut T,
        convert: impl FnOnce(&JsValue) -> Option<T>,
    ) -> Result<()> {
        let value = self.value(name);
        if !value.is_null() && !value.is_undefined() {
            *to = convert(&value).ok_or_else(|| {
                let found = shown(&value);
                Failure::argument(format!("option `{name}` is {found}; expected {expected}"))
            })?;
        }
        Ok(())
    }

    fn value(&mut self, name: &str) -> JsValue {
        let Some(at) = self.left.iter().position(|left| left == name) else { return JsValue::UNDEFINED };
        self.left.remove(at);
        Reflect::get(&self.object, &name.into()).unwrap_or_default()
    }

    pub(crate) fn float(&mut self, name: &str, to: &mut f32) -> Result<()> {
        self.take(name, "a number", to, |value| Some(value.as_f64()? as f32))
    }

    pub(crate) fn count(&mut self, name: &str, to: &mut usize) -> Result<()> {
        self.take(name, "a whole number", to, count)
    }

    pub(crate) fn flag(&mut self, name: &str, to: &mut bool) -> Result<()> {
        self.take(name, "true or false", to, JsValue::as_bool)
    }

    pub(crate) fn texts(&mut self, name: &str, to: &mut Vec<String>) -> Result<()> {
        self.take(name, "a list of texts", to, |value| list(value, |text| text.as_string()))
    }

    pub(crate) fn ids(&mut self, name: &str, to: &mut Vec<u32>) -> Result<()> {
        self.take(name, "a list of token ids", to, |value| list(value, |id| count(&id)))
    }

    /// All fields must have been taken.
    pub(crate) fn end(self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some(name) => Err(Failure::argument(format!("there is no option `{name}`"))),
        }
    }
}
