//! Java's format of properties files, as far as two keys need it: comments, separators, escapes, continued lines.

use std::collections::BTreeMap;

/// The properties of a text. Nothing is an error in this format.
pub fn parsed(text: &str) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut lines = text.split(['\n', '\r']);
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.starts_with(['#', '!']) || line.is_empty() {
            continue;
        }
        while is_continued(&line) {
            line.pop();
            // A line end of two characters leaves an empty line between.
            match lines.find(|next| !next.is_empty()) {
                Some(next) => line.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = divided(&line);
        properties.insert(unescaped(key), unescaped(value));
    }
    properties
}

/// An odd number of backslashes stands at the end.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Key and value: divided by the first `=`, `:` or white space that is not escaped.
fn divided(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (index, c) in line.char_indices() {
        if !escaped && (c == '=' || c == ':' || c.is_whitespace()) {
            let rest = line[index..].trim_start();
            let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
            return (&line[..index], value);
        }
        escaped = c == '\\' && !escaped;
    }
    (line, "")
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

/// The text of a file with these properties.
pub fn written(properties: &[(&str, &str)]) -> String {
    let mut text = String::from("#Generated YARN properties file\n");
    for (key, value) in properties {
        text.push_str(&format!("{}={}\n", escaped(key), escaped(value)));
    }
    text
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '=' | ':' | '#' | '!' | ' ' => {
                safe.push('\\');
                safe.push(c);
            }
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if c.is_ascii() && !c.is_control() => safe.push(c),
            c => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_spellings_are_read() {
        let text = "# a comment\n! another\n\nplain=1\nspaced : 2 \n  white 3\nempty\nkey\\=with\\:odd=v\\u0041\\n\n\
                    long=a,\\\n    b\r\nlast=c:\\\\";
        let expected = [
            ("plain", "1"),
            ("spaced", "2 "),
            ("white", "3"),
            ("empty", ""),
            ("key=with:odd", "vA\n"),
            ("long", "a,b"),
            ("last", "c:\\"),
        ];
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(parsed(text), expected);
        assert_eq!(parsed("a\\"), BTreeMap::from([("a".to_owned(), String::new())]));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for value in ["", "a=b@@c=d:e", " leading", "back\\slash", "tab\tnew\nline", "ümlaut", "#!"] {
            let read = parsed(&written(&[("key", value)]));
            assert_eq!(read.get("key").map(String::as_str), Some(value));
        }
    }
}
