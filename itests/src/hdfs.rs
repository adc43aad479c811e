//! HDFS from outside: over WebHDFS, so that what a test sees doesn't depend on the code that it tests.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use reqwest::blocking::{Body, RequestBuilder, Response};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::Value;

use crate::http::{checked, client};
use crate::wait;

/// The files of a NameNode, seen by one user.
#[derive(Debug, Clone)]
pub struct Hdfs {
    base: String,
    user: String,
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its absolute path.
    pub path: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its length in bytes.
    pub length: u64,
    /// Its permissions in octal: `755`.
    pub permission: String,
    /// Who owns it.
    pub owner: String,
    /// When it was last written, in milliseconds since 1970.
    pub modified_ms: u64,
}

impl Hdfs {
    /// The files of the NameNode at `http` (`http://host:port`), seen by `user`.
    #[must_use]
    pub fn new(http: &str, user: &str) -> Hdfs {
        Hdfs { base: format!("{http}/webhdfs/v1"), user: user.to_owned() }
    }

    /// The same files, seen by another user.
    #[must_use]
    pub fn as_user(&self, user: &str) -> Hdfs {
        Hdfs { user: user.to_owned(), ..self.clone() }
    }

    fn send(&self, method: Method, path: &str, operation: &str) -> Result<Response> {
        let url = format!("{}{}?op={operation}&user.name={}", self.base, escaped(path), self.user);
        checked(client().request(method, &url).send()?).with_context(|| format!("{operation} {path}"))
    }

    fn json(&self, method: Method, path: &str, operation: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.send(method, path, operation)?.bytes()?)?)
    }

    /// Writes `bytes` to a new file, or over an old one.
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.create(path, "", || Ok(Body::from(bytes.to_vec())))
    }

    /// Copies a local file to `path`, in blocks of `block_size` bytes (the cluster's default when `None`).
    ///
    /// # Errors
    /// What WebHDFS answers, or when the local file can't be read.
    pub fn put(&self, local: &Path, path: &str, block_size: Option<u64>) -> Result<()> {
        let file = || File::open(local).with_context(|| format!("opening {}", local.display()));
        let options = block_size.map(|size| format!("&blocksize={size}")).unwrap_or_default();
        self.create(path, &options, || Ok(Body::from(file()?)))
    }

    fn create(&self, path: &str, options: &str, body: impl Fn() -> Result<Body>) -> Result<()> {
        let answer = self.send(Method::PUT, path, &format!("CREATE&overwrite=true{options}"))?;
        let data_node = answer.headers().get(LOCATION).context("the NameNode names no DataNode")?.to_str()?;
        let request = || Ok(client().put(data_node).header(CONTENT_TYPE, "application/octet-stream").body(body()?));
        ask_data_node(request).with_context(|| format!("writing {path}"))?;
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(path, &mut bytes)?;
        Ok(bytes)
    }

    /// The text of all files directly in a folder (or of one file), in the order of their names; hidden ones (`_…`, `.…`) not.
    ///
    /// # Errors
    /// What WebHDFS answers, or when it isn't UTF-8.
    pub fn read_all(&self, path: &str) -> Result<String> {
        let mut bytes = Vec::new();
        for entry in self.list(path)? {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            if !entry.is_dir && !name.starts_with(['_', '.']) {
                self.copy(&entry.path, &mut bytes)?;
            }
        }
        String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
    }

    fn copy(&self, path: &str, to: &mut impl Write) -> Result<()> {
        let mut answer = self.send(Method::GET, path, "OPEN")?;
        // An empty file is answered by the NameNode itself.
        if let Some(data_node) = answer.headers().get(LOCATION) {
            let data_node = data_node.to_str()?;
            answer = ask_data_node(|| Ok(client().get(data_node))).with_context(|| format!("reading {path}"))?;
        }
        std::io::copy(&mut answer.by_ref(), to)?;
        Ok(())
    }

    /// What is in a folder, by name; for a file, the file itself.
    ///
    /// # Errors
    /// What WebHDFS answers; that it isn't there, too.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>> {
        let mut answer = self.json(Method::GET, path, "LISTSTATUS")?;
        let statuses = answer["FileStatuses"]["FileStatus"].take();
        let statuses = statuses.as_array().context("no FileStatus in the answer")?;
        Ok(statuses.iter().map(|status| entry(path, status)).collect())
    }

    /// Everything below a folder, files and folders; nothing when the folder isn't there.
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn tree(&self, path: &str) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        if !self.exists(path)? {
            return Ok(found);
        }
        for entry in self.list(path)? {
            let below = if entry.is_dir { self.tree(&entry.path)? } else { Vec::new() };
            found.push(entry);
            found.extend(below);
        }
        Ok(found)
    }

    /// Waits until nothing is below a folder. What a job of a session leaves is removed after its end has been told.
    ///
    /// # Errors
    /// When the limit has passed, with what is there.
    pub fn wait_empty(&self, path: &str, limit: Duration) -> Result<()> {
        wait::until_ok(&format!("nothing is in {path}"), limit, || match self.tree(path) {
            Ok(left) if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        })
    }

    /// Whether there is something at `path`.
    ///
    /// # Errors
    /// What WebHDFS answers, except that nothing is there.
    pub fn exists(&self, path: &str) -> Result<bool> {
        let url = format!("{}{}?op=GETFILESTATUS&user.name={}", self.base, escaped(path), self.user);
        let answer = client().get(url).send()?;
        if answer.status().as_u16() == 404 {
            return Ok(false);
        }
        checked(answer)?;
        Ok(true)
    }

    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn make_dir(&self, path: &str, permission: &str) -> Result<()> {
        self.json(Method::PUT, path, &format!("MKDIRS&permission={permission}"))?;
        self.set_permission(path, permission)
    }

    /// Makes the home folder `/user/<user>` of a user.
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn make_home(&self, user: &str) -> Result<()> {
        let home = format!("/user/{user}");
        self.make_dir(&home, "755")?;
        self.send(Method::PUT, &home, &format!("SETOWNER&owner={user}"))?;
        Ok(())
    }

    /// Sets the permissions (octal).
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn set_permission(&self, path: &str, permission: &str) -> Result<()> {
        self.send(Method::PUT, path, &format!("SETPERMISSION&permission={permission}"))?;
        Ok(())
    }

    /// Removes a file, or a folder and everything below it; nothing there is fine.
    ///
    /// # Errors
    /// What WebHDFS answers.
    pub fn delete(&self, path: &str) -> Result<()> {
        let answer = self.json(Method::DELETE, path, "DELETE&recursive=true")?;
        ensure!(answer["boolean"].as_bool() == Some(true) || !self.exists(path)?, "{path} could not be deleted");
        Ok(())
    }
}

