//! A worker's standard output and standard error: into a file by whole lines, with the last bytes remembered.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A longer line is divided: its start must not stay in memory until its end comes.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Bytes of standard error that are kept for the message about the worker's end.
pub const TAIL_BYTES: usize = 4 << 10;

/// The last [`TAIL_BYTES`] of a stream; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (kept.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        kept.drain(..surplus);
        kept.extend_from_slice(bytes);
    }

    /// What is kept, as text; it starts with a whole line when there is one.
    pub fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = kept.len() == TAIL_BYTES;
        let start = kept.iter().position(|byte| *byte == b'\n').map(|at| at + 1).filter(|at| cut && *at < kept.len());
        String::from_utf8_lossy(&kept[start.unwrap_or(0)..]).into_owned()
    }
}

/// Copies everything from `stream` to `file` until the stream ends or breaks: whole lines in each write, a line of more than
/// [`LINE_BYTES_MAX`] in pieces. An unfinished last line is finished.
pub async fn capture(mut stream: impl AsyncRead + Unpin, mut file: impl Write, tail: Tail) {
    let mut pending: Vec<u8> = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        let before = pending.len();
        let room = (LINE_BYTES_MAX - before) as u64;
        let read = (&mut stream).take(room).read_buf(&mut pending).await;
        if !matches!(read, Ok(count) if count > 0) {
            break;
        }
        tail.add(&pending[before..]);
        let whole = pending.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        if let Some(end) = whole {
            put(&mut file, &pending[..end]);
            pending.drain(..end);
        } else if pending.len() == LINE_BYTES_MAX {
            pending.push(b'\n');
            put(&mut file, &pending);
            pending.clear();
        }
    }
    if !pending.is_empty() {
        pending.push(b'\n');
        put(&mut file, &pending);
    }
}

/// A rolling file never fails; whatever else stands here must not stop the worker's output from being read, or the worker
/// would wait for ever.
fn put(file: &mut impl Write, bytes: &[u8]) {
    if let Err(error) = file.write_all(bytes) {
        tracing::debug!(%error, "output of a worker is lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn captured(input: &[u8]) -> (Vec<Vec<u8>>, String) {
        struct Writes(Vec<Vec<u8>>);
        impl Write for &mut Writes {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (mut writes, tail) = (Writes(vec![]), Tail::default());
        capture(input, &mut writes, tail.clone()).await;
        (writes.0, tail.text())
    }

    #[tokio::test]
    async fn every_write_ends_with_a_line() {
        let (writes, tail) = captured(b"one\ntwo\nthree").await;
        assert_eq!(writes.concat(), b"one\ntwo\nthree\n");
        assert!(writes.iter().all(|write| write.ends_with(b"\n")));
        assert_eq!(tail, "one\ntwo\nthree");
    }

    #[tokio::test]
    async fn an_endless_line_is_divided() {
        let (writes, tail) = captured(&vec![b'x'; LINE_BYTES_MAX * 3 + 5]).await;
        assert_eq!(writes.len(), 4);
        assert!(writes.iter().all(|write| write.len() <= LINE_BYTES_MAX + 1 && write.ends_with(b"\n")));
        assert_eq!(tail.len(), TAIL_BYTES);
    }

    #[tokio::test]
    async fn the_tail_starts_with_a_whole_line() {
        let lines: String = (0..2000).map(|number| format!("line {number}\n")).collect();
        let (writes, tail) = captured(lines.as_bytes()).await;
        assert_eq!(writes.concat(), lines.as_bytes());
        assert!(tail.len() <= TAIL_BYTES && tail.starts_with("line ") && tail.ends_with("line 1999\n"), "{tail}");
        let (_, empty) = captured(b"").await;
        assert_eq!(empty, "");
    }
}
