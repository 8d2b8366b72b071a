//! Text from tokens as they come, in whole characters.

use alloc::string::String;
use alloc::vec::Vec;

use super::{ShowControl, Tokenizer};

/// The text of a growing sequence of tokens.
///
/// A token may end in the middle of a character; [`Stream::push`] holds such bytes back until the rest has come, or
/// cannot come any more (then they are U+FFFD). All texts together are what [`Tokenizer::decode`] makes of all tokens,
/// except that a space at the very start stays: a stream usually goes on with a text.
#[derive(Debug, Default, Clone)]
pub struct Stream {
    /// What the last push gave.
    text: String,
    /// Bytes that are not given yet: the start of a character, between pushes.
    held: Vec<u8>,
    show: ShowControl,
}

impl Stream {
    /// A stream that gives the names of control tokens too, or not.
    pub fn new(show: ShowControl) -> Self {
        Self { show, ..Self::default() }
    }

    /// The text that is certain now that token `id` has come; possibly empty. Unknown ids give nothing.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> &str {
        tokenizer.write_piece(id, self.show, &mut self.held);
        self.text.clear();
        let held = take_text(&self.held, &mut self.text);
        self.held.drain(..held);
        &self.text
    }

    /// What is still held back, as U+FFFD; the stream starts afresh.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.held.is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.held.clear();
        }
        &self.text
    }
}

/// Appends the whole characters of `bytes` to `text`, broken ones as U+FFFD, and says how many bytes that was: all but
/// the start of a character at the very end.
fn take_text(bytes: &[u8], text: &mut String) -> usize {
    let mut rest = bytes;
    loop {
        match core::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return bytes.len();
            }
            Err(error) => {
                let (valid, broken) = rest.split_at(error.valid_up_to());
                text.push_str(core::str::from_utf8(valid).unwrap_or_default());
                let Some(len) = error.error_len() else { return bytes.len() - broken.len() };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &broken[len..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_anywhere_give_the_same_text() {
        let samples: [&[u8]; 6] = [
            "aé▁🦙z".as_bytes(),
            b"\xff\xfe\x80 ok",
            b"\xf0\x9f\xa6",
            b"\xe2\x96x\xe2\x96\x81",
            b"\xf0\x9f\xa6\xf0\x9f\xa6\x99",
            b"\xed\xa0\x80\xc0\xaf",
        ];
        for sample in samples {
            for split in 0..=sample.len() {
                let (mut text, mut held) = (String::new(), Vec::new());
                for part in [&sample[..split], &sample[split..]] {
                    held.extend_from_slice(part);
                    let taken = take_text(&held, &mut text);
                    held.drain(..taken);
                }
                if !held.is_empty() {
                    text.push(char::REPLACEMENT_CHARACTER);
                }
                assert_eq!(text, String::from_utf8_lossy(sample), "{sample:x?} at {split}");
            }
        }
    }
}
