//! Data frames between workers: a fixed header, then the payload.
//!
//! ```text
//! 0      1         5        9         13        17       21
//! kind   attempt   edge     source    target    length   payload…        (all numbers little-endian)
//! ```
//!
//! One connection carries the channels from one worker to another; credits come back on it. A connection starts with a
//! hello frame that names the job and the sending worker, so that nothing is taken from a stranger.

use flumen_model::ids::ExecutionAttempt;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 21;

/// Largest payload: one serialised record may not be larger.
pub const PAYLOAD_BYTES_MAX: u32 = 256 << 20;

/// What a data frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Job id (16 bytes) and worker index, the first frame of a connection; `edge` is the region.
    Hello = 1,
    /// Serialised records.
    Records = 2,
    /// Nothing more on this channel.
    EndOfInput = 3,
    /// `length` is the number of buffers that the receiver has taken; no payload.
    Credit = 4,
    /// Serialised records, each behind its event time (milliseconds, 8 bytes, signed).
    TimedRecords = 5,
    /// An event time (8 bytes, signed) that no later record has or precedes.
    Watermark = 6,
    /// `length` is 1 when nothing is to be expected for now, 0 when something is again; no payload.
    Idle = 7,
    /// The place of a checkpoint: a [`Barrier`](flumen_model::checkpoint::Barrier) as JSON.
    Barrier = 8,
    /// No more records and watermarks on this channel; barriers may follow. No payload.
    EndOfData = 9,
}

impl FrameKind {
    fn read(byte: u8) -> Option<Self> {
        let all = [
            Self::Hello,
            Self::Records,
            Self::EndOfInput,
            Self::Credit,
            Self::TimedRecords,
            Self::Watermark,
            Self::Idle,
            Self::Barrier,
            Self::EndOfData,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One channel: from a subtask to a subtask over an edge of the JobGraph, in one execution of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId {
    /// The execution of the job.
    pub attempt: ExecutionAttempt,
    /// Index into the JobGraph's edges.
    pub edge: u32,
    /// Index of the sending subtask.
    pub source: u32,
    /// Index of the receiving subtask.
    pub target: u32,
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameKind,
    /// The channel it belongs to; in a hello only attempt and `edge` mean something.
    pub channel: ChannelId,
    /// Bytes of payload that follow, or the credit.
    pub length: u32,
}

/// A header that is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Unknown kind.
    #[error("a data frame of unknown kind {0} arrived: the peer does not speak Flumen's protocol")]
    Kind(u8),
    /// Too long.
    #[error("a data frame of {0} bytes was announced; the limit is {PAYLOAD_BYTES_MAX}")]
    Length(u32),
}

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind as u8;
        let numbers =
            [self.channel.attempt.0, self.channel.edge, self.channel.source, self.channel.target, self.length];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[1 + 4 * at..5 + 4 * at].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads a header, checking kind and length before anything is allocated.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, BadHeader> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[1 + 4 * at], bytes[2 + 4 * at], bytes[3 + 4 * at], bytes[4 + 4 * at]])
        };
        let kind = FrameKind::read(bytes[0]).ok_or(BadHeader::Kind(bytes[0]))?;
        let channel =
            ChannelId { attempt: ExecutionAttempt(number(0)), edge: number(1), source: number(2), target: number(3) };
        let header = Self { kind, channel, length: number(4) };
        if header.payload() > PAYLOAD_BYTES_MAX { Err(BadHeader::Length(header.length)) } else { Ok(header) }
    }

    /// Bytes that follow the header.
    pub fn payload(&self) -> u32 {
        match self.kind {
            FrameKind::Hello
            | FrameKind::Records
            | FrameKind::TimedRecords
            | FrameKind::Watermark
            | FrameKind::Barrier => self.length,
            FrameKind::EndOfInput | FrameKind::EndOfData | FrameKind::Idle | FrameKind::Credit => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_is_read_back_or_refused(bytes in any::<[u8; HEADER_BYTES]>()) {
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert!(header.payload() <= PAYLOAD_BYTES_MAX);
                prop_assert_eq!(header.encode(), bytes);
            }
        }

        #[test]
        fn every_header_of_ours_is_read_back(kind in 2u8..10, numbers in any::<[u32; 4]>(), length in 0..PAYLOAD_BYTES_MAX) {
            let kind = FrameKind::read(kind).unwrap();
            let [attempt, edge, source, target] = numbers;
            let channel = ChannelId { attempt: ExecutionAttempt(attempt), edge, source, target };
            let header = Header { kind, channel, length };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }
}
