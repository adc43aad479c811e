//! Windows, through everything that can happen to an operator, and compared with what windows are by definition.

#![allow(clippy::unwrap_used, reason = "what a test can't do fails it")]

mod by_definition;
mod count;
mod custom;
mod function;
mod joined;
mod model;
mod paths;
mod support;
mod timing;
