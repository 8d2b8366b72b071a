//! Small vocabularies made here, for what the reference data does not show: odd files and odd overlaps.

use super::*;
use crate::bytes::Bytes;
use crate::gguf::{Value, Writer};
use alloc::string::ToString;
use alloc::vec;

/// A file in the making: its keys, which tests change.
#[derive(Clone)]
struct Draft {
    model: &'static str,
    tokens: Vec<Vec<u8>>,
    types: Vec<i32>,
    scores: Vec<f32>,
    merges: Vec<&'static str>,
    ids: Vec<(&'static str, u32)>,
    bools: Vec<(&'static str, bool)>,
    pre: &'static str,
    charsmap: Vec<u8>,
}

impl Draft {
    fn new(model: &'static str, tokens: &[&str]) -> Self {
        Self {
            model,
            tokens: tokens.iter().map(|token| token.as_bytes().to_vec()).collect(),
            types: vec![1; tokens.len()],
            scores: vec![],
            merges: vec![],
            ids: vec![],
            bools: vec![],
            pre: "gpt-2",
            charsmap: vec![],
        }
    }

    fn open(&self) -> Result<Tokenizer> {
        let mut writer = Writer::new();
        writer.set(MODEL, Value::Str(self.model.as_bytes()));
        writer.set(pre::KEY, Value::Str(self.pre.as_bytes()));
        writer.set_strings(vocab::TOKENS, self.tokens.iter().map(Vec::as_slice));
        if !self.types.is_empty() {
            writer.set_array("tokenizer.ggml.token_type", &self.types);
        }
        if !self.scores.is_empty() {
            writer.set_array("tokenizer.ggml.scores", &self.scores);
        }
        if matches!(self.model, "gpt2" | "gemma4") {
            writer.set_strings("tokenizer.ggml.merges", self.merges.iter().map(|merge| merge.as_bytes()));
        }
        if !self.charsmap.is_empty() {
            writer.set_array("tokenizer.ggml.precompiled_charsmap", &self.charsmap);
        }
        for &(key, id) in &self.ids {
            writer.set(key, Value::U32(id));
        }
        for &(key, value) in &self.bools {
            writer.set(key, Value::Bool(value));
        }
        Tokenizer::new(&File::parse(Bytes::new(writer.head()))?)
    }
}

const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const PLAIN: Encode = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::No };
const PARSE: Encode = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::Yes };

/// The tokens of `text` by name.
fn names(tokenizer: &Tokenizer, text: &str, options: Encode) -> Vec<String> {
    let ids = tokenizer.encode(text, options);
    ids.into_iter().map(|id| tokenizer.token(id).unwrap().into_owned()).collect()
}

fn byte_level() -> Draft {
    let mut draft = Draft::new("gpt2", &["a", "b", "c", "Ġ", "ab", "abc", "<x>", "<x><y>", "y>b", "<u>"]);
    draft.types = vec![1, 1, 1, 1, 1, 1, 3, 3, 3, 4];
    draft.merges = vec!["a b", "ab c"];
    draft
}

#[test]
fn merges_join_by_rank_and_bytes_without_a_token_vanish() {
    let tokenizer = byte_level().open().unwrap();
    assert_eq!(names(&tokenizer, "abcab zé", PLAIN), ["abc", "ab", "Ġ"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("abc ab", PLAIN)), "abc ab");
    assert_eq!(tokenizer.encode("", Encode::default()), []);
}

#[test]
fn special_tokens_are_found_longest_first_and_control_only_when_asked() {
    let tokenizer = byte_level().open().unwrap();
    assert_eq!(names(&tokenizer, "a<x><y>b", PARSE), ["a", "<x><y>", "b"]);
    // The longer one starts later, and still wins; what is left of the other is found again.
    assert_eq!(names(&tokenizer, "<x><x><y>b<u>c", PARSE), ["<x>", "<x><y>", "b", "<u>", "c"]);
    assert_eq!(names(&tokenizer, "a<x>c<u>", PLAIN), ["a", "c", "<u>"]);
    let shown = tokenizer.encode("<x>a", PARSE);
    assert_eq!(
        (tokenizer.decode(&shown), tokenizer.decode_with(&shown, ShowControl::Show)),
        ("a".into(), "<x>a".into())
    );
}

