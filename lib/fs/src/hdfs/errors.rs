//! hdfs-native's errors, sorted once by what they mean to the caller.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;

use hdfs_native::HdfsError;

use crate::{FsError, FsPath};

/// Whether a failed call may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The file system decided against it: asking again gives the same answer.
    Refused,
    /// It did not take place and may succeed later.
    NotExecuted,
    /// The answer was lost: it may have taken place.
    Unknown,
    /// A DataNode, not the NameNode, gave trouble: worth a few attempts.
    Data,
    /// There are DataNodes, and none has room: somebody must make some. Worth a few attempts, for a DataNode that has just registered
    /// has not told its room yet.
    Full,
}

/// A failed call: the error for the caller, and what is known of its effect.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: FsError,
    pub(super) outcome: Outcome,
}

/// What was being done, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) operation: &'static str,
    pub(super) path: &'a FsPath,
    pub(super) user: &'a str,
}

impl Doing<'_> {
    fn unavailable(&self, reason: String) -> FsError {
        FsError::Unavailable { operation: self.operation, path: self.path.to_string(), reason }
    }

    fn other(&self, error: &HdfsError) -> FsError {
        let source = Box::new(Answer(without_stack(&error.to_string()).to_owned()));
        FsError::Other { operation: self.operation, path: self.path.to_string(), source }
    }

    /// Sorts an error of hdfs-native.
    pub(super) fn failure(&self, error: &HdfsError) -> Failure {
        let refused = |error| Failure { error, outcome: Outcome::Refused };
        let path = || self.path.to_string();
        match error {
            HdfsError::RPCError(class, text) | HdfsError::FatalRPCError(class, text) => self.rpc(error, class, text),
            HdfsError::FileNotFound(_) => refused(FsError::NotFound { path: path() }),
            HdfsError::AlreadyExists(_) => refused(FsError::AlreadyExists { path: path() }),
            HdfsError::IsADirectoryError(_) => refused(FsError::IsADirectory { path: path() }),
            HdfsError::IOError(cause) => Failure {
                outcome: if was_not_sent(cause.kind()) { Outcome::NotExecuted } else { Outcome::Unknown },
                error: self.unavailable(cause.to_string()),
            },
            HdfsError::InvalidRPCResponse(cause) => {
                Failure { error: self.unavailable(cause.to_string()), outcome: Outcome::Unknown }
            }
            HdfsError::DataTransferError(_) | HdfsError::ChecksumError | HdfsError::BlocksNotFound(_) => {
                let mut reason = first_line(&error.to_string());
                // It does not say why it closes the connection.
                if matches!(error, HdfsError::DataTransferError(_)) && ["writing", "closing"].contains(&self.operation)
                {
                    reason += ". A DataNode that is full ends like this, too: `hdfs dfsadmin -report` shows its room";
                }
                Failure { error: self.unavailable(reason), outcome: Outcome::Data }
            }
            other => refused(self.other(other)),
        }
    }

    /// Sorts what the NameNode said, by the class of the Java exception.
    fn rpc(&self, error: &HdfsError, class: &str, text: &str) -> Failure {
        let refused = |error| Failure { error, outcome: Outcome::Refused };
        let path = self.path.to_string();
        let simple_class = class.rsplit(['.', '$']).next().unwrap_or(class);
        match simple_class {
            "SafeModeException" | "RetriableException" | "StandbyException" | "NotReplicatedYetException" => {
                Failure { error: self.unavailable(first_line(text)), outcome: Outcome::NotExecuted }
            }
            "IOException" if text.contains("could only be written to") && has_nodes_without_room(text) => {
                let reason = format!(
                    "no DataNode that is up takes another block: HDFS is full, which `hdfs dfsadmin -report` shows, or all of \
                     them are overloaded; free space or add DataNodes. The NameNode says: {}",
                    first_line(text)
                );
                Failure { error: self.unavailable(reason), outcome: Outcome::Full }
            }
            // No DataNode has registered yet, as after a restart, or none of them took it from the writer.
            "IOException" if text.contains("could only be written to") => {
                let mut reason = first_line(text);
                if nodes_to_choose_from(text).is_some_and(|(running, _)| running > 0) {
                    reason += ". Each DataNode that is up was tried and is full, or can't be reached from here: \
                               `hdfs dfsadmin -report` shows their room and their addresses";
                }
                Failure { error: self.unavailable(reason), outcome: Outcome::NotExecuted }
            }
            "IOException" if text.contains("is not empty") => refused(FsError::NotEmpty { path }),
            "FileNotFoundException" if text.contains("Path is not a file") => refused(FsError::IsADirectory { path }),
            // The answer to a writer whose file was deleted, replaced or taken over.
            "FileNotFoundException" if text.contains("does not have any open files") => refused(self.other(error)),
            "FileNotFoundException" => refused(FsError::NotFound { path }),
            "AccessControlException" if text.contains("is not a directory") => refused(FsError::NotADirectory { path }),
            "AccessControlException" | "AuthorizationException" => {
                let user = self.user.to_owned();
                refused(FsError::PermissionDenied { path, user, detail: first_line(text) })
            }
            "PathIsNotEmptyDirectoryException" => refused(FsError::NotEmpty { path }),
            "ParentNotDirectoryException" | "PathIsNotDirectoryException" => refused(FsError::NotADirectory { path }),
            "FileAlreadyExistsException" | "AlreadyBeingCreatedException" => refused(FsError::AlreadyExists { path }),
            "InvalidPathException" => {
                refused(FsError::BadPath { path, reason: "the NameNode refuses the name (no component may hold `:`)" })
            }
            _ => refused(self.other(error)),
        }
    }
}

