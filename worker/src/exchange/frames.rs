//! Frames on a stream: read into pooled blocks of memory and cut out of them without a copy, written several at a time.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes, BytesMut};
use flumen_wire::data::{HEADER_BYTES, Header};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes that one read may take: some frames of the usual size.
const BLOCK: usize = 128 << 10;
/// Blocks that wait for the last of their frames to be let go, so that their memory is used again.
const POOLED: usize = 3;
/// Smaller payloads are copied: they shall not keep a whole block.
const CUT_OUT_MIN: usize = 4 << 10;
/// Frames that one call of the system takes.
const SLICES: usize = 64;

/// Reads frames.
pub(crate) struct FrameReader<R> {
    read: R,
    buffer: BytesMut,
    /// Size of the block that it is in.
    block: usize,
    /// What is left of former blocks: nothing but their memory. The latest first.
    pool: VecDeque<BytesMut>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(read: R) -> Self {
        Self { read, buffer: BytesMut::new(), block: 0, pool: VecDeque::new() }
    }

    /// The next frame's header and payload; `None` at an end between frames. Not safe to cancel.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` when the header is none; `UnexpectedEof` when the stream ends inside of a frame.
    pub(crate) async fn next(&mut self) -> io::Result<Option<(Header, Bytes)>> {
        while self.buffer.len() < HEADER_BYTES {
            if !self.fill(HEADER_BYTES).await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.buffer.advance(HEADER_BYTES);
        let length = header.payload() as usize;
        while self.buffer.len() < length {
            if !self.fill(length).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let payload = if length < CUT_OUT_MIN {
            let payload = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            payload
        } else {
            self.buffer.split_to(length).freeze()
        };
        Ok(Some((header, payload)))
    }

    /// Reads once, with room for what is missing of `wanted` bytes. False at the end of the stream.
    async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        let length = self.buffer.len();
        // Grows with what arrives, not with what a header announces.
        let missing = wanted.saturating_sub(length).min(BLOCK.max(length));
        if self.buffer.capacity() - length < missing {
            self.change_block(missing);
        }
        Ok(self.read.read_buf(&mut self.buffer).await? > 0)
    }

    /// Goes on in a block with room for so many bytes more: the same one if all its frames have been let go, one of the
    /// pool, or a new one.
    fn change_block(&mut self, room: usize) {
        let size = BLOCK.max(self.buffer.len() + room);
        let usual = self.block == BLOCK;
        if usual && size == BLOCK && self.buffer.try_reclaim(room) {
            return;
        }
        let free = if size == BLOCK { self.pool.iter_mut().position(|block| block.try_reclaim(BLOCK)) } else { None };
        let mut block = free.and_then(|at| self.pool.remove(at)).unwrap_or_else(|| BytesMut::with_capacity(size));
        block.extend_from_slice(&self.buffer);
        let mut former = std::mem::replace(&mut self.buffer, block);
        self.block = size;
        // What an unusually large record needed is given back.
        if usual {
            former.clear();
            self.pool.truncate(POOLED - 1);
            self.pool.push_front(former);
        }
    }
}

/// Writes frames, several with one call of the system, and leaves the queue empty.
pub(crate) async fn write_frames(
    write: &mut (impl AsyncWrite + Unpin),
    frames: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !frames.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(frames.iter()) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        let mut written = write.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            frames.pop_front();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use flumen_model::ids::ExecutionAttempt;
    use flumen_wire::data::{ChannelId, FrameKind};
    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives a few bytes at a time, and takes a few.
    struct Pipe {
        bytes: VecDeque<u8>,
        step: usize,
    }

    impl AsyncRead for Pipe {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            let count = this.step.min(to.remaining()).min(this.bytes.len());
            to.put_slice(&this.bytes.drain(..count).collect::<Vec<u8>>());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Pipe {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let count = this.step.min(from.len());
            this.bytes.extend(&from[..count]);
            Poll::Ready(Ok(count))
        }
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            from: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            let bytes = from.iter().flat_map(|slice| slice.iter()).take(this.step);
            let before = this.bytes.len();
            this.bytes.extend(bytes);
            Poll::Ready(Ok(this.bytes.len() - before))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn frame(number: usize, length: usize) -> Bytes {
        let channel = ChannelId { attempt: ExecutionAttempt(0), edge: 0, source: number as u32, target: 0 };
        let header = Header { kind: FrameKind::Records, channel, length: length as u32 };
        let mut bytes = header.encode().to_vec();
        bytes.extend((0..length).map(|i| (number + i) as u8));
        bytes.into()
    }

    fn block_on<R>(future: impl Future<Output = R>) -> R {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn frames_are_read_as_they_were_written_whatever_their_sizes_and_whoever_keeps_them(
            lengths in proptest::collection::vec(prop_oneof![0..200usize, 3_000..6_000usize, 30_000..40_000usize, Just(400_000usize)], 0..30),
            step in prop_oneof![1_000..5_000usize, 20_000..300_000usize],
            keep in 1..10usize,
        ) {
            let frames: Vec<Bytes> = lengths.iter().enumerate().map(|(i, length)| frame(i, *length)).collect();
            block_on(async {
                let mut pipe = Pipe { bytes: VecDeque::new(), step };
                write_frames(&mut pipe, &mut frames.iter().cloned().collect()).await.unwrap();
                let mut reader = FrameReader::new(pipe);
                let mut kept = VecDeque::new();
                for (number, frame) in frames.iter().enumerate() {
                    let (header, payload) = reader.next().await.unwrap().unwrap();
                    assert_eq!(header.channel.source, number as u32);
                    kept.push_back((frame.slice(HEADER_BYTES..), payload));
                    if kept.len() > keep {
                        kept.pop_front();
                    }
                    // Memory that is used again was let go by everybody.
                    kept.iter().for_each(|(expected, payload)| assert!(expected == payload));
                    assert!(reader.pool.len() <= POOLED);
                }
                assert!(reader.next().await.unwrap().is_none());
            });
        }
    }

    #[test]
    fn a_stream_that_ends_inside_of_a_frame_is_an_error_and_an_absurd_length_takes_no_memory() {
        let whole = frame(0, 10_000);
        for cut in [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 9_999] {
            let mut reader = FrameReader::new(&whole[..cut]);
            let error = block_on(reader.next()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        let channel = ChannelId { attempt: ExecutionAttempt(0), edge: 0, source: 0, target: 0 };
        let announced = Header { kind: FrameKind::Records, channel, length: 200 << 20 }.encode();
        let mut reader = FrameReader::new(&announced[..]);
        assert!(block_on(reader.next()).is_err());
        assert!(reader.buffer.capacity() <= 2 * BLOCK);
    }

    #[test]
    fn blocks_are_used_again_once_their_frames_are_let_go() {
        let frames: VecDeque<Bytes> = (0..100).map(|number| frame(number, 32 << 10)).collect();
        block_on(async {
            let mut pipe = Pipe { bytes: VecDeque::new(), step: usize::MAX };
            write_frames(&mut pipe, &mut frames.clone()).await.unwrap();
            let mut reader = FrameReader::new(pipe);
            let mut last = VecDeque::new();
            let mut places = std::collections::BTreeSet::new();
            while let Some((_, payload)) = reader.next().await.unwrap() {
                places.insert(payload.as_ptr() as usize / BLOCK);
                last.push_back(payload);
                if last.len() > 4 {
                    last.pop_front();
                }
            }
            // A block is seldom at a multiple of its size: it is in two places.
            assert!(places.len() <= 2 * (POOLED + 1), "{} blocks", places.len());
        });
    }
}
