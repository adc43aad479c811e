//! A failure as Flink's clients read it: a text, and an exception in the form of Java's object serialisation, without which
//! they take the whole answer for broken and ask again for ever.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// Longest text of a failure that goes into an answer; it is there twice.
const TEXT_CHARS_MAX: usize = 16_000;

/// `SerializedThrowable` as Flink's REST has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Throwable {
    class: &'static str,
    stack_trace: String,
    serialized_throwable: String,
}

impl Throwable {
    /// `class` takes the place of an exception's class.
    pub(super) fn new(class: &'static str, text: &str) -> Self {
        let text = crate::text::shortened(text, TEXT_CHARS_MAX);
        let serialized_throwable = STANDARD.encode(serialized(class, &text));
        Self { class, stack_trace: text, serialized_throwable }
    }
}

// The grammar of Java's "Object Serialization Stream Protocol", version 5, as far as it is needed.
const STREAM: &[u8] = &[0xac, 0xed, 0x00, 0x05];
const NULL: u8 = 0x70;
const CLASS_DESCRIPTION: u8 = 0x72;
const OBJECT: u8 = 0x73;
const STRING: u8 = 0x74;
const END_BLOCK_DATA: u8 = 0x78;
const LONG_STRING: u8 = 0x7c;
/// The class has fields, and whatever its own `writeObject` adds.
const WRITE_METHOD: u8 = 0x01;
const SERIALIZABLE: u8 = 0x02;

/// An `org.apache.flink.util.SerializedThrowable` whose message and stack trace are the text. Fields that are not in the
/// stream are null for Java, which all of the classes allow.
fn serialized(class_name: &str, text: &str) -> Vec<u8> {
    let mut out = STREAM.to_vec();
    out.push(OBJECT);
    let own = ["fullStringifiedStackTrace", "originalErrorClassName"];
    class(&mut out, "org.apache.flink.util.SerializedThrowable", 7_284_183_123_441_947_635, SERIALIZABLE, &own);
    class(&mut out, "java.lang.Exception", -3_387_516_993_124_229_948, SERIALIZABLE, &[]);
    class(&mut out, "java.lang.Throwable", -3_042_686_055_658_047_285, SERIALIZABLE | WRITE_METHOD, &["detailMessage"]);
    out.push(NULL);
    // The values, those of the last superclass first.
    string(&mut out, text);
    out.push(END_BLOCK_DATA);
    // A stack trace ends with its last line, and Java prints it as it is.
    string(&mut out, &format!("{text}\n"));
    string(&mut out, class_name);
    out
}

/// A class with fields that are strings; its superclass follows.
fn class(out: &mut Vec<u8>, name: &str, serial_version: i64, flags: u8, fields: &[&str]) {
    out.push(CLASS_DESCRIPTION);
    short_text(out, name);
    out.extend(serial_version.to_be_bytes());
    out.push(flags);
    out.extend((fields.len() as u16).to_be_bytes());
    for field in fields {
        out.push(b'L');
        short_text(out, field);
        string(out, "Ljava/lang/String;");
    }
    out.push(END_BLOCK_DATA);
}

fn short_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = modified_utf8(text);
    match u16::try_from(bytes.len()) {
        Ok(length) => {
            out.push(STRING);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(LONG_STRING);
            out.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    out.extend(bytes);
}

/// Java's own UTF-8: surrogates are encoded one by one, and no byte is zero.
fn modified_utf8(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let low = |shift: u16| 0x80 | (unit >> shift & 0x3f) as u8;
        match unit {
            0x01..=0x7f => out.push(unit as u8),
            0 | 0x80..=0x7ff => out.extend([0xc0 | (unit >> 6) as u8, low(0)]),
            _ => out.extend([0xe0 | (unit >> 12) as u8, low(6), low(0)]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_javas() {
        assert_eq!(modified_utf8("aä€"), "aä€".as_bytes());
        assert_eq!(modified_utf8("\0"), [0xc0, 0x80]);
        assert_eq!(modified_utf8("😀"), [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
        let mut long = vec![];
        string(&mut long, &"x".repeat(70_000));
        assert_eq!(long[..9], [LONG_STRING, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    /// Java 17 with Flink 1.20 reads exactly these bytes as a SerializedThrowable with the message `boom`.
    #[test]
    fn the_bytes_are_those_that_java_was_seen_to_read() {
        let expected = concat!(
            "rO0ABXNyAClvcmcuYXBhY2hlLmZsaW5rLnV0aWwuU2VyaWFsaXplZFRocm93YWJsZWUWnfUfpxPzAgACTAAZZnVsbFN0cmluZ2lm",
            "aWVkU3RhY2tUcmFjZXQAEkxqYXZhL2xhbmcvU3RyaW5nO0wAFm9yaWdpbmFsRXJyb3JDbGFzc05hbWV0ABJMamF2YS9sYW5nL1N0",
            "cmluZzt4cgATamF2YS5sYW5nLkV4Y2VwdGlvbtD9Hz4aOxzEAgAAeHIAE2phdmEubGFuZy5UaHJvd2FibGXVxjUnOXe4ywMAAUwA",
            "DWRldGFpbE1lc3NhZ2V0ABJMamF2YS9sYW5nL1N0cmluZzt4cHQABGJvb214",
        );
        let text = Throwable::new("flumen.Failure", "boom").serialized_throwable;
        assert!(text.starts_with(expected), "{text}");
    }
}
