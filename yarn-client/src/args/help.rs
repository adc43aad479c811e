//! The help texts: the actions, and the options of one in Flink's groups.

use super::flags::{Flag, flags};
use super::options::{GENERIC, YARN};

/// One action of the command line.
#[derive(Clone, Copy)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// What stands behind the name.
    pub syntax: &'static str,
    /// What it does.
    pub purpose: &'static str,
    /// Its options.
    pub command: fn() -> clap::Command,
    /// Whether the options of an application that is started are shown: other actions accept and ignore them.
    pub starts: bool,
}

/// Where the commands look when no address is given.
const DEFAULT_MODE: &str = "Default mode (no address):\n  \
     the session of the properties file (.yarn-properties-<user>), if YARN says that it runs; else, for actions about a\n  \
     job, any running application of this user that has it\n";

/// The text of `flink --help`.
pub fn overview(actions: &[About]) -> String {
    let mut text = "flink <ACTION> [OPTIONS] [ARGUMENTS]\n\nThe following actions are available:\n".to_owned();
    for action in actions {
        text.push_str(&format!("  {:<16} {}\n", action.name, action.purpose));
    }
    text.push_str("  completion       prints a script for a shell: bash, zsh or fish\n");
    text.push_str("  --version        shows the version\n\n`flink <ACTION> --help` lists the options of an action.");
    text
}

/// The text of `flink <action> --help`.
pub fn of(action: &About) -> String {
    let flags = shown(action);
    let mut text =
        format!("Action \"{}\" {}.\n\n  Syntax: flink {0} [OPTIONS] {}\n", action.name, action.purpose, action.syntax);
    let group = |heading: Option<&str>| listed(flags.iter().filter(|flag| flag.heading.as_deref() == heading));
    text.push_str(&format!("\n\"{}\" action options:\n{}", action.name, group(None)));
    text.push_str(&format!("\n{GENERIC}:\n{}", group(Some(GENERIC))));
    text.push_str(&format!("\n{YARN}:\n{}", group(Some(YARN))));
    text.push_str(&format!("\n{DEFAULT_MODE}"));
    text.truncate(text.trim_end().len());
    text
}

/// The options of an action that its help shows.
pub fn shown(action: &About) -> Vec<Flag> {
    let started = flags(&<super::options::YarnOptionsOnly as clap::CommandFactory>::command());
    let only_started = |flag: &Flag| started.iter().any(|other| other.names == flag.names);
    flags(&(action.command)()).into_iter().filter(|flag| action.starts || !only_started(flag)).collect()
}

/// One line for each option.
pub fn listed<'a>(flags: impl IntoIterator<Item = &'a Flag>) -> String {
    let line = |flag: &Flag| {
        let value = if flag.takes_value { format!(" <{}>", flag.value_name) } else { String::new() };
        format!("  {:<46} {}\n", flag.shown() + &value, flag.help)
    };
    flags.into_iter().map(line).collect()
}
