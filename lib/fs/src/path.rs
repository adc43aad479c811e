//! Names of files: a scheme, an authority and an absolute, normalised path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::FsError;

/// A fully qualified name of a file or directory, such as `hdfs://namenode:8020/user/alice/in.txt`.
///
/// The path part is absolute and normalised: no empty, `.` or `..` components and no slash at the end. As in Hadoop's
/// `Path` nothing is percent-decoded: the text between the slashes is the name.
///
/// ```
/// use flumen_fs::FsPath;
/// let path: FsPath = "hdfs://nn:8020/logs//2026/./a.txt".parse()?;
/// assert_eq!(path.to_string(), "hdfs://nn:8020/logs/2026/a.txt");
/// assert_eq!(path.parent().unwrap().join("b.txt").path(), "/logs/2026/b.txt");
/// # Ok::<(), flumen_fs::FsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FsPath {
    scheme: String,
    /// `host:port`, a name service, a bucket; empty when there is none.
    authority: String,
    /// Starts with `/`.
    path: String,
}

impl FsPath {
    /// Builds a path from its parts. `path` is taken as absolute, whether it starts with a slash or not.
    ///
    /// # Errors
    /// [`FsError::BadPath`] when `path` climbs above the root or holds a NUL byte.
    pub fn new(scheme: &str, authority: &str, path: &str) -> Result<Self, FsError> {
        let bad = |reason| FsError::BadPath { path: format!("{scheme}://{authority}{path}"), reason };
        if path.contains('\0') || authority.contains('\0') {
            return Err(bad("it holds a NUL byte"));
        }
        let path = normalise(path).ok_or_else(|| bad("`..` climbs above the root"))?;
        Ok(Self { scheme: scheme.to_ascii_lowercase(), authority: authority.to_owned(), path })
    }

    /// The local file `path` as a `file://` name. A relative path is taken from `working_dir`.
    ///
    /// # Errors
    /// [`FsError::BadPath`] when the path is not UTF-8 or climbs above the root.
    pub fn local(path: &Path, working_dir: &Path) -> Result<Self, FsError> {
        let whole = working_dir.join(path);
        match whole.to_str() {
            Some(text) => Self::new("file", "", text),
            None => Err(FsError::BadPath { path: whole.display().to_string(), reason: "it is not UTF-8" }),
        }
    }

    /// Resolves what a user wrote: a full URI as it is, anything else against `default` (the root of the default file
    /// system, whose scheme and authority are taken) and `working_dir` (for relative paths).
    ///
    /// # Errors
    /// [`FsError::BadPath`] when the text is no path.
    pub fn resolve(text: &str, default: &FsPath, working_dir: &FsPath) -> Result<Self, FsError> {
        if text.is_empty() {
            return Err(FsError::BadPath { path: String::new(), reason: "it is empty" });
        }
        if split_scheme(text).is_some() {
            return text.parse();
        }
        if text.starts_with('/') {
            return Self::new(&default.scheme, &default.authority, text);
        }
        Self::new(&working_dir.scheme, &working_dir.authority, &format!("{}/{text}", working_dir.path))
    }

    /// The scheme in lower case: `file`, `hdfs`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// `host:port` or the name of a name service; empty when the path names none.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The absolute path inside its file system, starting with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or("")
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<FsPath> {
        if self.path == "/" {
            return None;
        }
        let parent = match self.path.rfind('/') {
            None | Some(0) => "/",
            Some(slash) => &self.path[..slash],
        };
        Some(self.with_path(parent.to_owned()))
    }

    /// This path followed by `child`: one name or several joined by slashes. A `..` that would climb above the root
    /// stays at the root.
    #[must_use]
    pub fn join(&self, child: impl AsRef<str>) -> FsPath {
        let mut parts: Vec<&str> = self.path.split('/').filter(|part| !part.is_empty()).collect();
        for part in child.as_ref().split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        self.with_path(format!("/{}", parts.join("/")))
    }

    /// The root of the file system that this path is in.
    #[must_use]
    pub fn root(&self) -> FsPath {
        self.with_path("/".to_owned())
    }

    /// Whether this path is `directory` or lies below it.
    pub fn is_within(&self, directory: &FsPath) -> bool {
        let same_system = self.scheme == directory.scheme && self.authority == directory.authority;
        let below = match self.path.strip_prefix(directory.path.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || directory.path == "/",
            None => false,
        };
        same_system && below
    }

