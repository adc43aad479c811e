//! Inputs whose right answer is known.
