//! Streams beside an operator's main one.

use flumen_worker::operator::Data;
use flumen_worker::operators::side_output::OutputTag;

use crate::graph::node::{Input, Partition, Side};
use crate::graph::records::RecordsOf;
use crate::stream::DataStream;

impl<T: Data> DataStream<T> {
    /// What the operator that this stream comes from emits for a tag: process functions through their context, windows
    /// records that come too late, an interval join late ones. Records that nobody reads vanish.
    pub fn get_side_output<X: Data>(&self, tag: &OutputTag<X>) -> DataStream<X> {
        let records = RecordsOf::<X>::shared();
        let Some(node) = self.own_node("get_side_output") else {
            return DataStream::from_inputs(self.env.clone(), Vec::new());
        };
        let port = self.env.change(node, |node| {
            if !node.has_sides {
                return Err(format!(
                    "`{}` has no side outputs: process functions, functions on windows, windows with side_output_late_data and interval joins have some",
                    node.name
                ));
            }
            match node.sides.iter().position(|side| side.tag == tag.name()) {
                Some(index) if node.sides[index].records.type_name() == records.type_name() => Ok(index + 1),
                Some(index) => Err(format!(
                    "the side output `{}` of `{}` is read as a stream of {} and of {}: give each type its own tag",
                    tag.name(),
                    node.name,
                    node.sides[index].records.type_name(),
                    records.type_name()
                )),
                None => {
                    node.sides.push(Side { tag: tag.name().to_owned(), records });
                    Ok(node.sides.len())
                }
            }
        });
        let inputs = match port {
            Ok(port) => vec![Input { node, port, partition: Partition::Default, adapt: None }],
            Err(mistake) => {
                self.env.mistake(mistake);
                Vec::new()
            }
        };
        DataStream::from_inputs(self.env.clone(), inputs)
    }
}
