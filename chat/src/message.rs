//! A message of a conversation: the JSON object that templates see.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One turn: a role, mostly a content, and whatever else the template of the model knows (`tool_calls`, `name`,
/// `reasoning_content`, ...).
///
/// It is kept as the JSON object it came as, keys in their order, since templates may print it whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Message(Map<String, Value>);

impl Message {
    /// A message of plain text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let fields = [("role", role.into()), ("content", content.into())];
        Self(fields.into_iter().map(|(key, text)| (key.to_string(), Value::String(text))).collect())
    }

    /// What the system should know before the conversation.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// What the user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }

    /// The same message with one more field, or with this one replaced.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let key = key.into();
        if key == "role" {
            return self; // a role stays what it was made as
        }
        self.0.insert(key, value.into());
        self
    }

    /// `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).expect("checked when the message was made")
    }

    /// The content where it is plain text; it may also be a list of parts, or absent beside tool calls.
    pub fn text(&self) -> Option<&str> {
        self.0.get("content").and_then(Value::as_str)
    }

    /// The message with every text in it guarded, unless the program or the model wrote it.
    pub(crate) fn guarded(&self, guard: &impl Fn(&str) -> String) -> Self {
        if matches!(self.role(), "system" | "developer" | "assistant") {
            return self.clone();
        }
        let field = |(key, value): (&String, &Value)| match key.as_str() {
            "role" => (key.clone(), value.clone()),
            _ => (key.clone(), guarded(value, guard)),
        };
        Self(self.0.iter().map(field).collect())
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

fn guarded(value: &Value, guard: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(guard(text)),
        Value::Array(values) => values.iter().map(|value| guarded(value, guard)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), guarded(value, guard))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

impl TryFrom<Map<String, Value>> for Message {
    type Error = String;

    fn try_from(fields: Map<String, Value>) -> Result<Self, String> {
        match fields.get("role") {
            Some(Value::String(_)) => {}
            Some(_) => return Err("a message's `role` is text".into()),
            None => return Err("a message without a `role`".into()),
        }
        match fields.get("content") {
            None | Some(Value::Null | Value::String(_) | Value::Array(_)) => Ok(Self(fields)),
            Some(_) => Err("a message's `content` is text or a list of parts".into()),
        }
    }
}

impl From<Message> for Map<String, Value> {
    fn from(message: Message) -> Self {
        message.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_unknown_fields_survive() {
        let text = r#"{"content":null,"z":1,"role":"assistant","a":[{"y":1,"x":2}]}"#;
        let message: Message = serde_json::from_str(text).unwrap();
        assert_eq!((message.role(), message.text()), ("assistant", None));
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
    }

    #[test]
    fn what_is_no_message() {
        for text in [r#"{"content":"x"}"#, r#"{"role":1}"#, r#"{"role":"user","content":5}"#, "[]"] {
            assert!(serde_json::from_str::<Message>(text).is_err(), "{text}");
        }
    }
}