/// Whether the NameNode, which found no DataNode for a block, had some to choose from.
fn has_nodes_without_room(text: &str) -> bool {
    nodes_to_choose_from(text).is_some_and(|(running, excluded)| running > excluded)
}

/// From "There are 3 datanode(s) running and 1 node(s) are excluded in this operation": how many there are, and how many of them did not
/// take the block from the writer. None is said as "no".
fn nodes_to_choose_from(text: &str) -> Option<(u64, u64)> {
    let number_before = |mark: &str| -> Option<u64> {
        match text.split(mark).next().filter(|before| before.len() < text.len())?.split_whitespace().last()? {
            "no" => Some(0),
            number => number.parse().ok(),
        }
    };
    number_before(" datanode(s) running").zip(number_before(" node(s) are excluded"))
}

/// I/O errors that mean that the request never reached a NameNode.
fn was_not_sent(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NotConnected
    )
}

/// A Java exception's text without its stack trace.
fn without_stack(text: &str) -> &str {
    text.split("\n\tat ").next().unwrap_or(text).trim_end()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").trim_end().to_owned()
}

/// What hdfs-native said, as a cause.
#[derive(Debug)]
struct Answer(String);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Answer {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(class: &str, text: &str) -> Failure {
        let path = "hdfs://nn:8020/a".parse().unwrap();
        let doing = Doing { operation: "reading", path: &path, user: "alice" };
        doing.failure(&HdfsError::RPCError(class.to_owned(), text.to_owned()))
    }

    #[test]
    fn java_exceptions_become_typed_errors() {
        let cases = [
            ("java.io.FileNotFoundException", "File does not exist: /a", "NotFound", Outcome::Refused),
            ("java.io.FileNotFoundException", "Path is not a file: /a", "IsADirectory", Outcome::Refused),
            (
                "java.io.FileNotFoundException",
                "File /a (inode 3) Holder c does not have any open files.",
                "Other",
                Outcome::Refused,
            ),
            (
                "org.apache.hadoop.security.AccessControlException",
                "Permission denied",
                "PermissionDenied",
                Outcome::Refused,
            ),
            (
                "org.apache.hadoop.hdfs.server.namenode.SafeModeException",
                "Cannot create file/a. Name node is in safe mode.",
                "Unavailable",
                Outcome::NotExecuted,
            ),
            ("org.apache.hadoop.ipc.RetriableException", "not started", "Unavailable", Outcome::NotExecuted),
            ("java.io.IOException", "File /a could only be written to 0 of the 1", "Unavailable", Outcome::NotExecuted),
            (
                "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException",
                "`/a is non empty'",
                "NotEmpty",
                Outcome::Refused,
            ),
            ("org.apache.hadoop.fs.ParentNotDirectoryException", "/a", "NotADirectory", Outcome::Refused),
            ("java.lang.NullPointerException", "", "Other", Outcome::Refused),
        ];
        for (class, text, expected, outcome) in cases {
            let failure = rpc(class, text);
            assert!(format!("{:?}", failure.error).starts_with(expected), "{class}: {:?}", failure.error);
            assert_eq!(failure.outcome, outcome, "{class}");
        }
    }

    #[test]
    fn a_file_system_that_is_full_is_told_from_one_without_datanodes() {
        let said = |nodes: &str| {
            let text = "File /a could only be written to 0 of the 1 minReplication nodes. there are ";
            rpc("java.io.IOException", &format!("{text}{nodes} node(s) are excluded in this operation.\n\tat a.B"))
        };
        for nodes in ["1 datanode(s) running and no", "3 datanode(s) running and 2"] {
            let failure = said(nodes);
            assert_eq!(failure.outcome, Outcome::Full, "{nodes}");
            assert!(failure.error.to_string().contains("HDFS is full"), "{}", failure.error);
        }
        // Those that the writer found may be full or dead; of none nothing can be said.
        for (nodes, may_be_full) in [("0 datanode(s) running and no", false), ("2 datanode(s) running and 2", true)] {
            let failure = said(nodes);
            assert_eq!(failure.outcome, Outcome::NotExecuted, "{nodes}");
            assert_eq!(
                failure.error.to_string().contains("is full, or can't be reached"),
                may_be_full,
                "{}",
                failure.error
            );
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_open_and_a_refused_one_does_not() {
        let path = "hdfs://nn:8020/a".parse().unwrap();
        let doing = Doing { operation: "renaming", path: &path, user: "alice" };
        let outcome = |kind: ErrorKind| doing.failure(&HdfsError::IOError(kind.into())).outcome;
        assert_eq!(outcome(ErrorKind::ConnectionAborted), Outcome::Unknown);
        assert_eq!(outcome(ErrorKind::ConnectionRefused), Outcome::NotExecuted);
    }

    #[test]
    fn stack_traces_are_cut() {
        let FsError::Other { source, .. } = rpc("java.lang.Error", "boom\n\tat x.Y.z(Y.java:1)\n\tat a.B").error else {
            panic!("an unknown class is `Other`")
        };
        assert_eq!(source.to_string(), "RPC error: java.lang.Error boom");
        let FsError::PermissionDenied { detail, user, .. } =
            rpc("org.apache.hadoop.security.AccessControlException", "Permission denied: user=x\n\tat a.B").error
        else {
            panic!("access control is `PermissionDenied`")
        };
        assert_eq!((detail.as_str(), user.as_str()), ("Permission denied: user=x", "alice"));
    }
}
