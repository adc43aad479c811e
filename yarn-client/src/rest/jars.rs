//! Programs that a session is given over REST alone.

use flumen_model::config::Configuration;
use flumen_model::options::rest::MAX_CONTENT_LENGTH;
use reqwest::Method;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use super::{Master, RestError};

/// `POST /jars/upload`.
#[derive(Deserialize)]
struct Uploaded {
    filename: String,
}

/// `POST /jars/:jarid/run`.
#[derive(Deserialize)]
struct Run {
    jobid: String,
}

/// One entry of `GET /jobmanager/config`.
#[derive(Deserialize)]
struct Entry {
    key: String,
    value: String,
}

impl Master {
    /// Whether it takes a program of that many bytes from this client. Asked before the program is sent: a refusal that comes
    /// while a large body is under way goes down with the connection.
    ///
    /// # Errors
    /// [`RestError`], or what is wrong with the size.
    pub async fn takes_upload(&self, bytes: u64) -> anyhow::Result<()> {
        match self.ask(self.change(Method::POST, "/jars/upload")).await {
            // No program in it, which is all that is wrong with it.
            Err(RestError::Refused { status: StatusCode::BAD_REQUEST, .. }) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let entries: Vec<Entry> = self.read(self.request(Method::GET, "/jobmanager/config")).await?;
        let mut config = Configuration::new();
        entries.into_iter().for_each(|Entry { key, value }| config.set(key, value));
        let most = config.get(&MAX_CONTENT_LENGTH)?;
        anyhow::ensure!(
            bytes <= most.0,
            "it has {bytes} bytes, and the session takes {most} at most ({}); build it with less debug information, or set \
             HADOOP_CONF_DIR, so that it is staged and not uploaded",
            MAX_CONTENT_LENGTH.key
        );
        Ok(())
    }

    /// Uploads a program. Returns its id.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn upload(&self, name: &str, content: &[u8]) -> Result<String, RestError> {
        let (kind, body) = form(&uuid::Uuid::new_v4().simple().to_string(), name, content);
        let request = self.change(Method::POST, "/jars/upload").header(CONTENT_TYPE, kind).body(body);
        let uploaded: Uploaded = self.read(request).await?;
        // The id is the file's name; Flink tells the whole path.
        Ok(uploaded.filename.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Runs an uploaded program. Returns the id of its job.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn run_uploaded(&self, id: &str, body: &Value) -> Result<String, RestError> {
        let run: Run = self.read(self.change(Method::POST, &format!("/jars/{id}/run")).json(body)).await?;
        Ok(run.jobid)
    }

    /// Removes an uploaded program; a job that runs it is not concerned.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn remove_uploaded(&self, id: &str) -> Result<(), RestError> {
        self.ask(self.change(Method::DELETE, &format!("/jars/{id}"))).await.map(drop)
    }
}

/// A form with one file, and its type. The boundary must not occur in the file.
fn form(boundary: &str, name: &str, content: &[u8]) -> (String, Vec<u8>) {
    // What would end the quoted name is not in any name that the other side keeps.
    let name = name.replace(['"', '\\', '\r', '\n'], "_");
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"jarfile\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let body = [head.as_bytes(), content, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_holds_the_file_as_it_is() {
        let (kind, body) = form("XX", "my \"program\"", b"\x7fELF\0");
        assert_eq!(kind, "multipart/form-data; boundary=XX");
        let expected = b"--XX\r\nContent-Disposition: form-data; name=\"jarfile\"; filename=\"my _program_\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\x7fELF\0\r\n--XX--\r\n";
        assert_eq!(body, expected);
    }
}
