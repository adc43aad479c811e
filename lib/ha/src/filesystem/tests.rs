//! The store in files of this machine.

use std::path::Path;
use std::sync::Arc;

use flumen_fs::{FileSystems, FsOptions, FsPath};

use super::*;
use crate::conformance;

fn opened(directory: &Path, cluster: &str) -> Arc<dyn HaStore> {
    let systems = FileSystems::new(FsOptions::default()).unwrap();
    let directory = FsPath::local(Path::new(cluster), directory).unwrap();
    Arc::new(FileSystemStore::new(systems.get(&directory).unwrap(), directory))
}

#[tokio::test]
async fn local_files_conform_and_nothing_is_left() {
    let scratch = tempfile::tempdir().unwrap();
    conformance::check_all(&|cluster| opened(scratch.path(), cluster)).await;
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn data_of_another_version_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(scratch.path().join("a/ha-2/1.a.1.t")).unwrap();
    let refused = opened(scratch.path(), "a").campaign(&conformance::attempt(1)).await.unwrap_err();
    assert!(refused.to_string().contains("another version"), "{refused}");
}

#[tokio::test]
async fn data_that_no_leader_leaves_so_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    for (cluster, found) in [("a", &["what"][..]), ("b", &["1.x.1.t", "2.x.1.t"])] {
        for name in found {
            std::fs::create_dir_all(scratch.path().join(cluster).join("ha-1").join(name)).unwrap();
        }
        let refused = opened(scratch.path(), cluster).campaign(&conformance::attempt(1)).await.unwrap_err();
        assert!(matches!(refused, HaError::Damaged { .. }), "{refused:?}");
        assert!(refused.to_string().contains("ha-1"), "{refused}");
    }
}

#[tokio::test]
async fn an_owner_that_can_not_stand_in_a_name_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    for owner in ["", "a.b", "a/b"] {
        let candidate = Candidate { owner: owner.to_owned(), attempt: 1, replaces: None, follows: false };
        let refused = opened(scratch.path(), "a").campaign(&candidate).await;
        assert!(matches!(refused, Err(HaError::Setting(_))), "{refused:?}");
    }
}
