//! Savepoints: what an instance has, in the canonical format.

use std::sync::Arc;

use flumen_model::checkpoint::KeyGroupRange;

use crate::canonical::Writer;
use crate::error::StateError;
use crate::rows::take_apart;
use crate::snapshot::{CanonicalBlocks, ChunkSender, blocks};

use super::instance::Instance;
use super::link::{Link, Links};
use super::shared::SharedRocksDb;

/// Begins to write what there is now as blocks, in a thread of its own, which ends when nobody takes them.
pub(super) fn begin(link: Link, shared: SharedRocksDb) -> Result<CanonicalBlocks, StateError> {
    let (mut sender, blocks) = blocks();
    let maker = link.in_thread("savepoint", move |link| {
        let written = link.make().and_then(|links| {
            let contents = &links.contents;
            let mut writer = Writer::new(contents.states.clone(), contents.groups, contents.max_parallelism);
            write_rows(links, shared, &mut writer, &mut sender)?;
            writer.finish();
            sender.send(&mut writer, true);
            Ok(())
        });
        if let Err(error) = written {
            sender.fail(error);
            sender.send(&mut Writer::new(vec![], KeyGroupRange { start: 0, end: 0 }, 1), true);
        }
    })?;
    Ok(blocks.made_by(maker))
}

fn write_rows(
    links: Links,
    shared: SharedRocksDb,
    writer: &mut Writer,
    sender: &mut ChunkSender,
) -> Result<(), StateError> {
    let Links { directory, parent: _parent, contents } = links;
    let instance = Instance::open_for_reading(Arc::new(directory), shared, &contents.states)?;
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