    /// The path on this machine when the scheme is `file`.
    pub fn to_local(&self) -> Option<PathBuf> {
        (self.scheme == "file").then(|| PathBuf::from(&self.path))
    }

    /// The same file system and another path, which must be normalised.
    pub(crate) fn with_path(&self, path: String) -> FsPath {
        debug_assert!(path.starts_with('/'));
        Self { scheme: self.scheme.clone(), authority: self.authority.clone(), path }
    }
}

impl fmt::Display for FsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

/// Parses a full URI: `scheme://authority/path`, `scheme:///path` or `scheme:/path`.
impl FromStr for FsPath {
    type Err = FsError;

    fn from_str(text: &str) -> Result<Self, FsError> {
        let bad = |reason| FsError::BadPath { path: text.to_owned(), reason };
        let (scheme, rest) = split_scheme(text).ok_or_else(|| bad("it has no scheme such as hdfs:// or file://"))?;
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
            None if rest.starts_with('/') => ("", rest),
            None => return Err(bad("after the scheme's colon an absolute path must follow")),
        };
        if scheme.eq_ignore_ascii_case("file") && !matches!(authority, "" | "localhost") {
            return Err(bad("a file:// path names a host; write file:/// with three slashes"));
        }
        let authority = if scheme.eq_ignore_ascii_case("file") { "" } else { authority };
        Self::new(scheme, authority, path)
    }
}

/// Splits at the scheme's colon: the first colon that stands before any slash, after a valid scheme name.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.chars();
    let valid = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    valid.then_some((scheme, rest))
}

/// Collapses slashes and `.`, resolves `..`; `None` when that climbs above the root.
fn normalise(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FsPath {
        text.parse().unwrap()
    }

    #[test]
    fn uris_are_split_and_normalised() {
        let cases = [
            ("hdfs://nn:8020/a//b/./c/", "hdfs", "nn:8020", "/a/b/c"),
            ("HDFS://ns", "hdfs", "ns", "/"),
            ("hdfs:///a", "hdfs", "", "/a"),
            ("file:/a/../b", "file", "", "/b"),
            ("file://localhost/a", "file", "", "/a"),
            ("s3a://bucket/a b%20c:d", "s3a", "bucket", "/a b%20c:d"),
        ];
        for (text, scheme, authority, inside) in cases {
            let path = path(text);
            assert_eq!((path.scheme(), path.authority(), path.path()), (scheme, authority, inside), "{text}");
            assert_eq!(path.to_string().parse::<FsPath>().unwrap(), path, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "/a", "a/b:c", "hdfs:a", "file://host/a", "hdfs://nn/../a", "hdfs://nn/a\0b", "1x:/a"] {
            assert!(text.parse::<FsPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn parents_children_and_names() {
        let deep = path("hdfs://nn/a/b");
        assert_eq!(deep.name(), "b");
        assert_eq!(deep.parent(), Some(path("hdfs://nn/a")));
        assert_eq!(path("hdfs://nn/a").parent(), Some(path("hdfs://nn/")));
        assert_eq!(path("hdfs://nn/").parent(), None);
        assert_eq!(path("hdfs://nn/").name(), "");
        assert_eq!(deep.join("c/../d"), path("hdfs://nn/a/b/d"));
        assert_eq!(deep.join("../../../x"), path("hdfs://nn/x"));
    }

    #[test]
    fn a_path_is_within_itself_and_its_parents_only() {
        let cases =
            [("/a/b", "/a", true), ("/a", "/a", true), ("/ab", "/a", false), ("/a", "/", true), ("/", "/a", false)];
        for (inner, outer, expected) in cases {
            let on_hdfs = |inside: &str| path(&format!("hdfs://nn{inside}"));
            assert_eq!(on_hdfs(inner).is_within(&on_hdfs(outer)), expected, "{inner} in {outer}");
        }
        assert!(!path("hdfs://other/a").is_within(&path("hdfs://nn/a")));
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "(hdfs|file|x1)?:?/{0,3}[a-z.:\\PC]{0,8}(/[.]{0,3}[a-z\\PC]{0,3}){0,4}") {
            if let Ok(path) = text.parse::<FsPath>() {
                proptest::prop_assert_eq!(path.to_string().parse::<FsPath>().unwrap(), path);
            }
        }
    }
}
