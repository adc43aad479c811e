//! The bytes of a metadata file. See `docs/formats/checkpoint-metadata.md`.

use std::borrow::Cow;

use flumen_model::checkpoint::CompletedCheckpoint;
use flumen_model::ids::{Epoch, JobId};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::CheckpointError;

/// The version that is written.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"FLUMENCP";
/// Magic, version, length of the payload.
const HEADER: usize = 8 + 4 + 8;
const CHECKSUM: usize = 8;

/// Who completed a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The job.
    pub job: JobId,
    /// The job's leader at that time.
    pub epoch: Epoch,
}

/// What stands between header and checksum, as JSON.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(flatten)]
    origin: Origin,
    checkpoint: Cow<'a, CompletedCheckpoint>,
}

/// The content of a metadata file.
///
/// # Panics
/// Never: everything in a checkpoint has a form in JSON.
pub(crate) fn encode(origin: Origin, checkpoint: &CompletedCheckpoint) -> Vec<u8> {
    let payload = Payload { origin, checkpoint: Cow::Borrowed(checkpoint) };
    let payload = serde_json::to_vec(&payload).expect("keys of maps are texts, and nothing in it fails to serialise");
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes
}

/// Reads the content of the metadata file `path`.
///
/// # Errors
/// [`CheckpointError::Damaged`] and [`CheckpointError::Version`], both with the file's name.
pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<(Origin, CompletedCheckpoint), CheckpointError> {
    let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
    let (header, rest) = bytes
        .split_at_checked(HEADER)
        .ok_or_else(|| damaged(format!("it was cut off after {} bytes, within its header", bytes.len())))?;
    if !header.starts_with(MAGIC) {
        return Err(damaged("it does not begin as the metadata of a checkpoint does".to_owned()));
    }
    let version = u32::from_le_bytes(array(&header[8..12]));
    if version == 0 || version > VERSION {
        return Err(CheckpointError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    let length = u64::from_le_bytes(array(&header[12..]));
    let whole = length.checked_add((HEADER + CHECKSUM) as u64);
    if whole != Some(bytes.len() as u64) {
        let expected = whole.map_or_else(|| "far more".to_owned(), |whole| whole.to_string());
        return Err(damaged(format!("it has {} bytes where {expected} belong", bytes.len())));
    }
    let (payload, checksum) = rest.split_at(rest.len() - CHECKSUM);
    if xxh3_64(&bytes[..bytes.len() - CHECKSUM]) != u64::from_le_bytes(array(checksum)) {
        return Err(damaged("its checksum is wrong: some of its bytes were altered".to_owned()));
    }
    let payload: Payload<'_> =
        serde_json::from_slice(payload).map_err(|error| damaged(format!("its content is not understood: {error}")))?;
    Ok((payload.origin, payload.checkpoint.into_owned()))
}

/// A slice of known length as an array; zeros where the length is another one, which the callers rule out.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example, origin};
    use proptest::prelude::*;

    const FIXTURE: &[u8] = include_bytes!("../tests/fixtures/metadata-v1");

    #[test]
    fn a_file_of_version_1_is_still_read() {
        assert_eq!(decode("fixture", FIXTURE).unwrap(), (origin(), example("file:///checkpoints/job/chk-3")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let checkpoint = example("file:///checkpoints/job/chk-3");
        assert_eq!(decode("x", &encode(origin(), &checkpoint)).unwrap(), (origin(), checkpoint));
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused_by_name() {
        for length in 0..FIXTURE.len() {
            let error = decode("hdfs://nn/chk-3/_metadata", &FIXTURE[..length]).unwrap_err();
            assert!(error.is_about_the_checkpoint());
            assert!(error.to_string().contains("`hdfs://nn/chk-3/_metadata`"), "{error}");
        }
        let mut longer = FIXTURE.to_vec();
        longer.push(0);
        assert!(decode("x", &longer).is_err());
    }

    #[test]
    fn a_file_with_any_one_bit_altered_is_refused_by_name() {
        let mut bytes = FIXTURE.to_vec();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let error = decode("hdfs://nn/chk-3/_metadata", &bytes).unwrap_err();
                assert!(error.is_about_the_checkpoint());
                assert!(error.to_string().contains("`hdfs://nn/chk-3/_metadata`"), "byte {at}: {error}");
                bytes[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = FIXTURE.to_vec();
        bytes[8] = 2;
        assert!(matches!(decode("x", &bytes), Err(CheckpointError::Version { found: 2, known: 1, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), fake in any::<bool>()) {
            let mut bytes = bytes;
            if fake {
                bytes.splice(..bytes.len().min(12), FIXTURE[..12].iter().copied());
            }
            prop_assert!(decode("x", &bytes).is_err());
        }
    }
}