#[test]
fn equally_long_tokens_go_by_id_wherever_they_are() {
    let mut draft = Draft::new("gpt2", &["a", "b", "c", "bc", "ab"]);
    draft.types = vec![1, 1, 1, 4, 4];
    assert_eq!(names(&draft.open().unwrap(), "abcab", PLAIN), ["a", "bc", "ab"]);
}

#[test]
fn many_overlapping_tokens_are_settled() {
    let mut draft = Draft::new("gpt2", &["a", "aa", "aaaa", "aaaaaaa"]);
    draft.types = vec![4; 4];
    let tokenizer = draft.open().unwrap();
    for n in 0..60 {
        let ids = tokenizer.encode(&"a".repeat(n), PLAIN);
        let rest = n % 7;
        assert_eq!(ids.len(), n / 7 + rest / 4 + rest % 4 / 2 + rest % 2, "{n} letters");
        assert_eq!(tokenizer.decode(&ids).len(), n);
    }
    assert!(tokenizer.encode(&"a".repeat(1 << 16), PLAIN).len() < (1 << 16) / 7 + 4);
}

#[test]
fn scores_decide_and_lost_characters_become_bytes() {
    let mut draft = Draft::new("llama", &["<unk>", "▁", "a", "b", "▁a", "ab", "<0xC3>", "<0xA9>"]);
    draft.scores = vec![0.0, -1.0, -1.0, -1.0, -3.0, -2.0, 0.0, 0.0];
    draft.types = vec![2, 1, 1, 1, 1, 1, 6, 6];
    let tokenizer = draft.open().unwrap();
    assert_eq!(names(&tokenizer, "ab a", PLAIN), ["▁", "ab", "▁a"]);
    assert_eq!(names(&tokenizer, "é\u{1}", PLAIN), ["▁", "<0xC3>", "<0xA9>", "<unk>"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode(" ab é", PLAIN)), " ab é");
    assert_eq!(tokenizer.piece(6, ShowControl::Hide), &[0xc3][..]);
    draft.bools = vec![("tokenizer.ggml.add_space_prefix", false)];
    assert_eq!(names(&draft.open().unwrap(), "ab a", PLAIN), ["ab", "▁a"]);
}

#[test]
fn characters_join_by_rank_within_lines() {
    let mut draft = Draft::new("gemma4", &["\n", "\n\n", "▁", "a", "▁a", "<0xC3>", "<0xA9>"]);
    draft.merges = vec!["▁ a"];
    let tokenizer = draft.open().unwrap();
    assert_eq!(names(&tokenizer, "a a\n\n aé", PLAIN), ["a", "▁a", "\n\n", "▁a", "<0xC3>", "<0xA9>"]);
}

fn unigram() -> Draft {
    let mut draft = Draft::new("t5", &["<unk>", "▁", "a", "b", "▁a", "ab", "▁ab", "ba"]);
    draft.scores = vec![0.0, -2.0, -2.0, -2.0, -3.0, -3.5, -6.0, -3.0];
    draft.types[0] = 2;
    draft.ids = vec![(UNKNOWN, 0), ("tokenizer.ggml.eos_token_id", 2)];
    draft.bools =
        vec![("tokenizer.ggml.add_space_prefix", true), ("tokenizer.ggml.remove_extra_whitespaces", true)];
    draft
}

#[test]
fn the_likeliest_cut_wins_and_unknown_characters_are_one() {
    let tokenizer = unigram().open().unwrap();
    // ▁a + ba: -6, ▁ab + a: -8.
    assert_eq!(names(&tokenizer, "  aba  ab ", PLAIN), ["▁a", "ba", "▁a", "b"]);
    assert_eq!(names(&tokenizer, "a中文b", PLAIN), ["▁a", "<unk>", "b"]);
    assert_eq!(tokenizer.encode("", Encode::default()), [2]);
}

