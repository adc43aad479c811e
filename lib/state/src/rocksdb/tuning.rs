//! How RocksDB is set up for state.

use rocksdb::{BlockBasedOptions, DBCompressionType, DataBlockIndexType, LogLevel, Options, ReadOptions, WriteOptions};

use crate::meta::StateKind;

use super::expiry::Expiry;
use super::shared::SharedRocksDb;

/// Write buffers of one state hold no more than this.
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 20;
/// Write buffers of one state hold no less than this.
const WRITE_BUFFER_BYTES_MIN: usize = 1 << 20;
/// Write buffers grow by this: with many states, larger ones would use up the budget while they are nearly empty.
const ARENA_BYTES: usize = 128 << 10;
/// False positives of the filters: 1 %.
const FILTER_BITS_PER_KEY: f64 = 10.0;
const LEVELS: usize = 7;

/// Options of an instance.
pub(super) fn instance(shared: &SharedRocksDb) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(shared.write_buffers());
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    // The instance never outlives its process: what a crash loses comes back from a checkpoint.
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(1);
    options.set_max_background_jobs(2);
    options
}

/// Options of a state's column family.
pub(super) fn family(shared: &SharedRocksDb, kind: StateKind, expiry: Option<&Expiry>) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(shared.block_cache());
    // In the cache and not beside it: the budget is kept.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    if kind != StateKind::Timers {
        table.set_bloom_filter(FILTER_BITS_PER_KEY, false);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_manager(shared.write_buffers());
    let write_buffer = (shared.write_buffer_budget() / 2).clamp(WRITE_BUFFER_BYTES_MIN, WRITE_BUFFER_BYTES_MAX);
    options.set_write_buffer_size(write_buffer);
    options.set_arena_block_size(ARENA_BYTES);
    // Files of the first level live for seconds.
    let mut compression = [DBCompressionType::Lz4; LEVELS];
    compression[0] = DBCompressionType::None;
    options.set_num_levels(LEVELS as i32);
    options.set_compression_per_level(&compression);
    if kind == StateKind::List {
        options.set_merge_operator_associative("append", |_, value, appended| {
            let mut all = value.unwrap_or_default().to_vec();
            appended.iter().for_each(|part| all.extend_from_slice(part));
            Some(all)
        });
    }
    if let Some(expiry) = expiry {
        expiry.add_to(&mut options);
    }
    options
}

/// Without write-ahead log: state is recovered from checkpoints.
pub(super) fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Of a scan over the rows that begin so.
pub(super) fn scan_options(prefix: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = after(prefix) {
        options.set_iterate_upper_bound(end);
    }
    options
}

/// The first row that comes after all that begin so; `None` when none can.
pub(super) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_after_a_prefix_is_found() {
        assert_eq!(after(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(after(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after(&[255, 255]), None);
        assert_eq!(after(&[]), None);
    }
}
