//! State of an operator outside of keys.
