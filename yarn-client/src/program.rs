//! The user's program: asked for its plan ([`flumen_program`]), or run right here.

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use flumen_model::config::Configuration;
use flumen_program::start_error;
pub use flumen_program::{executable, plan};
use flumen_wire::control::ROLE_VARIABLE;

/// Environment variable in which a program that runs the job itself finds the configuration, as JSON.
pub const CONFIGURATION_VARIABLE: &str = "FLUMEN_CONFIGURATION";

/// Becomes the program, which then runs the job in its own process: its exit code, output and signals are the command's.
/// Returns only when that fails.
pub fn run_here(path: &Path, arguments: &[String], configuration: &Configuration) -> anyhow::Error {
    let text = match serde_json::to_string(configuration) {
        Ok(text) => text,
        Err(error) => return error.into(),
    };
    match executable(path) {
        Ok(executable) => {
            let mut command = std::process::Command::new(executable);
            command.args(arguments).env(CONFIGURATION_VARIABLE, text).env_remove(ROLE_VARIABLE);
            start_error(path, command.exec()).into()
        }
        Err(error) => error.into(),
    }
}
