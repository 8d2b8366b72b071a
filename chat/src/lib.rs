//! Chat templates and messages: from a conversation to the text that a model was trained to continue.
//!
//! A model's file carries its template, a small Jinja program. [`Template`] reads it, [`Template::render`] runs it on
//! a [`Request`], and the result is what the reference renderer gives, byte for byte. A template is a program from
//! anywhere, so it runs on an allowance of work and memory and can neither loop for ever nor fill the memory.
//!
//! ```
//! use motelm_chat::{Message, Request, Template};
//!
//! let template = Template::new(
//!     "{% for message in messages %}<{{ message.role }}>{{ message.content | trim }}\n{% endfor %}\
//!      {% if add_generation_prompt %}<assistant>{% endif %}",
//! )?;
//! let messages = [Message::system("Be brief."), Message::user(" What is a mote? ")];
//! let text = template.render(&Request::new(&messages))?;
//! assert_eq!(text, "<system>Be brief.\n<user>What is a mote?\n<assistant>");
//! # Ok::<(), motelm_chat::ChatError>(())
//! ```
#![forbid(unsafe_code)]

mod builtins;
mod clock;
mod compile;
mod conversation;
mod error;
mod message;
mod meter;
mod ops;
mod python;
mod template;

pub use clock::{DateTime, NoDate};
pub use conversation::{Conversation, common_prefix};
pub use error::ChatError;
pub use message::Message;
pub use template::{DEFAULT_FUEL, Request, Template, ends, source};
