//! The processor's instruction that fetches memory before it is needed.

/// Bytes that come into the processor's caches together.
pub(crate) const LINE_BYTES: usize = 64;

/// Begins to bring the first bytes of a value into the processor's caches, and waits for nothing. Does nothing where the
/// language has no such instruction.
#[inline]
pub fn prefetch<T>(value: &T) {
    prefetch_line(std::ptr::from_ref(value).cast());
    // It may begin near the end of a line.
    if size_of::<T>() > 1 && !LINE_BYTES.is_multiple_of(size_of::<T>()) {
        let last = size_of::<T>().min(LINE_BYTES) - 1;
        prefetch_line(std::ptr::from_ref(value).cast::<u8>().wrapping_add(last));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(
    unsafe_code,
    reason = "there is no other way to this instruction, which makes keyed state several times as fast"
)]
fn prefetch_line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction is a hint. It reads and writes nothing that the program can see, and is defined for every
    // address, even one that is not mapped (Intel's manual, volume 2, PREFETCHh; AMD's, volume 3, PREFETCHlevel). SSE, which
    // it belongs to, is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_line(_: *const u8) {}
