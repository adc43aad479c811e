//! Flumen: a distributed, stateful stream processor. Typed streams that become a JobGraph.
