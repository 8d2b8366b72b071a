//! The characters that byte-level vocabularies write bytes with.
//!
//! GPT-2's `bytes_to_unicode`: printable bytes of Latin-1 stand for themselves, the other 68 are the characters from
//! U+0100 on, in order; so every token is printable text without spaces.

use alloc::vec::Vec;

/// First character that stands for an unprintable byte.
const FIRST: u32 = 0x100;
/// One past the last.
const END: usize = 0x144;

const TO_CHAR: [char; 256] = tables().0;
const TO_BYTE: [u8; END] = tables().1;

const fn printable(byte: usize) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

const fn tables() -> ([char; 256], [u8; END]) {
    let (mut to_char, mut to_byte) = (['\0'; 256], [0; END]);
    let (mut byte, mut next) = (0, FIRST);
    while byte < 256 {
        let code = if printable(byte) {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        to_char[byte] = char::from_u32(code).unwrap();
        to_byte[code as usize] = byte as u8;
        byte += 1;
    }
    (to_char, to_byte)
}

/// The character for `byte`.
pub(super) fn to_char(byte: u8) -> char {
    TO_CHAR[usize::from(byte)]
}

/// The byte that `c` stands for, if it does.
fn to_byte(c: char) -> Option<u8> {
    let code = c as usize;
    let stands = code < END && (code >= FIRST as usize || printable(code));
    stands.then(|| TO_BYTE[code])
}

/// Appends the bytes that a token's text stands for; text that is not written this way is appended as it is.
pub(super) fn decode(token: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let Ok(text) = core::str::from_utf8(token) else { return out.extend_from_slice(token) };
    for c in text.chars() {
        let Some(byte) = to_byte(c) else {
            out.truncate(start);
            return out.extend_from_slice(token);
        };
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn every_byte_has_its_own_character() {
        let all: Vec<u8> = (0..=255).collect();
        let text: String = all.iter().map(|&b| to_char(b)).collect();
        let mut back = Vec::new();
        decode(text.as_bytes(), &mut back);
        assert_eq!(back, all);
        assert_eq!((to_char(b' '), to_char(b'\n'), to_char(b'a')), ('Ġ', 'Ċ', 'a'));
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for token in ["a b", "<｜end▁of▁sentence｜>", "\u{ad}"] {
            let mut out = Vec::new();
            decode(token.as_bytes(), &mut out);
            assert_eq!(out, token.as_bytes());
        }
    }
}
