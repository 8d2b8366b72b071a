//! Vocabularies of the right size and kind, whose words mean nothing.

use motelm_core::gguf::{Value, Writer};

/// A vocabulary to be made up.
#[derive(Debug)]
pub(super) struct Vocab {
    pub(super) len: usize,
    kind: Kind,
    /// Control tokens, by ascending id.
    control: &'static [(usize, &'static str)],
    bos: u32,
    eos: u32,
    adds_bos: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Bytes and merges, cut by the pre-tokenizer of this name.
    ByteLevel { pre: &'static str },
    /// Pieces with scores; `unknown` is the id of the unknown token.
    Spm { unknown: u32 },
}

pub(super) const SMOLLM2: Vocab = Vocab {
    len: 49152,
    kind: Kind::ByteLevel { pre: "smollm" },
    control: &[(0, "<|endoftext|>"), (1, "<|im_start|>"), (2, "<|im_end|>")],
    bos: 1,
    eos: 2,
    adds_bos: false,
};

pub(super) const QWEN2: Vocab = Vocab {
    len: 151_936,
    kind: Kind::ByteLevel { pre: "qwen2" },
    control: &[(151_643, "<|endoftext|>"), (151_644, "<|im_start|>"), (151_645, "<|im_end|>")],
    bos: 151_643,
    eos: 151_645,
    adds_bos: false,
};

pub(super) const LLAMA3: Vocab = Vocab {
    len: 128_256,
    kind: Kind::ByteLevel { pre: "llama-bpe" },
    control: &[(128_000, "<|begin_of_text|>"), (128_001, "<|end_of_text|>"), (128_009, "<|eot_id|>")],
    bos: 128_000,
    eos: 128_009,
    adds_bos: true,
};

pub(super) const GEMMA: Vocab = Vocab {
    len: 262_144,
    kind: Kind::Spm { unknown: 3 },
    control: &[(0, "<pad>"), (1, "<eos>"), (2, "<bos>"), (105, "<start_of_turn>"), (106, "<end_of_turn>")],
    bos: 2,
    eos: 1,
    adds_bos: true,
};

pub(super) const PHI3: Vocab = Vocab {
    len: 32064,
    kind: Kind::Spm { unknown: 0 },
    control: &[(1, "<s>"), (2, "</s>"), (32000, "<|endoftext|>"), (32007, "<|end|>")],
    bos: 1,
    eos: 32000,
    adds_bos: true,
};

/// `tokenizer.ggml.token_type`
mod token_type {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const BYTE: i32 = 6;
}

impl Vocab {
    pub(super) fn write(&self, writer: &mut Writer) {
        let (model, pre) = match self.kind {
            Kind::ByteLevel { pre } => ("gpt2", pre),
            Kind::Spm { .. } => ("llama", "default"),
        };
        writer.set("tokenizer.ggml.model", Value::Str(model.as_bytes()));
        writer.set("tokenizer.ggml.pre", Value::Str(pre.as_bytes()));
        match self.kind {
            Kind::ByteLevel { .. } => self.write_byte_level(writer),
            Kind::Spm { unknown } => self.write_spm(unknown, writer),
        }
        writer.set("tokenizer.ggml.bos_token_id", Value::U32(self.bos));
        writer.set("tokenizer.ggml.eos_token_id", Value::U32(self.eos));
        writer.set("tokenizer.ggml.add_bos_token", Value::Bool(self.adds_bos));
    }

    /// All bytes, then two bytes that merge, then two that merge with a third.
    fn write_byte_level(&self, writer: &mut Writer) {
        let bytes = byte_names();
        let mut merges = Vec::new();
        let mut words: Vec<String> = bytes.iter().map(char::to_string).collect();
        let n_words = self.len - self.control.len();
        let mut left = 0;
        while words.len() < n_words {
            for right in bytes.iter().take(n_words - words.len()) {
                merges.push(format!("{} {right}", words[left]));
                words.push(format!("{}{right}", words[left]));
            }
            left += 1;
        }
        let mut words = words.into_iter();
        self.write_tokens(writer, |_| (words.next().expect("enough words"), token_type::NORMAL, 0.0));
        writer.set_strings("tokenizer.ggml.merges", merges.iter().map(String::as_bytes));
    }

