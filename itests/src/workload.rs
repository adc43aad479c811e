//! Inputs whose right answer is known: a text with everything that a reader of lines may get wrong, and an independent count
//! of its words.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::random::Random;

/// How often each word occurs.
pub type Counts = BTreeMap<String, u64>;

/// A text to be generated; the same values give the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Its length, up to a line more.
    pub bytes: u64,
    /// The length of its one very long line; longer than the byte range that one reader gets.
    pub long_line: u64,
    /// Where its random choices start.
    pub seed: u64,
}

impl Text {
    /// Writes the text to `path`: Zipf-distributed words in several scripts, empty lines, lines of nothing but separators,
    /// both kinds of line ends, one very long line in the middle, and no line end after the last one.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(self, path: &Path) -> Result<()> {
        let mut out = BufWriter::new(File::create(path).with_context(|| format!("creating {}", path.display()))?);
        let mut random = Random::new(self.seed);
        let words = vocabulary();
        let (mut written, mut long_line_due) = (0, true);
        let mut line = String::new();
        while written < self.bytes {
            line.clear();
            let long = long_line_due && written >= self.bytes / 2;
            let length = if long { self.long_line } else { random.below(LINE_MAX) };
            long_line_due &= !long;
            while (line.len() as u64) < length {
                push_word(&mut line, &words[random.zipf(words.len())], &mut random);
            }
            line.push_str(if random.below(4) == 0 { "\r\n" } else { "\n" });
            out.write_all(line.as_bytes())?;
            written += line.len() as u64;
        }
        out.write_all("the last line has no end: Ende_42".as_bytes())?;
        out.flush().with_context(|| format!("writing {}", path.display()))
    }
}

/// No ordinary line is longer, by more than a word.
const LINE_MAX: u64 = 160;

const WORDS: usize = 40_000;

/// Separators as prose has them, some of several bytes, some that are no white space, and one that looks like a letter's part
/// (a combining accent).
const SEPARATORS: [&str; 12] = [" ", " ", " ", " ", " ", ", ", "\t", " — ", "-", "'", "\u{a0}", "\u{301} "];

fn push_word(line: &mut String, word: &str, random: &mut Random) {
    match random.below(10) {
        0 => line.push_str(&word.to_uppercase()),
        _ => line.push_str(word),
    }
    line.push_str(SEPARATORS[random.below(SEPARATORS.len() as u64) as usize]);
}

/// Different lower-case words of letters of one to four bytes, digits and underscores. Without the Greek sigma, whose lower
/// case depends on what follows, and without letters whose upper case has another lower case.
fn vocabulary() -> Vec<String> {
    const SYLLABLES: [[&str; 8]; 5] = [
        ["ba", "ne", "to", "ri", "su", "lo", "ka", "me"],
        ["be", "ö", "ch", "ä", "ng", "é", "t_", "9"],
        ["да", "не", "ло", "ри", "жу", "ть", "ко", "ём"],
        ["漢", "字", "東", "京", "水", "火", "山", "川"],
        ["𐐨", "𐐩", "α", "β", "γ", "λ", "π", "ω"],
    ];
    (0..WORDS)
        .map(|number| {
            let script = &SYLLABLES[if number % 3 == 0 { number / 3 % SYLLABLES.len() } else { 0 }];
            let mut word = String::new();
            let mut rest = number + 1;
            while rest > 0 {
                word.push_str(script[rest % 8]);
                rest /= 8;
            }
            word
        })
        .collect()
}

/// Counts the words of a file: the longest runs of letters, digits and underscores, in lower case.
///
/// # Errors
/// When the file can't be read or isn't UTF-8.
pub fn count_words(path: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(count_words_of(&text))
}

/// Counts the words of a text, as [`count_words`] does.
#[must_use]
pub fn count_words_of(text: &str) -> Counts {
    let mut as_written: HashMap<&str, u64> = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
        *as_written.entry(word).or_default() += 1;
    }
    let mut counts = Counts::new();
    for (word, count) in as_written {
        *counts.entry(word.to_lowercase()).or_default() += count;
    }
    counts
}

/// Reads the result of a job that emits each word once: lines `(word,count)`.
///
/// # Errors
/// When a line has another form, or a word comes twice.
pub fn final_counts(output: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for pair in output.lines().map(pair) {
        let (word, count) = pair?;
        if let Some(other) = counts.insert(word.to_owned(), count) {
            bail!("{word:?} comes twice: {other} and {count}");
        }
    }
    Ok(counts)
}

