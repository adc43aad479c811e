//! Runs the operators of a job: subtasks, exchange, sources, sinks.
