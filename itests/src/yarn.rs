//! YARN from outside: the REST interfaces of the ResourceManager and the NodeManagers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::http::{checked, client, get_json, get_text};
use crate::wait;

/// The applications and containers of a cluster.
#[derive(Debug, Clone)]
pub struct Yarn {
    rm: String,
    nodes: Vec<String>,
    user: String,
}

/// What the ResourceManager says of an application.
#[derive(Debug, Clone)]
pub struct Application {
    /// `application_<timestamp>_<number>`
    pub id: String,
    /// `yarn.application.name`
    pub name: String,
    /// `yarn.application.type`
    pub kind: String,
    /// Who submitted it.
    pub user: String,
    /// Where it runs.
    pub queue: String,
    /// `NEW`, `ACCEPTED`, `RUNNING`, `FINISHED`, `FAILED`, `KILLED` …
    pub state: String,
    /// `UNDEFINED`, `SUCCEEDED`, `FAILED`, `KILLED`
    pub final_status: String,
    /// Why it ended as it did.
    pub diagnostics: String,
    /// Its page, behind the ResourceManager's proxy.
    pub tracking_url: String,
    /// Containers that it holds now, its ApplicationMaster's included.
    pub containers: u64,
    /// Everything, for what isn't above.
    pub json: Value,
}

impl Application {
    fn from_json(json: Value) -> Application {
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        Application {
            id: text("id"),
            name: text("name"),
            kind: text("applicationType"),
            user: text("user"),
            queue: text("queue"),
            state: text("state"),
            final_status: text("finalStatus"),
            diagnostics: text("diagnostics"),
            tracking_url: text("trackingUrl"),
            // -1 when it has ended.
            containers: json["runningContainers"].as_u64().unwrap_or(0),
            json,
        }
    }

    /// Whether it has ended, in whatever way.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.state.as_str(), "FINISHED" | "FAILED" | "KILLED")
    }
}

impl Yarn {
    /// The cluster of a ResourceManager and its NodeManagers (`http://host:port` each).
    #[must_use]
    pub fn new(rm: &str, nodes: &[String], user: &str) -> Yarn {
        Yarn { rm: rm.to_owned(), nodes: nodes.to_vec(), user: user.to_owned() }
    }