/// Reads the result of a job that emits a word each time it has counted it: the counts of a word are 1, 2, … without gaps, in
/// this order.
///
/// # Errors
/// When a line has another form, or a count is missing or out of order.
pub fn updated_counts(output: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for pair in output.lines().map(pair) {
        let (word, count) = pair?;
        let before = counts.entry(word.to_owned()).or_default();
        ensure!(count == *before + 1, "{word:?} goes from {before} to {count}");
        *before = count;
    }
    Ok(counts)
}

fn pair(line: &str) -> Result<(&str, u64)> {
    let inner = line.strip_prefix('(').and_then(|line| line.strip_suffix(')'));
    let (word, count) =
        inner.and_then(|pair| pair.rsplit_once(',')).with_context(|| format!("not (word,count): {line:?}"))?;
    Ok((word, count.trim().parse().with_context(|| format!("not (word,count): {line:?}"))?))
}

/// What differs, as one line per word, of which no more than the first ten; empty when nothing does.
#[must_use]
pub fn differences(expected: &Counts, found: &Counts) -> String {
    let words = expected.keys().chain(found.keys().filter(|word| !expected.contains_key(*word)));
    let differing: Vec<_> = words
        .filter(|word| expected.get(*word) != found.get(*word))
        .map(|word| {
            let count = |counts: &Counts| counts.get(word).map_or("nothing".to_owned(), u64::to_string);
            format!("{word:?}: expected {}, found {}\n", count(expected), count(found))
        })
        .collect();
    let more = differing.len().saturating_sub(10);
    let mut text = differing[..differing.len() - more].concat();
    if more > 0 {
        text += &format!("and {more} more\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: Text) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        text.write(file.path()).unwrap();
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn a_text_has_everything_that_a_reader_of_lines_may_get_wrong() {
        let text = written(Text { bytes: 1 << 20, long_line: 100_000, seed: 1 });
        assert!(text.len() > 1 << 20 && text.len() < (1 << 20) + 101_000);
        assert!(text.contains("\n\n") && text.contains("\r\n") && text.contains("\n\r\n"));
        assert!(!text.ends_with('\n'));
        assert!(text.lines().any(|line| line.len() >= 100_000));
        for bytes in 1..=4 {
            assert!(text.chars().any(|c| c.is_alphanumeric() && c.len_utf8() == bytes), "letters of {bytes} bytes");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_one_another() {
        let text = |seed| written(Text { bytes: 10_000, long_line: 500, seed });
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn the_vocabulary_has_no_word_twice_and_none_that_changes_case_oddly() {
        let words = vocabulary();
        let different: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(different.len(), words.len());
        for word in &words {
            assert_eq!(&word.to_uppercase().to_lowercase(), word);
        }
    }

    #[test]
    fn words_are_runs_of_letters_digits_and_underscores_in_lower_case() {
        let counts = count_words_of("To be, or_not 2 BE\r\n\n— be's Ähre");
        let expected = [("2", 1), ("be", 3), ("or_not", 1), ("s", 1), ("to", 1), ("ähre", 1)];
        assert_eq!(counts, expected.map(|(word, count)| (word.to_owned(), count)).into());
    }

    #[test]
    fn outputs_are_read_and_broken_ones_refused() {
        assert_eq!(final_counts("(a,2)\n(b,1)\n").unwrap(), count_words_of("a b a"));
        assert_eq!(updated_counts("(a,1)\n(b,1)\n(a,2)\n").unwrap(), count_words_of("a b a"));
        for broken in ["(a,2)\n(a,3)", "a,2", "(a)", "(a,x)", "(a,2"] {
            assert!(final_counts(broken).is_err(), "{broken}");
        }
        for broken in ["(a,2)", "(a,1)\n(a,1)", "(a,1)\n(a,3)"] {
            assert!(updated_counts(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn differences_name_words_on_both_sides_and_end_after_ten() {
        assert_eq!(differences(&count_words_of("a b"), &count_words_of("b a")), "");
        let text = differences(&count_words_of("a b"), &count_words_of("b b c"));
        assert_eq!(
            text,
            "\"a\": expected 1, found nothing\n\"b\": expected 1, found 2\n\"c\": expected nothing, found 1\n"
        );
        let many = count_words_of("a b c d e f g h i j k l");
        assert!(differences(&many, &Counts::new()).ends_with("and 2 more\n"));
    }

    #[test]
    fn rare_words_are_rare_and_none_is_out_of_range() {
        let mut random = Random::new(3);
        let drawn: Vec<_> = (0..100_000).map(|_| random.zipf(1000)).collect();
        let often = |n: usize| drawn.iter().filter(|drawn| **drawn == n).count();
        assert!(drawn.iter().all(|drawn| *drawn < 1000));
        assert!(often(0) > often(9) && often(9) > often(99), "{} {} {}", often(0), often(9), often(99));
    }
}
