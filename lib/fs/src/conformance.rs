//! What every [`FileSystem`] must do, as checks that run against any backend.
//!
//! Compiled for the tests of this crate, and with the feature `conformance` for tests against a real cluster:
//! `flumen_fs::conformance::check_all(&*fs, &scratch_dir).await`.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;

use crate::{CreateOptions, FileSystem, FsError, FsPath, output};

/// Runs every check, each in its own directory below `scratch`, which is made and removed.
///
/// # Panics
/// When the file system does not conform; the message names the check.
pub async fn check_all(fs: &dyn FileSystem, scratch: &FsPath) {
    let dir = |name: &str| scratch.join(name);
    a_file_holds_what_was_written(fs, &dir("content")).await;
    reads_end_with_the_file(fs, &dir("reads")).await;
    what_is_missing_is_not_found(fs, &dir("missing")).await;
    creation_is_exclusive_unless_overwriting(fs, &dir("create")).await;
    of_racing_creators_one_wins(fs, &dir("race")).await;
    files_and_directories_are_not_confused(fs, &dir("kinds")).await;
    a_listing_is_sorted_and_complete(fs, &dir("list")).await;
    renaming_replaces_only_when_told(fs, &dir("rename")).await;
    deleting_spares_full_directories(fs, &dir("delete")).await;
    directories_get_their_permission(fs, &dir("mkdirs")).await;
    patterns_find_files(fs, &dir("glob")).await;
    an_output_is_committed_once_and_as_a_whole(fs, &dir("output")).await;
    an_abandoned_output_leaves_nothing(fs, &dir("abandon")).await;
    assert!(done(fs.delete(scratch, true).await), "the scratch directory can be removed");
}

fn done<T>(result: Result<T, FsError>) -> T {
    result.unwrap_or_else(|error| panic!("unexpected error: {error} ({error:?})"))
}

/// Checks that a result is an error of the given variant.
fn refused<T: Debug>(result: Result<T, FsError>, variant: &str) {
    match result {
        Ok(value) => panic!("expected {variant}, got {value:?}"),
        Err(error) => assert!(format!("{error:?}").starts_with(variant), "expected {variant}, got {error:?}"),
    }
}

async fn put(fs: &dyn FileSystem, path: &FsPath, content: &'static str) {
    done(fs.write_fully(path, Bytes::from_static(content.as_bytes()), &CreateOptions::default()).await);
}

async fn content(fs: &dyn FileSystem, path: &FsPath) -> String {
    String::from_utf8_lossy(&done(fs.read_fully(path, 1 << 20).await)).into_owned()
}

async fn names(fs: &dyn FileSystem, dir: &FsPath) -> Vec<String> {
    done(fs.list(dir).await).iter().map(|entry| entry.path.name().to_owned()).collect()
}

async fn a_file_holds_what_was_written(fs: &dyn FileSystem, dir: &FsPath) {
    let path = dir.join("new/parent/größe 1 %20.txt");
    let mut writer = done(fs.create(&path, &CreateOptions { permission: Some(0o640), ..Default::default() }).await);
    let mut expected = BytesMut::new();
    for piece in 0..40_u32 {
        let data: Bytes = (0..100_000_u32).flat_map(|n| (n ^ piece).to_le_bytes()).take(99_991).collect();
        expected.extend_from_slice(&data);
        done(writer.write(data).await);
    }
    done(writer.write(Bytes::new()).await);
    done(writer.close().await);

    let status = done(fs.status(&path).await);
    assert_eq!((status.len, status.is_dir, status.permission), (expected.len() as u64, false, 0o640));
    assert_eq!(status.path, path);
    assert!(status.modified_ms > 1_600_000_000_000, "milliseconds since 1970: {}", status.modified_ms);
    assert_eq!(done(fs.read_fully(&path, expected.len()).await), expected.freeze());
    let limit = status.len as usize - 1;
    refused(fs.read_fully(&path, limit).await, "Other");

    let empty = dir.join("empty");
    put(fs, &empty, "").await;
    assert_eq!(done(fs.status(&empty).await).len, 0);
    assert_eq!(content(fs, &empty).await, "");
}

async fn reads_end_with_the_file(fs: &dyn FileSystem, dir: &FsPath) {
    let path = dir.join("digits");
    put(fs, &path, "0123456789").await;
    let mut reader = done(fs.open(&path).await);
    assert_eq!(reader.len(), 10);
    let cases: [(u64, usize, &str); 11] = [
        (0, 4, "0123"),
        (4, 4, "4567"),
        (8, 4, "89"),
        (10, 4, ""),
        (2, 3, "234"),
        (5, usize::MAX, "56789"),
        (11, 1, ""),
        (u64::MAX, 10, ""),
        (i64::MAX as u64, 10, ""),
        (3, 0, ""),
        (9, 1, "9"),
    ];
    for (offset, len, expected) in cases {
        assert_eq!(done(reader.read_at(offset, len).await), expected.as_bytes(), "{len} bytes at {offset}");
    }
}

