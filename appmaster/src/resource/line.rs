//! The line to YARN: there, or not while a standby JobManager leads. Then nothing is told and nothing heard; what is asked for
//! meanwhile is asked for again by the next attempt of the ApplicationMaster.

use flumen_hadoop::yarn::{AmError, Container, ContainerAsk, ContainerId, FinalStatus};

use super::fit::Cluster;
use super::yarn::{Yarn, YarnEvent};

/// See the module.
pub enum Line {
    /// To the ResourceManager.
    Yarn(Box<Yarn>),
    /// There is none.
    None,
}

impl Line {
    fn yarn(&mut self) -> Option<&mut Yarn> {
        match self {
            Self::Yarn(yarn) => Some(yarn),
            Self::None => None,
        }
    }

    /// [`Yarn::ask`].
    pub fn ask(&mut self, ask: ContainerAsk) {
        if let Some(yarn) = self.yarn() {
            yarn.ask(ask);
        }
    }

    /// [`Yarn::release`].
    pub fn release(&mut self, id: ContainerId) {
        self.yarn().into_iter().for_each(|yarn| yarn.release(id));
    }

    /// [`Yarn::launch`].
    pub fn launch(&mut self, container: Container) {
        if let Some(yarn) = self.yarn() {
            yarn.launch(container);
        }
    }

    /// [`Yarn::inspect_cluster`].
    pub fn inspect_cluster(&mut self, inspection: impl Future<Output = Option<Cluster>> + 'static) {
        if let Some(yarn) = self.yarn() {
            yarn.inspect_cluster(inspection);
        }
    }

    /// [`Yarn::set_awaiting`].
    pub fn set_awaiting(&mut self, awaiting: bool) {
        self.yarn().into_iter().for_each(|yarn| yarn.set_awaiting(awaiting));
    }

    /// [`Yarn::set_progress`].
    pub fn set_progress(&mut self, progress: f32) {
        self.yarn().into_iter().for_each(|yarn| yarn.set_progress(progress));
    }

    /// [`Yarn::next`]; never, without one.
    pub async fn next(&mut self) -> YarnEvent {
        match self {
            Self::Yarn(yarn) => yarn.next().await,
            Self::None => std::future::pending().await,
        }
    }

    /// [`Yarn::finish`]; nothing, without one.
    ///
    /// # Errors
    /// [`AmError`] when the status may be lost.
    pub async fn finish(self, status: FinalStatus, diagnostics: &str) -> Result<(), AmError> {
        match self {
            Self::Yarn(yarn) => Box::pin(yarn.finish(status, diagnostics, "")).await,
            Self::None => Ok(()),
        }
    }
}
