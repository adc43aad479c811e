//! `flink completion <shell>`: a script that completes actions and options, made of their declarations.

use super::flags::{Flag, dashed, flags};
use super::{UsageError, actions, help, session};

/// What is completed: a command or action, and its options.
struct Completed {
    name: &'static str,
    flags: Vec<Flag>,
}

/// The script for the shell that is named.
pub(super) fn parse(words: &[String]) -> Result<String, UsageError> {
    let shell = match words {
        [shell] => shell.as_str(),
        _ => "",
    };
    let actions: Vec<_> =
        actions().iter().map(|about| Completed { name: about.name, flags: help::shown(about) }).collect();
    let session = Completed { name: "yarn-session.sh", flags: flags(&session::command()) };
    match shell {
        "bash" => Ok(bash(&actions, &session)),
        "zsh" => Ok(zsh(&actions, &session)),
        "fish" => Ok(fish(&actions, &session)),
        other => Err(UsageError(format!("`{other}` is not a shell that is known: flink completion bash|zsh|fish"))),
    }
}

/// All spellings, with their dashes.
fn spellings(completed: &Completed) -> String {
    let names = completed.flags.iter().flat_map(|flag| &flag.names);
    names.map(|name| dashed(name)).collect::<Vec<_>>().join(" ")
}

fn names(actions: &[Completed]) -> String {
    let names = actions.iter().map(|action| action.name).chain(["completion", "--help", "--version"]);
    names.collect::<Vec<_>>().join(" ")
}

fn cases(actions: &[Completed]) -> String {
    let case = |action: &Completed| format!("    {}) options='{}' ;;\n", action.name, spellings(action));
    actions.iter().map(case).collect()
}

/// Actions that are given a job's id.
const OF_JOBS: [&str; 4] = ["cancel", "stop", "savepoint", "checkpoint"];

/// Prints the ids of running jobs, in any shell: of the session that the command finds without an address. A shell waits for
/// that with each Tab, so not for long.
fn running_jobs(command: &str) -> String {
    format!("timeout 3 {command} list -r 2>/dev/null | sed -n 's/.* : \\([0-9a-f]\\{{32\\}}\\) : .*/\\1/p'")
}

fn bash(actions: &[Completed], session: &Completed) -> String {
    format!(
        "# flink completion bash >> ~/.bashrc\n\
         _flink() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} options=\n  \
         if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '{}' -- \"$word\"))\n    return\n  fi\n  \
         case ${{COMP_WORDS[1]}} in\n{}    completion) options='bash zsh fish' ;;\n  esac\n  \
         case $word in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n    \
         *) case ${{COMP_WORDS[1]}} in\n      \
         completion) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n      \
         {}) COMPREPLY=($(compgen -W \"$({})\" -- \"$word\") $(compgen -f -- \"$word\")) ;;\n      \
         *) COMPREPLY=($(compgen -f -- \"$word\")) ;;\n    esac ;;\n  esac\n}}\n\
         _yarn_session() {{\n  case ${{COMP_WORDS[COMP_CWORD]}} in\n    \
         -*) COMPREPLY=($(compgen -W '{}' -- \"${{COMP_WORDS[COMP_CWORD]}}\")) ;;\n    \
         *) COMPREPLY=($(compgen -f -- \"${{COMP_WORDS[COMP_CWORD]}}\")) ;;\n  esac\n}}\n\
         complete -o filenames -F _flink flink\ncomplete -o filenames -F _yarn_session yarn-session.sh",
        names(actions),
        cases(actions),
        OF_JOBS.join("|"),
        running_jobs("\"${COMP_WORDS[0]}\""),
        spellings(session)
    )
}