#[test]
fn characters_are_replaced_as_the_table_says() {
    // One entry: "X" is "a b". The root's offset is 256, its unit for `X` says that a value follows at offset 512.
    let mut trie = vec![0u32; 1024];
    trie[0] = 256 << 10;
    let unit = 256 ^ usize::from(b'X');
    trie[unit] = 512 << 10 | 1 << 8 | u32::from(b'X');
    trie[unit ^ 512] = 1 << 31;
    let mut draft = unigram();
    draft.charsmap = (trie.len() as u32 * 4).to_le_bytes().to_vec();
    draft.charsmap.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
    draft.charsmap.extend(b"a b\0");
    assert_eq!(names(&draft.open().unwrap(), "X", PLAIN), ["▁a", "▁", "b"]);
    // A table that points outside itself replaces nothing.
    trie[0] = 0x3f_ffff << 10;
    draft.charsmap[4..8].copy_from_slice(&trie[0].to_le_bytes());
    assert_eq!(names(&draft.open().unwrap(), "a", PLAIN), ["▁a"]);
}

#[test]
fn words_are_cut_into_the_longest_pieces() {
    let mut draft = Draft::new("bert", &["[UNK]", "▁ab", "c", "▁a", "bc", "▁.", "▁e", "▁中"]);
    draft.ids = vec![(UNKNOWN, 0)];
    let tokenizer = draft.open().unwrap();
    let expected = ["▁ab", "c", "▁.", "▁e", "[UNK]", "▁中", "▁a"];
    assert_eq!(names(&tokenizer, "ABC.\u{200d}É abx中a", PLAIN), expected);
    assert_eq!(tokenizer.decode(&tokenizer.encode("abc a", PLAIN)), "abc a");
    assert_eq!(tokenizer.encode(&"a".repeat(101), PLAIN), [0]);
}

#[test]
fn streams_hold_back_parts_of_characters() {
    let mut draft = Draft::new("llama", &["<unk>", "▁a", "<0xC3>", "<0xA9>", "<s>"]);
    draft.scores = vec![0.0; 5];
    draft.types = vec![2, 1, 6, 6, 3];
    let tokenizer = draft.open().unwrap();
    let mut stream = tokenizer.stream();
    let texts: Vec<String> =
        [1, 2, 4, 3, 2, 1, 99, 2].iter().map(|&id| stream.push(&tokenizer, id).to_string()).collect();
    assert_eq!(texts, [" a", "", "", "é", "", "\u{fffd} a", "", ""]);
    assert_eq!(stream.finish(), "\u{fffd}");
    assert_eq!(stream.finish(), "");
}

#[test]
fn generation_ends_where_names_and_ids_say() {
    let mut draft = byte_level();
    draft
        .tokens
        .extend(["<|im_end|>", "<|end|>", "<|return|>", "<|call|>"].map(|name| name.as_bytes().to_vec()));
    draft.types.extend([1; 4]);
    draft.ids = vec![("tokenizer.ggml.eos_token_id", 6), ("tokenizer.ggml.bos_token_id", 7)];
    draft.bools = vec![("tokenizer.ggml.add_bos_token", true), ("tokenizer.ggml.add_eos_token", true)];
    let tokenizer = draft.open().unwrap();
    // `<|end|>` ends messages inside an answer where `<|return|>` and `<|call|>` end answers.
    assert_eq!(tokenizer.eog(), [6, 10, 12, 13]);
    assert!(tokenizer.is_eog(10) && !tokenizer.is_eog(11));
    assert_eq!((tokenizer.eot(), tokenizer.kind(10)), (Some(10), Some(Kind::Control)));
    assert_eq!(tokenizer.encode("a", Encode::default()), [7, 0, 6]);
}

