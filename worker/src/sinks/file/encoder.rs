//! How a record becomes bytes of a file.

use crate::sinks::AsText;

/// Why a record could not be encoded or given a bucket: the user's error.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Turns records into bytes that can stand one after the other. Closures of this signature are encoders, too.
pub trait Encoder<T>: Clone + Send + Sync + 'static {
    /// Appends the record.
    ///
    /// # Errors
    /// The record can't be encoded: the job fails.
    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), SinkError>;
}

impl<T, F> Encoder<T> for F
where
    F: FnMut(&T, &mut Vec<u8>) -> Result<(), SinkError> + Clone + Send + Sync + 'static,
{
    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), SinkError> {
        self(record, out)
    }
}

/// One line of UTF-8 for each record, as `print` and `write_as_text` show it.
#[derive(Debug, Clone, Default)]
pub struct SimpleStringEncoder {
    /// What is appended is text, whatever stands in the buffer before it.
    line: String,
}

impl SimpleStringEncoder {
    /// The only kind there is.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: AsText> Encoder<T> for SimpleStringEncoder {
    #[inline]
    fn encode(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), SinkError> {
        self.line.clear();
        record.write_text(&mut self.line);
        self.line.push('\n');
        out.extend_from_slice(self.line.as_bytes());
        Ok(())
    }
}
