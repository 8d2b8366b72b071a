use super::*;
use alloc::string::ToString;
use alloc::vec::Vec;

fn words<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
    let mut words = Vec::new();
    row(Some(name)).unwrap().split(text, &mut |word| words.push(word));
    words
}

#[test]
fn words_are_cut_as_the_expressions_say() {
    let text = "I'll\u{3000}buy 12345  eggs!!\n\n  'Tis ÄPFELmus";
    let cases: &[(&str, &[&str])] = &[
        (
            "gpt-2",
            &["I", "'ll", "\u{3000}", "buy", " 12345", " ", " eggs", "!!", "\n\n ", " '", "Tis", " ÄPFELmus"],
        ),
        (
            "starcoder",
            &[
                "I",
                "'ll",
                "\u{3000}",
                "buy",
                " ",
                "1",
                "2",
                "3",
                "4",
                "5",
                " ",
                " eggs",
                "!!",
                "\n\n ",
                " '",
                "Tis",
                " ÄPFELmus",
            ],
        ),
        (
            "llama-bpe",
            &[
                "I",
                "'ll",
                "\u{3000}buy",
                " ",
                "123",
                "45",
                " ",
                " eggs",
                "!!\n\n",
                " ",
                " '",
                "Tis",
                " ÄPFELmus",
            ],
        ),
        (
            "qwen2",
            &[
                "I",
                "'ll",
                "\u{3000}buy",
                " ",
                "1",
                "2",
                "3",
                "4",
                "5",
                " ",
                " eggs",
                "!!\n\n",
                " ",
                " '",
                "Tis",
                " ÄPFELmus",
            ],
        ),
        (
            "gpt-4o",
            &["I'll", "\u{3000}buy", " ", "123", "45", " ", " eggs", "!!\n\n", " ", " '", "Tis", " ÄPFELmus"],
        ),
        ("bloom", &["I'll", "\u{3000}", "buy", " 12345", " ", " eggs", "!!\n\n ", " 'Tis", " ÄPFELmus"]),
    ];
    for (name, expected) in cases {
        assert_eq!(words(name, text), *expected, "{name}");
    }
}

#[test]
fn cased_words_end_where_capitals_start() {
    assert_eq!(words("gpt-4o", "camelCaseHTTPServer"), ["camel", "Case", "HTTPServer"]);
    assert_eq!(words("tekken", "中A中AB"), ["中A中", "AB"]);
    assert_eq!(words("gpt-4o", "\u{301}ABC it's"), ["\u{301}", "ABC", " it's"]);
    assert_eq!(words("tekken", "it's//\n"), ["it", "'s", "//\n"]);
}

#[test]
fn ideographs_and_kana_stand_apart_in_deepseek() {
    assert_eq!(words("deepseek-v3", "x1234 年かな。a+b"), ["x", "123", "4", " ", "年かな", "。", "a", "+b"]);
    assert_eq!(words("deepseek-llm", "a b  12年x \t"), ["a", " b", "  ", "12", "年", "x", " \t"]);
}

#[test]
fn words_together_are_the_text() {
    let texts = [
        "",
        " ",
        "\n",
        "\u{1}\u{85}\u{301}'s",
        "a\u{301} \u{e000}\u{10ffff}_",
        "'",
        " '",
        "\r\n\r\n x",
        "１２３４",
    ];
    for name in names() {
        for text in texts {
            assert_eq!(words(name, text).concat(), text, "{name}");
            assert!(words(name, text).iter().all(|word| !word.is_empty()), "{name} {text:?}");
        }
    }
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    let error = row(Some("nonsense")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.contains("`nonsense`") && text.contains("qwen2") && text.contains(KEY), "{text}");
    assert!(row(None).is_ok());
}
