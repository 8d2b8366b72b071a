//! A conversation that goes on: its messages, what of it a session has already processed, and how it is saved.

use serde::{Deserialize, Serialize};

use crate::{ChatError, Message};

/// The version that [`Conversation::save`] writes.
const VERSION: u32 = 1;

/// The messages so far.
///
/// For every turn the whole conversation is rendered and tokenized again ([`Template::tokens`](crate::Template::tokens)), since templates may look back (drop old
/// reasoning, number turns). What the session has processed before is kept as far as [`common_prefix`] reaches: the
/// cache is cut there, and only the rest is processed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// In the order they were said.
    pub messages: Vec<Message>,
}

/// A conversation as a file.
#[derive(Serialize, Deserialize)]
struct Saved {
    format: String,
    version: u32,
    messages: Vec<Message>,
}

const FORMAT: &str = "motelm-conversation";

impl Conversation {
    /// No messages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message at the end.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Forgets everything but a leading system message.
    pub fn clear(&mut self) {
        let keep = self.messages.first().is_some_and(|first| first.role() == "system");
        self.messages.truncate(usize::from(keep));
    }

    /// JSON that [`Conversation::load`] reads.
    pub fn save(&self) -> String {
        let saved = Saved { format: FORMAT.into(), version: VERSION, messages: self.messages.clone() };
        serde_json::to_string_pretty(&saved).expect("messages are JSON")
    }

    /// Reads what [`Conversation::save`] wrote.
    ///
    /// # Errors
    /// [`ChatError::History`] when it is no JSON, something else, from a later version, or holds no messages.
    pub fn load(text: &str) -> Result<Self, ChatError> {
        let refuse = |what: String| Err(ChatError::History { what });
        let saved: Saved = match serde_json::from_str(text) {
            Ok(saved) => saved,
            Err(error) => return refuse(error.to_string()),
        };
        if saved.format != FORMAT {
            return refuse(format!("its format is `{}`, expected `{FORMAT}`", saved.format));
        }
        if saved.version != VERSION {
            return refuse(format!("its version is {}, this program reads {VERSION}", saved.version));
        }
        Ok(Self { messages: saved.messages })
    }
}

/// How many tokens the two begin with in common: how much of a session's cache still holds.
///
/// ```
/// # use motelm_chat::common_prefix;
/// assert_eq!(common_prefix(&[1, 2, 3, 4], &[1, 2, 5]), 2);
/// ```
pub fn common_prefix(processed: &[u32], wanted: &[u32]) -> usize {
    processed.iter().zip(wanted).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_conversation_is_the_same() {
        let mut conversation = Conversation::new();
        conversation.push(Message::system("Be kind.\n\u{0}\"é"));
        conversation.push(Message::user("Hi").with("name", "Ada"));
        assert_eq!(Conversation::load(&conversation.save()).unwrap(), conversation);
        conversation.clear();
        assert_eq!(conversation.messages, [Message::system("Be kind.\n\u{0}\"é")]);
    }

    #[test]
    fn other_files_are_refused() {
        let saved = Conversation::new().save();
        for (text, says) in [
            (saved.replace(FORMAT, "else"), "format"),
            (saved.replace("1,", "2,"), "version"),
            (saved.replace("[]", r#"[{"content":"no role"}]"#), "role"),
            (saved[..saved.len() / 2].to_string(), "EOF"),
            (
                saved.replace("[]", &format!("[{{\"role\":\"user\",\"content\":{}", "[".repeat(9000))),
                "recursion",
            ),
        ] {
            match Conversation::load(&text) {
                Err(ChatError::History { what }) => assert!(what.contains(says), "{what}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(common_prefix(&[], &[1]), 0);
        assert_eq!(common_prefix(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(common_prefix(&[1, 2, 3], &[2, 2, 3]), 0);
    }
}
