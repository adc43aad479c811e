//! Control frames: four bytes of length (big-endian), then that many bytes of JSON.

use std::io::{Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest control frame: a JobGraph of some hundred thousand splits fits; a length beyond it is not one of ours.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Why a control frame could not be read or written. The stream is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke in the middle of a frame, or could not be written.
    #[error("the control connection broke")]
    Io(#[from] std::io::Error),
    /// The announced length is beyond [`FRAME_BYTES_MAX`]: the other side speaks something else.
    #[error(
        "a control frame of {0} bytes was announced; the limit is {FRAME_BYTES_MAX}: the peer does not speak Flumen's protocol"
    )]
    TooLong(usize),
    /// The bytes are not the expected message.
    #[error("a control message could not be understood: the peer may be of another version")]
    Malformed(#[source] serde_json::Error),
}

/// The bytes of one frame.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Malformed)?;
    let length = bytes.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

fn checked_length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(prefix) as usize;
    if length > FRAME_BYTES_MAX { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// Writes one message.
pub async fn write<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?).await?;
    Ok(stream.flush().await?)
}

/// Reads one message; `None` when the stream ended between frames. Not safe to cancel: a reader owns its stream.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; 4];
    if stream.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[1..]).await?;
    // Grows with what arrives, not with what a peer announces.
    let length = checked_length(prefix)?;
    let mut bytes = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut bytes).await?;
    if read < length {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(FrameError::Malformed)
}

/// [`write()`] for a blocking stream.
pub fn write_blocking<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?)?;
    Ok(stream.flush()?)
}

/// [`read()`] for a blocking stream.
pub fn read_blocking<T: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; 4];
    if stream.read(&mut prefix[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[1..])?;
    let length = checked_length(prefix)?;
    let mut bytes = Vec::new();
    if stream.take(length as u64).read_to_end(&mut bytes)? < length {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ExecutorCommand, ToExecutor};
    use flumen_model::ids::Epoch;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_read_back_and_the_end_between_frames_is_no_error() {
        let mut bytes = encode(&ToExecutor { epoch: Epoch(3), command: ExecutorCommand::Heartbeat }).unwrap();
        bytes.extend(
            encode(&ToExecutor { epoch: Epoch(4), command: ExecutorCommand::Shutdown { reason: "over".into() } })
                .unwrap(),
        );
        let mut stream = bytes.as_slice();
        assert_eq!(read_blocking::<ToExecutor>(&mut stream).unwrap().unwrap().epoch, Epoch(3));
        assert_eq!(read_blocking::<ToExecutor>(&mut stream).unwrap().unwrap().epoch, Epoch(4));
        assert!(read_blocking::<ToExecutor>(&mut stream).unwrap().is_none());
    }

    #[test]
    fn a_cut_frame_and_an_absurd_length_are_errors() {
        let bytes = encode(&"hello").unwrap();
        for cut in 1..bytes.len() {
            assert!(read_blocking::<String>(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(read_blocking::<String>(&mut b"GET / HTTP/1.1".as_slice()), Err(FrameError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_blocking::<ToExecutor>(&mut bytes.as_slice());
        }
    }
}
