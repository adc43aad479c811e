//! `yarn-session.sh`: its options are those of `flink run -m yarn-cluster` without the `y`.

use super::options::{Options, Place, YarnOptions};
use super::{Command, UsageError, flags, help};

/// A command line of `yarn-session.sh`.
#[derive(Debug)]
pub struct Session {
    /// What is to be started; the session to attach to is in [`Place::application`].
    pub options: Options,
    /// `-f6` was given.
    pub flip6: bool,
}

/// The options, with Flink's names. The comments are the help text.
#[derive(Debug, Default, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
struct SessionOptions {
    /// Type of the application
    #[arg(long = "applicationType", alias = "at", value_name = "type")]
    application_type: Option<String>,
    /// A configuration value, key=value; may be repeated
    #[arg(short = 'D', value_name = "key=value")]
    properties: Vec<String>,
    /// Return as soon as the session can be used
    #[arg(short = 'd', long = "detached")]
    detached: bool,
    /// Show this help
    #[arg(short = 'h', long = "help")]
    help: bool,
    /// Attach to this running session
    #[arg(long = "applicationId", alias = "id", value_name = "id")]
    application: Option<String>,
    /// Accepted and ignored: Flumen's own executables are found beside this one
    #[arg(short = 'j', long = "jar", value_name = "path")]
    jar: Option<String>,
    /// Memory of the JobManager's container, in MB unless it has a unit
    #[arg(long = "jobManagerMemory", alias = "jm", value_name = "size")]
    jobmanager_memory: Option<String>,
    /// yarn-cluster, which is where sessions are
    #[arg(short = 'm', long = "jobmanager", value_name = "address")]
    jobmanager: Option<String>,
    /// Accepted and ignored: containers are started for the slots that jobs need
    #[arg(short = 'n', long = "container", value_name = "number")]
    containers: Option<String>,
    /// Node label of the application's containers
    #[arg(long = "nodeLabel", alias = "nl", value_name = "label")]
    node_label: Option<String>,
    /// Name of the application
    #[arg(long = "name", alias = "nm", value_name = "name")]
    name: Option<String>,
    /// Show the cluster's nodes, memory, cores and queues
    #[arg(short = 'q', long = "query")]
    query: bool,
    /// Queue of the application
    #[arg(long = "queue", alias = "qu", value_name = "queue")]
    queue: Option<String>,
    /// Slots of each TaskManager
    #[arg(short = 's', long = "slots", value_name = "number")]
    slots: Option<u32>,
    /// Accepted and ignored: streaming is the default
    #[arg(long = "streaming", alias = "st")]
    streaming: bool,
    /// A file or directory to ship to every container; may be repeated
    #[arg(short = 't', long = "ship", value_name = "path")]
    ship: Vec<String>,
    /// Memory of a TaskManager's container, in MB unless it has a unit
    #[arg(long = "taskManagerMemory", alias = "tm", value_name = "size")]
    taskmanager_memory: Option<String>,
    /// Namespace of high availability (high-availability.cluster-id)
    #[arg(short = 'z', long = "zookeeperNamespace", value_name = "namespace")]
    namespace: Option<String>,
    /// Accepted and ignored: there is no other mode
    #[arg(long = "flip6", alias = "f6")]
    flip6: bool,
}

/// Takes the words behind `yarn-session.sh` apart.
pub(super) fn parse(words: &[String]) -> Result<Command, UsageError> {
    let known = flags::flags(&command());
    let mut rewritten = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') || word == "-" {
            return Err(UsageError(format!("`{word}` belongs to no option of yarn-session.sh; --help lists them")));
        }
        rewritten.push(flags::rewrite(&known, word, &mut words)?);
    }
    let typed: SessionOptions = flags::read(rewritten)?;
    if typed.help {
        return Ok(Command::Print(help_text()));
    }
    Ok(Command::Session(Box::new(meant(typed))))
}

/// The declared options, for help and completion.
pub(super) fn command() -> clap::Command {
    <SessionOptions as clap::CommandFactory>::command()
}

fn help_text() -> String {
    let text = format!(
        "yarn-session.sh [OPTIONS]\n\nStarts a session on YARN, or attaches to one (-id).\n\nOptions:\n{}\n\
         While attached, standard input takes the commands `help` and `stop`; `echo stop | yarn-session.sh -id <id>` ends a\n\
         session.",
        help::listed(&flags::flags(&command()))
    );
    text
}

fn meant(typed: SessionOptions) -> Session {
    let yarn = YarnOptions {
        jobmanager_memory: typed.jobmanager_memory,
        taskmanager_memory: typed.taskmanager_memory,
        slots: typed.slots,
        queue: typed.queue,
        name: typed.name,
        application_type: typed.application_type,
        node_label: typed.node_label,
        ship: typed.ship,
        query: typed.query,
        containers: typed.containers,
        jar: typed.jar,
        streaming: typed.streaming,
        detached: false,
    };
    let place = Place {
        properties: typed.properties,
        jobmanager: typed.jobmanager,
        application: typed.application,
        namespace: typed.namespace,
        ..Place::default()
    };
    Session { options: Options { detached: typed.detached, place, yarn, ..Options::default() }, flip6: typed.flip6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Session, String> {
        let line = format!("yarn-session {line}");
        match super::super::parse(line.split_whitespace().map(Into::into)) {
            Ok(Command::Session(session)) => Ok(*session),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.0),
        }
    }

    #[test]
    fn short_and_long_spellings_of_all_versions_say_the_same() {
        let short = "-n 2 -jm 300 -tm 1g -s 3 -qu q -nm name -at type -nl gpu -d -t a -t b -j jar -Dk=v -z ns -st -m yarn-cluster";
        let long = "--container 2 --jobManagerMemory 300 --taskManagerMemory=1g --slots 3 --queue q --name name \
                    --applicationType type --nodeLabel gpu --detached --ship a --ship b --jar jar -D k=v \
                    --zookeeperNamespace ns --streaming --jobmanager yarn-cluster";
        let (short, long) = (parsed(short).unwrap(), parsed(long).unwrap());
        assert_eq!((&short.options.yarn, &short.options.place), (&long.options.yarn, &long.options.place));
        let (yarn, place) = (&short.options.yarn, &short.options.place);
        assert_eq!((yarn.jobmanager_memory.as_deref(), yarn.taskmanager_memory.as_deref()), (Some("300"), Some("1g")));
        assert_eq!((yarn.slots, yarn.queue.as_deref(), yarn.name.as_deref()), (Some(3), Some("q"), Some("name")));
        assert_eq!((yarn.application_type.as_deref(), yarn.node_label.as_deref()), (Some("type"), Some("gpu")));
        assert_eq!((yarn.ship.len(), place.properties.len(), place.namespace.as_deref()), (2, 1, Some("ns")));
        assert!(short.options.detached && yarn.streaming && !yarn.query);
        assert_eq!(
            parsed("-id application_1_2").unwrap().options.place.application.as_deref(),
            Some("application_1_2")
        );
        assert!(parsed("-q").unwrap().options.yarn.query && parsed("-f6").unwrap().flip6);
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (line, part) in [
            ("-yjm 5", "did you mean `-jm`"),
            ("start", "belongs to no option"),
            ("-s", "-s,--slots needs a value"),
            ("-s few", "-s,--slots is `few`, which is not a whole number"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        let help = super::super::parse(["yarn-session".into(), "-h".into()]).unwrap();
        assert!(matches!(help, Command::Print(text) if text.contains("-jm,--jobManagerMemory <size>")));
    }
}
