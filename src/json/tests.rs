//! Compares the parser with `serde_json`, and tests canonical strings.

use super::*;

fn check(text: &str, valid: bool) {
    let mut tape = Tape::default();
    assert_eq!(tape.read(text.as_bytes()).is_ok(), valid, "{text}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(text).is_ok(), valid, "serde_json on {text}");
}

#[test]
fn accepts_what_serde_json_accepts() {
    for text in [
        "{}",
        "[]",
        " { \"a\" : [ 1 , -0.5e+3 , true , null , \"\" ] } ",
        "0",
        "\"\\ud83d\\ude00\\/\"",
        "[[],{}]",
    ] {
        check(text, true);
    }
}

#[test]
fn refuses_what_serde_json_refuses() {
    for text in [
        "",
        "{",
        "}",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "01",
        "1.",
        "-",
        "1e",
        "nul",
        "NaN",
        "Infinity",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"a\nb\"",
        "1 2",
        "[1 2]",
        "{\"a\":1]",
        "'a'",
    ] {
        check(text, false);
    }
}

#[test]
fn depth_128_is_the_last() {
    let mut tape = Tape::default();
    assert!(tape.read(format!("{}{}", "[".repeat(128), "]".repeat(128)).as_bytes()).is_ok());
    assert!(tape.read(format!("{}{}", "[".repeat(129), "]".repeat(129)).as_bytes()).is_err());
}

#[test]
fn compact_text_is_canonical() {
    let text = br#" { "a" : [ 1.50 , "\u00e9\/" , { "b" : 1 , "c" : 2 , "b" : 3 } ] } "#;
    let mut tape = Tape::default();
    tape.read(text).unwrap();
    let mut out = Vec::new();
    Document { text, tokens: &tape.tokens }.push_compact(&mut out, 0);
    assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":[1.50,\"\u{e9}/\",{\"b\":3,\"c\":2}]}");
}
