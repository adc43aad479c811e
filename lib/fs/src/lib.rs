//! File systems by scheme behind one small trait.