    /// All applications that the ResourceManager remembers, oldest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn applications(&self) -> Result<Vec<Application>> {
        let mut answer = get_json(&format!("{}/ws/v1/cluster/apps", self.rm))?;
        // Without any application, `apps` is null.
        let Value::Array(apps) = answer["apps"]["app"].take() else { return Ok(Vec::new()) };
        let mut apps: Vec<_> = apps.into_iter().map(Application::from_json).collect();
        apps.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(apps)
    }

    /// The applications that have not ended.
    ///
    /// # Errors
    /// When the ResourceManager does not answer.
    pub fn live_applications(&self) -> Result<Vec<Application>> {
        Ok(self.applications()?.into_iter().filter(|app| !app.ended()).collect())
    }

    /// The newest application with this name.
    ///
    /// # Errors
    /// When the ResourceManager does not answer.
    pub fn named(&self, name: &str) -> Result<Option<Application>> {
        Ok(self.applications()?.into_iter().rfind(|app| app.name == name))
    }

    /// One application.
    ///
    /// # Errors
    /// When the ResourceManager does not answer, or does not know it.
    pub fn application(&self, id: &str) -> Result<Application> {
        let mut answer = get_json(&format!("{}/ws/v1/cluster/apps/{id}", self.rm))?;
        Ok(Application::from_json(answer["app"].take()))
    }

    /// Waits until an application has ended.
    ///
    /// # Errors
    /// After `limit`, with its last state. That the ResourceManager does not answer meanwhile is none.
    pub fn wait_ended(&self, id: &str, limit: Duration) -> Result<Application> {
        wait::until_ok(&format!("{id} has ended"), limit, || match self.application(id) {
            Ok(app) if app.ended() => Ok(app),
            Ok(app) => Err(format!("{} with {} containers", app.state, app.containers)),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    /// Submits an application whose ApplicationMaster is a shell command, and returns its id.
    ///
    /// # Errors
    /// When the ResourceManager refuses.
    pub fn submit(&self, name: &str, command: &str) -> Result<String> {
        let apps = format!("{}/ws/v1/cluster/apps", self.rm);
        let request = client().post(format!("{apps}/new-application?user.name={}", self.user));
        let answer: Value = serde_json::from_slice(&checked(request.send()?)?.bytes()?)?;
        let id = answer["application-id"].as_str().context("no application-id in the answer")?;
        let context = json!({
            "application-id": id,
            "application-name": name,
            "am-container-spec": {"commands": {"command": command}},
        });
        let request = client().post(format!("{apps}?user.name={}", self.user)).header(CONTENT_TYPE, "application/json");
        checked(request.body(context.to_string()).send()?).with_context(|| format!("submitting {id}"))?;
        Ok(id.to_owned())
    }

    /// Kills an application, as `yarn application -kill` does.
    ///
    /// # Errors
    /// When the ResourceManager refuses.
    pub fn kill(&self, id: &str) -> Result<()> {
        let url = format!("{}/ws/v1/cluster/apps/{id}/state?user.name={}", self.rm, self.user);
        let request = client().put(url).header(CONTENT_TYPE, "application/json");
        checked(request.body(json!({"state": "KILLED"}).to_string()).send()?)
            .with_context(|| format!("killing {id}"))?;
        Ok(())
    }

    /// The containers that each NodeManager runs now: node (from 1), container id, state.
    ///
    /// # Errors
    /// When a NodeManager does not answer.
    pub fn containers(&self) -> Result<Vec<(usize, String, String)>> {
        let mut all = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let mut answer = get_json(&format!("{node}/ws/v1/node/containers"))?;
            if let Value::Array(containers) = answer["containers"]["container"].take() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                all.extend(containers.iter().map(|c| (index + 1, text(&c["id"]), text(&c["state"]))));
            }
        }
        Ok(all)
    }

    /// What the ResourceManager's proxy answers for `path` of an application's page.
    ///
    /// # Errors
    /// When the answer isn't 2xx JSON.
    pub fn through_proxy(&self, id: &str, path: &str) -> Result<Value> {
        get_json(&format!("{}/proxy/{id}{path}", self.rm))
    }

    /// The same for what is a page for people.
    ///
    /// # Errors
    /// When the answer isn't 2xx.
    pub fn page_through_proxy(&self, id: &str, path: &str) -> Result<String> {
        get_text(&format!("{}/proxy/{id}{path}", self.rm))
    }

    /// Waits until the only job of an application is in `state`, as its JobManager says through the ResourceManager's proxy.
    ///
    /// # Errors
    /// After `limit`, with what was seen last.
    pub fn wait_job_state(&self, id: &str, state: &str, limit: Duration) -> Result<()> {
        wait::until_ok(&format!("the job of {id} is {state}"), limit, || {
            match self.through_proxy(id, "/jobs/overview") {
                Ok(overview) if overview["jobs"][0]["state"] == state => Ok(()),
                Ok(overview) => Err(overview.to_string()),
                Err(error) => Err(format!("{error:#}")),
            }
        })
    }

    /// An HTTP request to the ApplicationMaster itself: method, path, token (if any). Returns the status.
    ///
    /// # Errors
    /// When it does not answer, or the application has no address.
    pub fn ask_master(&self, id: &str, method: &str, path: &str, token: Option<&str>) -> Result<u16> {
        let application = self.application(id)?;
        let address = application.json["amRPCAddress"].as_str().context("the application has no address")?.to_owned();
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        let mut request = client().request(method, format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Ok(request.send()?.status().as_u16())
    }
}