fn zsh(actions: &[Completed], session: &Completed) -> String {
    format!(
        "# flink completion zsh > a file that ~/.zshrc sources behind compinit\n\
         _flink() {{\n  local options=\n  \
         if (( CURRENT == 2 )); then\n    compadd -- {}\n    return\n  fi\n  \
         case $words[2] in\n{}    completion) compadd -- bash zsh fish; return ;;\n  esac\n  \
         if [[ $PREFIX == -* ]]; then compadd -- ${{=options}}; return; fi\n  \
         case $words[2] in {}) compadd -- $({}) ;; esac\n  _files\n}}\n\
         _yarn_session() {{\n  if [[ $PREFIX == -* ]]; then compadd -- {}; else _files; fi\n}}\n\
         compdef _flink flink\ncompdef _yarn_session yarn-session.sh",
        names(actions),
        cases(actions),
        OF_JOBS.join("|"),
        running_jobs("$words[1]"),
        spellings(session)
    )
}

fn fish(actions: &[Completed], session: &Completed) -> String {
    let mut text = "# flink completion fish > ~/.config/fish/completions/flink.fish\n".to_owned();
    text.push_str(&format!("complete -c flink -n __fish_use_subcommand -f -a '{}'\n", names(actions)));
    text.push_str("complete -c flink -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n");
    let (of_jobs, jobs) = (OF_JOBS.join(" "), running_jobs("flink").replace('\\', "\\\\").replace('\'', "\\'"));
    text.push_str(&format!("complete -c flink -n '__fish_seen_subcommand_from {of_jobs}' -a '({jobs})'\n"));
    for action in actions {
        let condition = format!(" -n '__fish_seen_subcommand_from {}'", action.name);
        action.flags.iter().for_each(|flag| text.push_str(&fish_option("flink", &condition, flag)));
    }
    session.flags.iter().for_each(|flag| text.push_str(&fish_option("yarn-session.sh", "", flag)));
    text.truncate(text.trim_end().len());
    text
}

fn fish_option(command: &str, condition: &str, flag: &Flag) -> String {
    // One letter, several letters behind one dash, and long ones have a switch each.
    let name = |name: &String| match name.len() {
        1 => format!(" -s {name}"),
        2 | 3 => format!(" -o {name}"),
        _ => format!(" -l {name}"),
    };
    let spelled: String = flag.names.iter().map(name).collect();
    let value = if flag.takes_value { " -r" } else { "" };
    format!("complete -c {command}{condition}{spelled}{value} -d '{}'\n", flag.help.replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(shell: &str) -> String {
        parse(&[shell.to_owned()]).unwrap()
    }

    #[test]
    fn every_action_and_option_is_completed_in_every_shell() {
        for (shell, parts) in [
            ("bash", ["run run-application info list", "-yjm --yarnjobManagerMemory", "-jm --jobManagerMemory"]),
            ("zsh", ["run run-application info list", "-yjm --yarnjobManagerMemory", "-jm --jobManagerMemory"]),
            (
                "fish",
                ["run run-application info list", "-o yjm -l yarnjobManagerMemory -r", "-o jm -l jobManagerMemory -r"],
            ),
        ] {
            let script = script(shell);
            parts.iter().for_each(|part| assert!(script.contains(part), "{part}: {script}"));
        }
        for words in [&[][..], &["tcsh".to_owned()]] {
            assert!(parse(words).unwrap_err().0.contains("bash|zsh|fish"));
        }
    }

    #[test]
    fn bash_completes_what_was_begun() {
        let dir = tempfile::tempdir().unwrap();
        let listed = "#!/bin/sh\n[ \"$*\" = 'list -r' ] && echo '21.11.2026 10:00:00 : 00000000000000000000000000000abc : \
                      count (RUNNING)'\necho 'other : words : (RUNNING)'\n";
        let command = dir.path().join("flink");
        std::fs::write(&command, listed).unwrap();
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let probe = format!(
            "{}\ncomplete_words() {{ COMP_WORDS=(flink \"$@\"); COMP_CWORD=$#; COMPREPLY=(); _flink; echo \"${{COMPREPLY[*]}}\"; }}\n\
             complete_words sav\ncomplete_words run -yj\ncomplete_words completion z\n\
             complete_words cancel 000\n",
            script("bash")
        );
        let output = std::process::Command::new("bash").args(["-c", &probe]).env("PATH", path).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            printed,
            "savepoint\n-yjm -yj\nzsh\n00000000000000000000000000000abc\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
