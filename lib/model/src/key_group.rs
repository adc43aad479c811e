//! Key groups: the unit in which keyed state is placed and moved. key → hash → key group → subtask.
//!
//! The hash and these formulas are part of the state format: they must never change.

use xxhash_rust::xxh3::xxh3_64;

/// The largest maximum parallelism, as in Flink: 2^15.
pub const MAX_PARALLELISM_BOUND: u32 = 1 << 15;

/// The maximum parallelism of a vertex that sets none, as Flink computes it: `parallelism * 1.5`, rounded up to a power of
/// two, at least 128 and at most 32768.
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    let wanted = u64::from(parallelism) + u64::from(parallelism) / 2;
    (wanted.next_power_of_two() as u32).clamp(128, MAX_PARALLELISM_BOUND)
}

/// The fixed hash of a key in its serialised form (postcard): XXH3, 64 bits, seed 0.
#[inline]
pub fn key_hash(serialized_key: &[u8]) -> u64 {
    xxh3_64(serialized_key)
}

/// The key group of a key hash: `0..max_parallelism`.
#[inline]
pub fn key_group(key_hash: u64, max_parallelism: u32) -> u32 {
    // The high half, scaled: as even as a modulo, without the division. The low bits stay independent for hash tables.
    (((key_hash >> 32) * u64::from(max_parallelism)) >> 32) as u32
}

/// The subtask that owns a key group, as in Flink: `group * parallelism / max_parallelism`.
#[inline]
pub fn subtask_of(key_group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(key_group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_of_the_state_format_never_changes() {
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(key_group(u64::MAX, 128), 127);
        assert_eq!(key_group(0, 128), 0);
        assert_eq!(key_group(0x8000_0000_0000_0000, 128), 64);
    }

    #[test]
    fn the_default_maximum_parallelism_is_flinks() {
        for (parallelism, max) in [(1, 128), (85, 128), (86, 256), (170, 256), (171, 256), (30_000, 32_768)] {
            assert_eq!(default_max_parallelism(parallelism), max, "parallelism {parallelism}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_one_subtask_and_neighbouring_groups_stay_together(
            hash in any::<u64>(), parallelism in 1u32..300, max in 300u32..2000,
        ) {
            let group = key_group(hash, max);
            prop_assert!(group < max);
            let subtask = subtask_of(group, parallelism, max);
            prop_assert!(subtask < parallelism);
            if group > 0 {
                prop_assert!(subtask - subtask_of(group - 1, parallelism, max) <= 1);
            }
        }
    }
}