async fn what_is_missing_is_not_found(fs: &dyn FileSystem, dir: &FsPath) {
    let path = dir.join("nothing");
    refused(fs.status(&path).await, "NotFound");
    refused(fs.list(&path).await, "NotFound");
    refused(fs.open(&path).await.map(|_| ()), "NotFound");
    assert!(!done(fs.exists(&path).await));
    assert!(!done(fs.delete(&path, false).await));
    assert!(!done(fs.delete(&path, true).await));
}

async fn creation_is_exclusive_unless_overwriting(fs: &dyn FileSystem, dir: &FsPath) {
    let path = dir.join("file");
    put(fs, &path, "first and longer").await;
    refused(fs.create(&path, &CreateOptions::default()).await.map(|_| ()), "AlreadyExists");
    assert_eq!(content(fs, &path).await, "first and longer");
    done(fs.write_fully(&path, Bytes::from_static(b"second"), &CreateOptions::overwriting()).await);
    assert_eq!(content(fs, &path).await, "second");
    done(fs.write_fully(&dir.join("new"), Bytes::from_static(b"n"), &CreateOptions::overwriting()).await);
    assert_eq!(content(fs, &dir.join("new")).await, "n");
}

async fn of_racing_creators_one_wins(fs: &dyn FileSystem, dir: &FsPath) {
    let path = dir.join("lock");
    let options = CreateOptions::default();
    let results = join_all((0..8).map(|_| fs.create(&path, &options))).await;
    let mut winners = 0;
    for result in results {
        match result {
            Ok(writer) => {
                winners += 1;
                done(writer.close().await);
            }
            Err(error) => assert!(error.is_already_exists(), "{error:?}"),
        }
    }
    assert_eq!(winners, 1, "exclusive creation");
}

async fn files_and_directories_are_not_confused(fs: &dyn FileSystem, dir: &FsPath) {
    let file = dir.join("file");
    put(fs, &file, "x").await;
    done(fs.mkdirs(&dir.join("sub"), None).await);
    refused(fs.open(&dir.join("sub")).await.map(|_| ()), "IsADirectory");
    refused(fs.list(&file).await, "NotADirectory");
    refused(fs.create(&file.join("below"), &CreateOptions::default()).await.map(|_| ()), "NotADirectory");
    refused(fs.mkdirs(&file.join("below"), None).await, "NotADirectory");
    refused(fs.mkdirs(&file, None).await, "AlreadyExists");
    refused(fs.create(&dir.join("sub"), &CreateOptions::default()).await.map(|_| ()), "AlreadyExists");
    assert!(fs.create(&dir.join("sub"), &CreateOptions::overwriting()).await.is_err(), "no file replaces a directory");
    assert!(done(fs.status(&dir.join("sub")).await).is_dir);
    let status = done(fs.status(dir).await);
    assert_eq!((status.is_dir, status.len), (true, 0));
    assert!(done(fs.status(&dir.root()).await).is_dir);
}

async fn a_listing_is_sorted_and_complete(fs: &dyn FileSystem, dir: &FsPath) {
    done(fs.mkdirs(dir, None).await);
    assert!(done(fs.list(dir).await).is_empty());
    for name in ["b", "a", "c/d", ".hidden"] {
        put(fs, &dir.join(name), "x").await;
    }
    assert_eq!(names(fs, dir).await, [".hidden", "a", "b", "c"]);
    let entries = done(fs.list(dir).await);
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.is_dir, entry.len)).collect();
    assert_eq!(kinds, [(false, 1), (false, 1), (false, 1), (true, 0)]);
    assert!(entries.iter().all(|entry| entry.path.parent().as_ref() == Some(dir)));
}

async fn renaming_replaces_only_when_told(fs: &dyn FileSystem, dir: &FsPath) {
    let (a, b) = (dir.join("a"), dir.join("b"));
    put(fs, &a, "a").await;
    put(fs, &b, "b").await;
    refused(fs.rename(&a, &b, false).await, "AlreadyExists");
    assert_eq!((content(fs, &a).await, content(fs, &b).await), ("a".to_owned(), "b".to_owned()));
    done(fs.rename(&a, &b, true).await);
    assert_eq!((names(fs, dir).await, content(fs, &b).await), (vec!["b".to_owned()], "a".to_owned()));
    done(fs.rename(&b, &dir.join("c"), false).await);
    refused(fs.rename(&b, &dir.join("d"), false).await, "NotFound");
    refused(fs.rename(&b, &dir.join("d"), true).await, "NotFound");
    refused(fs.rename(&dir.join("c"), &dir.join("no/parent"), false).await, "NotFound");

    put(fs, &dir.join("full/x"), "x").await;
    done(fs.rename(&dir.join("full"), &dir.join("moved"), false).await);
    assert_eq!(names(fs, &dir.join("moved")).await, ["x"]);
    put(fs, &dir.join("other/y"), "y").await;
    refused(fs.rename(&dir.join("moved"), &dir.join("other"), false).await, "AlreadyExists");
    refused(fs.rename(&dir.join("moved"), &dir.join("other"), true).await, "NotEmpty");
}

