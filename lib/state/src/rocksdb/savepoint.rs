//! Savepoints: what an instance has, in the canonical format.

use crate::canonical::Writer;
use crate::error::{StateError, StateErrorKind};
use crate::rows::take_apart;
use crate::snapshot::{CanonicalBlocks, ChunkSender, blocks};

use super::contents::Contents;
use super::files::LinkedFiles;
use super::instance::Instance;
use super::shared::SharedRocksDb;

/// Begins to write linked files as blocks, in a thread of its own, which ends when nobody takes them.
pub(super) fn begin(
    files: LinkedFiles,
    contents: Contents,
    shared: SharedRocksDb,
) -> Result<CanonicalBlocks, StateError> {
    let (mut sender, blocks) = blocks();
    let write = move || {
        let Contents { groups, max_parallelism, ref states, .. } = contents;
        let mut writer = Writer::new(states.clone(), groups, max_parallelism);
        match write_rows(files, &contents, shared, &mut writer, &mut sender) {
            Ok(()) => writer.finish(),
            Err(error) => sender.fail(error),
        }
        sender.send(&mut writer, true);
    };
    std::thread::Builder::new().name("savepoint".to_owned()).spawn(write).map_err(|source| {
        StateErrorKind::Backend { what: "starting the thread of a savepoint".to_owned(), source: source.into() }
    })?;
    Ok(blocks)
}

fn write_rows(
    files: LinkedFiles,
    contents: &Contents,
    shared: SharedRocksDb,
    writer: &mut Writer,
    sender: &mut ChunkSender,
) -> Result<(), StateError> {
    let (directory, _parent) = files.into_directory();
    let instance = Instance::open_for_reading(directory, shared, &contents.states)?;
    for (state, meta) in contents.states.iter().enumerate() {
        let mut damaged = false;
        instance.scan(state, &[], &[], |row, value| {
            let Some(parts) = take_apart(meta.kind, row) else {
                damaged = true;
                return false;
            };
            writer.row(state, parts.group, parts.key, parts.namespace, parts.user_key, value);
            if writer.waiting_bytes() > 0 {
                sender.send(writer, true);
            }
            !sender.is_abandoned()
        })?;
        if damaged {
            return Err(StateError::corrupt(&meta.name, 0, "the key of a row can't be read"));
        }
    }
    Ok(())
}