/// Sends a request to a DataNode.
///
/// It keeps connections to the NameNode for 10 s. Only a request that goes over one of them shows that the NameNode was restarted
/// meanwhile: it is answered with what happened to the connection, and the next one gets a new one.
fn ask_data_node(request: impl Fn() -> Result<RequestBuilder>) -> Result<Response> {
    const BROKEN: [&str; 3] = ["EOFException", "Connection reset", "Broken pipe"];
    let mut tries = 1;
    loop {
        match checked(request()?.send()?) {
            Err(error) if tries < 4 && BROKEN.iter().any(|broken| error.to_string().contains(broken)) => tries += 1,
            answer => return answer,
        }
    }
}

fn entry(listed: &str, status: &Value) -> Entry {
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let listed = listed.trim_end_matches('/');
    // A file that is listed itself has no suffix.
    let path = match text("pathSuffix") {
        name if name.is_empty() => listed.to_owned(),
        name => format!("{listed}/{name}"),
    };
    Entry {
        path,
        is_dir: status["type"] == "DIRECTORY",
        length: status["length"].as_u64().unwrap_or_default(),
        permission: text("permission"),
        owner: text("owner"),
        modified_ms: status["modificationTime"].as_u64().unwrap_or_default(),
    }
}

/// Percent-escapes a path for a URL.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_would_misread_is_escaped() {
        assert_eq!(escaped("/a b/ö?#%.txt"), "/a%20b/%C3%B6%3F%23%25.txt");
    }

    #[test]
    fn a_listed_file_is_itself_and_a_listed_folder_its_children() {
        let status = serde_json::json!({"pathSuffix": "", "type": "FILE", "length": 3});
        assert_eq!(entry("/a/f", &status).path, "/a/f");
        let status = serde_json::json!({"pathSuffix": "f", "type": "FILE", "length": 3});
        assert_eq!(entry("/a/", &status).path, "/a/f");
    }
}
