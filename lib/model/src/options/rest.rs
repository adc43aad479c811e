//! What the REST interface of a JobManager takes, and how the command line is let in.

use super::section;
use crate::config::MemorySize;

section! { "REST";
    AUTHORIZATION: bool = "rest.authorization.enabled", Some("true"), [],
        "Whether a request that changes something needs the application's token. Without it everybody who reaches the port cancels jobs and runs programs as this user.";
    TOKEN_FILE: String = "rest.client.token-file", None, [],
        "File that holds the token of the JobManager that `-m host:port` names, for the command line where the staging directory is out of reach.";
    MAX_CONTENT_LENGTH: MemorySize = "rest.server.max-content-length", Some("512 mb"), [],
        "Largest program that may be uploaded over REST: executables with debug information are larger than jars. A number without a unit is in bytes.";
    WEB_SUBMIT: bool = "web.submit.enable", Some("true"), [],
        "Whether a session takes programs over REST (`/jars`).";
    UPLOAD_DIR: String = "web.upload.dir", None, [],
        "Directory on the JobManager's node in which uploaded programs are kept, in `flink-web-upload`. Default: the container's working directory, which goes with it.";
}