    /// Bytes by name, then words of more and more letters, whose scores fall.
    fn write_spm(&self, unknown: u32, writer: &mut Writer) {
        let mut bytes = 0..=255u8;
        let mut n_words = 0;
        self.write_tokens(writer, |id| {
            if id == unknown as usize {
                return ("<unk>".into(), token_type::UNKNOWN, 0.0);
            }
            if let Some(byte) = bytes.next() {
                return (format!("<0x{byte:02X}>"), token_type::BYTE, 0.0);
            }
            n_words += 1;
            (word(n_words - 1), token_type::NORMAL, -(n_words as f32))
        });
    }

    /// Writes every token; `word(id)` makes those that are no control tokens: name, type, score.
    fn write_tokens(&self, writer: &mut Writer, mut word: impl FnMut(usize) -> (String, i32, f32)) {
        let (mut names, mut types, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for id in 0..self.len {
            let control = self.control.iter().find(|control| control.0 == id);
            let (name, kind, score) =
                control.map_or_else(|| word(id), |control| (control.1.into(), token_type::CONTROL, 0.0));
            names.push(name);
            types.push(kind);
            scores.push(score);
        }
        writer.set_strings("tokenizer.ggml.tokens", names.iter().map(String::as_bytes));
        if let Kind::Spm { .. } = self.kind {
            writer.set_array("tokenizer.ggml.scores", &scores);
        }
        writer.set_array("tokenizer.ggml.token_type", &types);
    }
}

/// The characters that stand for bytes in byte-level vocabularies, as in GPT-2: printable ones for themselves.
fn byte_names() -> Vec<char> {
    let mut next = 256;
    let name = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("no surrogate")
        }
    };
    (0..=255).map(name).collect()
}

/// The `n`th word over an alphabet of 27 letters, one of which is the space: all of one letter, of two, of three, ...
fn word(mut n: usize) -> String {
    const LETTERS: [char; 27] = {
        let mut letters = ['▁'; 27];
        let mut i = 0;
        while i < 26 {
            letters[i] = (b'a' + i as u8) as char;
            i += 1;
        }
        letters
    };
    let mut len = 1;
    while n >= LETTERS.len().pow(len) {
        n -= LETTERS.len().pow(len);
        len += 1;
    }
    (0..len).rev().map(|place| LETTERS[n / LETTERS.len().pow(place) % LETTERS.len()]).collect()
}

/// A few hundred tokens of the same kind.
#[cfg(test)]
pub(super) fn short(vocab: &Vocab) -> Vocab {
    let control = &[(1, "<s>"), (2, "</s>")];
    Vocab { len: 600, kind: vocab.kind, control, bos: 1, eos: 2, adds_bos: vocab.adds_bos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use motelm_core::gguf::File;
    use motelm_core::tokenizer::Encode;
    use motelm_core::{Bytes, Tokenizer};

    #[test]
    fn vocabularies_can_be_used() {
        for vocab in [SMOLLM2, PHI3] {
            let mut writer = Writer::new();
            writer.set("general.architecture", Value::Str(b"llama"));
            vocab.write(&mut writer);
            let file = File::parse(Bytes::new(writer.head())).unwrap();
            let tokenizer = Tokenizer::new(&file).unwrap();
            assert_eq!(tokenizer.len() as usize, vocab.len);
            assert_eq!(tokenizer.eos(), Some(vocab.eos));
            let text = "the quick brown fox";
            let tokens = tokenizer.encode(text, Encode::default());
            assert!(tokens.len() < text.len(), "nothing merged: {tokens:?}");
            assert_eq!(tokenizer.decode(&tokens), text);
        }
    }

    #[test]
    fn words_do_not_repeat() {
        assert_eq!([0, 26, 27, 27 + 27 * 27].map(word), ["a", "▁", "aa", "aaa"]);
    }
}