async fn deleting_spares_full_directories(fs: &dyn FileSystem, dir: &FsPath) {
    put(fs, &dir.join("sub/file"), "x").await;
    refused(fs.delete(&dir.join("sub"), false).await, "NotEmpty");
    assert!(done(fs.delete(&dir.join("sub/file"), false).await));
    assert!(done(fs.delete(&dir.join("sub"), false).await));
    put(fs, &dir.join("sub/a/b/c"), "x").await;
    assert!(done(fs.delete(&dir.join("sub"), true).await));
    assert!(!done(fs.exists(&dir.join("sub")).await));
    refused(fs.delete(&dir.root(), true).await, "BadPath");
}

async fn directories_get_their_permission(fs: &dyn FileSystem, dir: &FsPath) {
    let private = dir.join("parent/private");
    done(fs.mkdirs(&private, Some(0o700)).await);
    assert_eq!(done(fs.status(&private).await).permission, 0o700);
    done(fs.mkdirs(&private, Some(0o755)).await);
    assert_eq!(done(fs.status(&private).await).permission, 0o700, "an existing directory stays as it is");
    done(fs.mkdirs(&dir.join("shared"), Some(0o777)).await);
    assert_eq!(done(fs.status(&dir.join("shared")).await).permission, 0o777, "the umask does not count");
}

async fn patterns_find_files(fs: &dyn FileSystem, dir: &FsPath) {
    for name in ["2025/01/a.log", "2025/02/b.log", "2026/01/c.log", "2026/01/d.txt", "top.log", "odd*name"] {
        put(fs, &dir.join(name), "x").await;
    }
    let cases: [(&str, &[&str]); 9] = [
        ("*.log", &["top.log"]),
        ("*/*/*.log", &["2025/01/a.log", "2025/02/b.log", "2026/01/c.log"]),
        ("202[56]/01/?.log", &["2025/01/a.log", "2026/01/c.log"]),
        ("2026/*/*.{log,txt}", &["2026/01/c.log", "2026/01/d.txt"]),
        ("{2025/02,2026}/*", &["2025/02/b.log", "2026/01"]),
        ("top.log", &["top.log"]),
        ("odd\\*name", &["odd*name"]),
        ("*/nothing", &[]),
        ("top.log/*", &[]),
    ];
    for (pattern, expected) in cases {
        let found = done(fs.glob(&dir.join(pattern)).await);
        let expected: Vec<_> = expected.iter().map(|name| dir.join(name)).collect();
        assert_eq!(found.into_iter().map(|status| status.path).collect::<Vec<_>>(), expected, "{pattern}");
    }
    refused(fs.glob(&dir.join("a{b")).await, "BadPath");
}

async fn an_output_is_committed_once_and_as_a_whole(fs: &dyn FileSystem, dir: &FsPath) {
    let out = dir.join("out");
    done(output::prepare(fs, &out, "job-1").await);
    done(output::prepare(fs, &out, "job-1").await);
    refused(output::prepare(fs, &out, "job-2").await, "AlreadyExists");
    put(fs, &output::temporary_part(&out, 1, 0), "lost").await;
    put(fs, &output::temporary_part(&out, 2, 0), "zero").await;
    put(fs, &output::temporary_part(&out, 2, 1), "one").await;
    // A commit that crashed after its first rename is finished by the next.
    done(fs.rename(&output::temporary_part(&out, 2, 1), &output::committed_part(&out, 1), false).await);
    assert_eq!(done(output::commit(fs, &out, 2).await), 1);
    assert_eq!(done(output::commit(fs, &out, 2).await), 0);
    assert_eq!(names(fs, &out).await, ["part-0", "part-1"]);
    assert_eq!(content(fs, &output::committed_part(&out, 0)).await, "zero");
    refused(output::prepare(fs, &out, "job-1").await, "AlreadyExists");
    done(output::abandon(fs, &out).await);
    assert_eq!(names(fs, &out).await, ["part-0", "part-1"], "what is committed stays");

    put(fs, &dir.join("file"), "x").await;
    refused(output::prepare(fs, &dir.join("file"), "job-1").await, "AlreadyExists");
    done(fs.mkdirs(&dir.join("empty"), None).await);
    done(output::prepare(fs, &dir.join("empty"), "job-1").await);
    refused(output::commit(fs, &dir.join("empty"), 7).await, "NotFound");
    let claims = join_all(["a", "b", "c"].map(|job| output::prepare(fs, &out, job))).await;
    assert!(claims.iter().all(Result::is_err));
}

async fn an_abandoned_output_leaves_nothing(fs: &dyn FileSystem, dir: &FsPath) {
    let out = dir.join("out");
    done(output::prepare(fs, &out, "job-1").await);
    put(fs, &output::temporary_part(&out, 1, 0), "x").await;
    done(output::abandon(fs, &out).await);
    assert!(!done(fs.exists(&out).await));
    done(output::abandon(fs, &out).await);

    done(output::prepare(fs, &out, "job-1").await);
    put(fs, &out.join("of somebody else"), "x").await;
    done(output::abandon(fs, &out).await);
    assert_eq!(names(fs, &out).await, ["of somebody else"]);
}
