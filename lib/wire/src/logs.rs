//! The log files of a TaskExecutor as the JobManager asks for them: listed, or read piece by piece.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest piece that is asked for and given: heartbeats must not wait behind it.
pub const PIECE_BYTES_MAX: u32 = 128 * 1024;

/// What the JobManager wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogWish {
    /// Which files there are.
    List,
    /// A part of one of them.
    Piece {
        /// Its name, without directories.
        name: String,
        /// The first byte.
        offset: u64,
        /// Bytes, at most [`PIECE_BYTES_MAX`].
        length: u32,
    },
}

/// What the TaskExecutor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogAnswer {
    /// All of them, by name.
    Files(Vec<LogFileInfo>),
    /// What was asked for; shorter only at the end of the file.
    Piece {
        /// Bytes of the whole file, now.
        size: u64,
        /// The bytes, which need not be text: base64.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        data: Vec<u8>,
    },
    /// There is no file of that name.
    NoSuchFile,
    /// It is there and can't be read.
    Unreadable(String),
}

/// A log file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFileInfo {
    /// Its name, without directories.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Last change, in milliseconds since 1970.
    pub modified_ms: u64,
}

fn to_base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_its_bytes_whatever_they_are() {
        let all: Vec<u8> = (0..=255).collect();
        let answer = LogAnswer::Piece { size: 9, data: all };
        let text = serde_json::to_string(&answer).unwrap();
        assert!(text.starts_with("{\"piece\":{\"size\":9,\"data\":\"AAECAw"), "{text}");
        assert_eq!(serde_json::from_str::<LogAnswer>(&text).unwrap(), answer);
        let broken = text.replace("AAEC", "?AEC");
        assert!(serde_json::from_str::<LogAnswer>(&broken).is_err());
    }
}
