//! A local file by its content.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flumen_model::text::hexadecimal;
use sha2::{Digest as _, Sha256};

use crate::StageError;

/// Bytes that are read and sent at once.
pub(crate) const CHUNK: usize = 1 << 20;

/// A local file that is to be in containers, by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
}

/// Hashes a local file on a thread of its own.
///
/// # Errors
/// [`StageError::Read`].
pub async fn hash(path: &Path) -> Result<Hashed, StageError> {
    let path = path.to_owned();
    let owned = path.clone();
    let read = tokio::task::spawn_blocking(move || read_chunks(&owned, |_| true)).await;
    match read.map_err(std::io::Error::other).and_then(|read| read) {
        Ok((sha256, length)) => Ok(Hashed { path, sha256, length }),
        Err(cause) => Err(StageError::Read { path, cause }),
    }
}

/// Reads a file to its end, or until `take` has no more use for it; returns hash and length of what was read.
pub(crate) fn read_chunks(path: &Path, mut take: impl FnMut(Bytes) -> bool) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut length) = (Sha256::new(), 0);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if (&mut file).take(CHUNK as u64).read_to_end(&mut chunk)? == 0 {
            break;
        }
        hash.update(&chunk);
        length += chunk.len() as u64;
        if !take(chunk.into()) {
            break;
        }
    }
    Ok((hexadecimal(&hash.finalize()), length))
}
