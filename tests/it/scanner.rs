//! The scanner accepts the same texts as `serde_json`, tested on lines of a dump with changed bytes.

use profiles_sync::json::{Document, Tape};
use serde_json::Value;

use crate::dump::{self, Knobs};

/// Returns whether `serde_json` accepts a text. Numbers too large for a float count as accepted: they are valid JSON.
fn serde_reads(text: &str) -> bool {
    match serde_json::from_str::<Value>(text) {
        Ok(_) => true,
        Err(e) => e.to_string().contains("number out of range"),
    }
}

#[test]
fn the_scanner_accepts_what_serde_json_accepts() {
    let mut bytes = Vec::new();
    dump::write(Knobs { events: 60, seed: 3, days: 20, malformed: 0.0, changes: 0.0 }, &mut bytes).unwrap();
    let dump = String::from_utf8(bytes).unwrap();
    let mut lines: Vec<&str> = dump.lines().collect();
    lines.extend([
        r#"{"a":[1,-0.5e+3,1E9,true,null,"\u00e9\ud83d\ude00\/\b"],"":{}, "k" : [ ] }"#,
        r#"["\ud800\udc00","\\\"",{"a":{"a":{"a":[[[]]]}}},0,-1.0,10]"#,
    ]);
    let alphabet: &[u8] = b"{}[]\",:\\ \t\n09.-+eEutfnldDaA8\x01\x1f";
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % n as u64).unwrap()
    };
    let mut tape = Tape::default();
    let (mut n_good, mut n_bad) = (0, 0);
    for _ in 0..40_000 {
        let mut text = lines[next(lines.len())].as_bytes().to_vec();
        for _ in 0..=next(2) {
            let at = next(text.len());
            match next(3) {
                0 => text[at] = alphabet[next(alphabet.len())],
                1 => text.insert(at, alphabet[next(alphabet.len())]),
                _ => drop(text.remove(at)),
            }
        }
        let Ok(text) = String::from_utf8(text) else { continue };
        let read = tape.read(text.as_bytes()).is_ok();
        assert_eq!(read, serde_reads(&text), "{text}");
        n_good += u64::from(read);
        n_bad += u64::from(!read);
        if read {
            let mut compact = Vec::new();
            Document { text: text.as_bytes(), tokens: &tape.tokens }.push_compact(&mut compact, 0);
            let compact = String::from_utf8(compact).unwrap();
            if let (Ok(ours), Ok(theirs)) =
                (serde_json::from_str::<Value>(&compact), serde_json::from_str::<Value>(&text))
            {
                assert_eq!(ours, theirs, "{text}");
            }
        }
    }
    assert!(1000 < n_good && 1000 < n_bad, "{n_good} good, {n_bad} bad");
}
