//! What the benchmarks of WordCount have in common: the input, the hand-written loop that they are compared with, and
//! measurements in processes of their own.

pub mod hand_written;
pub mod own_process;
pub mod zipf;