#[test]
fn broken_files_are_refused_with_a_reason() {
    type Breaking = fn(&mut Draft);
    let cases: &[(&str, ErrorKind, Breaking)] = &[
        ("found `gpt9`", ErrorKind::Unsupported, |d| d.model = "gpt9"),
        ("pre-tokenizer `odd`", ErrorKind::Unsupported, |d| d.pre = "odd"),
        ("found 0 tokens", ErrorKind::Malformed, |d| d.tokens.clear()),
        ("found 3 entries", ErrorKind::Malformed, |d| d.types.truncate(3)),
        ("type of token 0", ErrorKind::Malformed, |d| d.types[0] = 7),
        ("type of token 0", ErrorKind::Malformed, |d| d.types[0] = -1),
        ("found 1 entries", ErrorKind::Malformed, |d| d.scores = vec![0.0]),
        ("score of token 1", ErrorKind::Malformed, |d| {
            d.scores = vec![0.0, f32::NAN, 0., 0., 0., 0., 0., 0., 0., 0.]
        }),
        ("as token 0 is", ErrorKind::Malformed, |d| d.tokens[1] = b"a".to_vec()),
        ("expected at most 4096", ErrorKind::Malformed, |d| d.tokens[1] = vec![b'z'; 4097]),
        ("a part of it is no token", ErrorKind::Malformed, |d| d.merges = vec!["a bc"]),
        ("no token", ErrorKind::Malformed, |d| d.merges = vec!["a x"]),
        ("the two together", ErrorKind::Malformed, |d| d.merges = vec!["a c"]),
        ("expected two tokens", ErrorKind::Malformed, |d| d.merges = vec!["ab"]),
        ("expected two tokens", ErrorKind::Malformed, |d| d.merges = vec![""]),
        ("no token", ErrorKind::Malformed, |d| d.merges = vec!["a "]),
        ("found token 10", ErrorKind::Malformed, |d| d.ids = vec![("tokenizer.ggml.bos_token_id", 10)]),
        ("which", ErrorKind::Missing, |d| d.bools = vec![("tokenizer.ggml.add_bos_token", true)]),
        ("scores", ErrorKind::Missing, |d| d.model = "llama"),
        ("scores", ErrorKind::Missing, |d| d.model = "t5"),
        ("unknown words", ErrorKind::Missing, |d| d.model = "bert"),
    ];
    assert!(byte_level().open().is_ok());
    for (what, kind, breaking) in cases {
        let mut draft = byte_level();
        breaking(&mut draft);
        let error = draft.open().err().unwrap_or_else(|| panic!("{what}: accepted"));
        assert_eq!(error.kind, *kind, "{error}");
        assert!(error.to_string().contains(what), "{error}, expected {what}");
    }
    for charsmap in [
        vec![1],
        vec![8, 0, 0, 0, 1, 2, 3, 4],
        vec![3, 0, 0, 0, 1, 2, 3],
        [vec![0; 4], vec![b'x'; 257]].concat(),
    ] {
        let mut draft = unigram();
        draft.charsmap = charsmap;
        assert_eq!(draft.open().unwrap_err().kind, ErrorKind::Malformed);
    }
}

#[test]
fn names_may_be_empty_or_no_text() {
    let mut draft = byte_level();
    draft.tokens.extend([vec![], vec![], vec![0xff, b'a']]);
    draft.types.extend([1; 3]);
    let tokenizer = draft.open().unwrap();
    assert_eq!(tokenizer.piece(12, ShowControl::Hide), &[0xff, b'a'][..]);
    assert_eq!(tokenizer.decode(&[12, 10, 4, u32::MAX]), "\u{fffd}aab");
    assert_eq!((tokenizer.token(13), tokenizer.kind(u32::MAX), tokenizer.id_of("")), (None, None, None));
}

#[test]
fn names_that_are_parts_of_characters_are_in_no_text() {
    let mut draft = byte_level();
    draft.tokens.extend([vec![0xc3], vec![0xa9, b'a'], "é".as_bytes().to_vec()]);
    draft.types.extend([3; 3]);
    let tokenizer = draft.open().unwrap();
    assert_eq!(names(&tokenizer, "èéa", PARSE), ["é", "a"]);
}

#[test]
fn guarded_names_are_text() {
    let unguarded = Encode { parse_special: ParseSpecial::Unguarded, ..PLAIN };
    let tokenizer = byte_level().open().unwrap();
    assert_eq!(tokenizer.guard("ab<u>c"), "ab<u>c");
    for text in ["<x>", "a<x><y>b<x", "<x><x><x><y>b", "é<x>", "ab", "<\u{fdd0}x>"] {
        // As text, whatever stands around it, and all the while the template's own names are tokens.
        let filled = format!("<x>{}<x><y>", tokenizer.guard(text));
        let plain = tokenizer.encode(&text.replace(GUARD, ""), PLAIN);
        let expected: Vec<u32> = [6].into_iter().chain(plain).chain([7]).collect();
        assert_eq!(tokenizer.encode(&filled, unguarded), expected, "{text}");
    }
    // Tokens that users may write stay tokens.
    assert_eq!(names(&tokenizer, &tokenizer.guard("<u><x>"), unguarded), ["<u>"]);
}

#[test]
fn threads_may_share_a_tokenizer() {
    fn shared(_: &(impl Send + Sync + Clone)) {}
    shared(&byte_level().open().unwrap());
}
