//! The files of a submission: found, hashed, staged.

use anyhow::Context as _;
use bytes::Bytes;
use flumen_fs::FsPath;
use flumen_model::options::{deployment, yarn};
use flumen_staging::{Hashed, StageError};
use flumen_wire::application::{APPLICATION_FILE, APPMASTER_FILE, Application, Purpose, StagedFile, TASKEXECUTOR_FILE};
use flumen_wire::certificate::application_pem;
use flumen_wire::control::PROTOCOL_VERSION;
use flumen_wire::tls::SECURITY_FILE;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Deployment, Prepared, ProgramFile};
use crate::hadoop;
use crate::installation;
use crate::program;
use crate::ship::{Shipped, Source};
use crate::stage::Staging;

/// Files that are hashed or uploaded at the same time.
const PARALLEL_FILES: usize = 4;

impl Deployment<'_> {
    /// Hashes what may have to be uploaded: appmaster and taskexecutor (unless they are provided), program, shipped files.
    pub(super) async fn hashed(
        &self,
        program: Option<&ProgramFile>,
        shipped: &[Shipped],
    ) -> anyhow::Result<Vec<(Hashed, String, bool)>> {
        let mut files = Vec::new();
        if let Some(file @ ProgramFile::Local(path)) = program {
            files.push((program::executable(path)?, file.name()?, false));
        }
        if self.provided()?.is_none() {
            let executables = installation::executables()?;
            files.push((executables.appmaster, APPMASTER_FILE.to_owned(), false));
            files.push((executables.taskexecutor, TASKEXECUTOR_FILE.to_owned(), false));
        }
        for file in shipped {
            if let Source::Local(path) = &file.source {
                files.push((path.clone(), file.link.clone(), file.archive));
            }
        }
        let hashing = files.into_iter().map(|(path, link, archive)| async move {
            Ok::<_, StageError>((flumen_staging::hash(&path).await?, link, archive))
        });
        Ok(stream::iter(hashing).buffered(PARALLEL_FILES).try_collect().await?)
    }

    fn provided(&self) -> anyhow::Result<Option<String>> {
        Ok(self.configuration.find(&yarn::PROVIDED_LIB_DIRS)?.filter(|dirs| !dirs.trim().is_empty()))
    }

    /// Puts everything into place. Returns what the ApplicationMaster's container needs.
    pub(super) async fn stage(
        &self,
        application: &str,
        prepared: Prepared,
        purpose: Purpose,
        token: &str,
    ) -> anyhow::Result<Vec<StagedFile>> {
        let Prepared { program, shipped, files, .. } = prepared;
        let uploads = stream::iter(files.iter().map(|(file, link, archive)| self.staging.cached(file, link, *archive)));
        let cached = async { Ok(uploads.buffered(PARALLEL_FILES).try_collect::<Vec<_>>().await?) };
        let private = async {
            self.staging.create_application_dir(application).await?;
            if !self.configuration.get(&deployment::INTERNAL_SSL)? {
                return Ok(None);
            }
            let pem = application_pem().context("the application's certificate can't be made")?;
            Ok(Some(self.staging.private(application, SECURITY_FILE, pem.into()).await?))
        };
        let remote = self.remote(program.as_ref(), &shipped);
        let shown = self.reporter.uploads(self.staging.progress());
        let staged = async { tokio::try_join!(cached, private, remote) };
        let (mut files, pem, remote) = tokio::select! {
            staged = staged => staged?,
            never = shown => match never {},
        };
        files.extend(remote);
        let (mut for_master, mut executors): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.link == APPMASTER_FILE);
        executors.extend(pem.clone());
        for_master.extend(pem);
        let mut names_for_master: Vec<String> = shipped.iter().map(|file| file.link.clone()).collect();
        if let (Purpose::Program(submission), Some(_)) = (&purpose, &program) {
            // The ApplicationMaster itself asks the program for its graph.
            names_for_master.push(submission.program.name.clone());
        }
        for_master.extend(executors.iter().filter(|file| names_for_master.contains(&file.link)).cloned());
        let described = Application {
            protocol: PROTOCOL_VERSION,
            purpose,
            configuration: self.configuration.clone(),
            hadoop: self.hadoop.expanded(),
            user: self.user.clone(),
            staging: self.staging.application_dir(application).to_string(),
            resources: executors,
            master_resources: for_master.clone(),
            rest_token: token.to_owned(),
        };
        let text = serde_json::to_vec(&described)?;
        for_master.push(self.staging.private(application, APPLICATION_FILE, Bytes::from(text)).await?);
        self.staging.publish(application).await?;
        Ok(for_master)
    }

    /// Files that are on the cluster already.
    async fn remote(&self, program: Option<&ProgramFile>, shipped: &[Shipped]) -> anyhow::Result<Vec<StagedFile>> {
        let systems = hadoop::program_file_systems(self.configuration, &self.hadoop, &self.user)?;
        let mut wanted: Vec<(String, FsPath, bool)> = Vec::new();
        if let Some(file @ ProgramFile::Remote(url)) = program {
            wanted.push((file.name()?, systems.resolve(url)?, false));
        }
        for file in shipped {
            if let Source::Remote(url) = &file.source {
                wanted.push((file.link.clone(), systems.resolve(url)?, file.archive));
            }
        }
        if let Some(dirs) = self.provided()? {
            for name in [APPMASTER_FILE, TASKEXECUTOR_FILE] {
                let path = self.provided_file(&dirs, name).await?;
                wanted.push((name.to_owned(), path, false));
            }
        }
        let mut found = Vec::new();
        for (link, path, archive) in wanted {
            let fs = systems.get(&path)?;
            found.push(
                Staging::remote(&*fs, &path, &link, archive)
                    .await
                    .context("a file for the containers can't be used")?,
            );
        }
        Ok(found)
    }

    /// The first of the directories in `yarn.provided.lib.dirs` that has the file.
    async fn provided_file(&self, dirs: &str, name: &str) -> anyhow::Result<FsPath> {
        let systems = hadoop::program_file_systems(self.configuration, &self.hadoop, &self.user)?;
        for dir in dirs.split(';').map(str::trim).filter(|dir| !dir.is_empty()) {
            let path = systems.resolve(dir)?.join(name);
            if systems.get(&path)?.exists(&path).await? {
                return Ok(path);
            }
        }
        anyhow::bail!("`{name}` is in none of the directories of yarn.provided.lib.dirs (`{dirs}`)")
    }
}
