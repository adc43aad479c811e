//! What all processes share.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileStatus, FsError, FsPath};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// `None` for a directory.
    content: Option<Bytes>,
    permission: u16,
}

/// Files and directories by path; every method is one atomic step, as at a NameNode.
#[derive(Clone)]
pub struct Disk {
    nodes: Arc<Mutex<BTreeMap<String, Node>>>,
    late: Arc<Mutex<Vec<Late>>>,
}

/// An operation that takes place after some more operations of anybody.
struct Late {
    after: usize,
    operation: Box<dyn FnOnce(&Disk) + Send>,
}

fn missing(path: &FsPath) -> FsError {
    FsError::NotFound { path: path.to_string() }
}

fn exists(path: &FsPath) -> FsError {
    FsError::AlreadyExists { path: path.to_string() }
}

fn not_a_directory(path: &FsPath) -> FsError {
    FsError::NotADirectory { path: path.to_string() }
}

pub fn no_answer(path: &FsPath) -> FsError {
    FsError::Timeout { operation: "asking for", path: path.to_string(), after: Duration::from_secs(1) }
}

fn below(path: &FsPath) -> String {
    format!("{}/", path.path().trim_end_matches('/'))
}

impl Disk {
    pub fn new() -> Self {
        let root = Node { content: None, permission: 0o755 };
        let nodes = BTreeMap::from([("/".to_owned(), root)]);
        Self { nodes: Arc::new(Mutex::new(nodes)), late: Arc::default() }
    }

    /// All paths, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.nodes().keys().cloned().collect()
    }

    /// Lets an operation take place after `after` more calls of anybody.
    pub fn later(&self, after: usize, operation: impl FnOnce(&Disk) + Send + 'static) {
        self.late.lock().unwrap().push(Late { after, operation: Box::new(operation) });
    }

    /// To be called before each operation.
    pub fn tick(&self) {
        let mut due = Vec::new();
        {
            let mut late = self.late.lock().unwrap();
            for index in (0..late.len()).rev() {
                match late[index].after.checked_sub(1) {
                    Some(rest) => late[index].after = rest,
                    None => due.push(late.remove(index)),
                }
            }
        }
        for late in due {
            (late.operation)(self);
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap()
    }

    fn node(&self, path: &FsPath) -> Result<Node, FsError> {
        self.nodes().get(path.path()).cloned().ok_or_else(|| missing(path))
    }

    pub fn status(&self, path: &FsPath) -> Result<FileStatus, FsError> {
        let node = self.node(path)?;
        Ok(FileStatus {
            path: path.clone(),
            len: node.content.as_ref().map_or(0, |content| content.len() as u64),
            is_dir: node.content.is_none(),
            modified_ms: 1_700_000_000_000,
            permission: node.permission,
            owner: "me".to_owned(),
            group: "us".to_owned(),
        })
    }

    pub fn list(&self, directory: &FsPath) -> Result<Vec<FileStatus>, FsError> {
        if self.node(directory)?.content.is_some() {
            return Err(not_a_directory(directory));
        }
        let prefix = below(directory);
        let names: Vec<_> = {
            let nodes = self.nodes();
            let inside = nodes.keys().filter_map(|path| path.strip_prefix(&prefix));
            inside.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect()
        };
        names.iter().map(|name| self.status(&directory.join(name))).collect()
    }

    pub fn read(&self, path: &FsPath) -> Result<Bytes, FsError> {
        self.node(path)?.content.ok_or_else(|| FsError::IsADirectory { path: path.to_string() })
    }

    /// Makes an empty file, and its parents.
    pub fn create(&self, path: &FsPath, options: &CreateOptions) -> Result<(), FsError> {
        self.make_parents(path)?;
        let node = Node { content: Some(Bytes::new()), permission: options.permission.unwrap_or(0o644) };
        match self.nodes().entry(path.path().to_owned()) {
            Entry::Occupied(there) if there.get().content.is_none() || !options.overwrite => return Err(exists(path)),
            Entry::Occupied(mut there) => drop(there.insert(node)),
            Entry::Vacant(free) => drop(free.insert(node)),
        }
        Ok(())
    }

    /// Gives a file that was created its content.
    pub fn fill(&self, path: &FsPath, content: Bytes) -> Result<(), FsError> {
        match self.nodes().get_mut(path.path()) {
            Some(node) if node.content.is_some() => node.content = Some(content),
            _ => return Err(missing(path)),
        }
        Ok(())
    }

    pub fn rename(&self, from: &FsPath, to: &FsPath, overwrite: bool) -> Result<(), FsError> {
        let node = self.node(from)?;
        let parent = to.parent().ok_or_else(|| exists(to))?;
        if self.node(&parent)?.content.is_some() {
            return Err(not_a_directory(&parent));
        }
        if self.node(to).is_ok() {
            if !overwrite {
                return Err(exists(to));
            }
            if !self.list(to).unwrap_or_default().is_empty() {
                return Err(FsError::NotEmpty { path: to.to_string() });
            }
        }
        let mut nodes = self.nodes();
        nodes.remove(from.path());
        nodes.insert(to.path().to_owned(), node);
        let (old, new) = (below(from), below(to));
        let inside: Vec<_> = nodes.keys().filter(|path| path.starts_with(&old)).cloned().collect();
        for path in inside {
            let node = nodes.remove(&path).unwrap();
            nodes.insert(path.replacen(&old, &new, 1), node);
        }
        Ok(())
    }

    pub fn delete(&self, path: &FsPath, recursive: bool) -> Result<bool, FsError> {
        if path.path() == "/" {
            return Err(FsError::BadPath { path: path.to_string(), reason: "the root" });
        }
        if self.node(path).is_err() {
            return Ok(false);
        }
        if !recursive && !self.list(path).unwrap_or_default().is_empty() {
            return Err(FsError::NotEmpty { path: path.to_string() });
        }
        let inside = below(path);
        self.nodes().retain(|other, _| other != path.path() && !other.starts_with(&inside));
        Ok(true)
    }

    pub fn mkdirs(&self, path: &FsPath, permission: Option<u16>) -> Result<(), FsError> {
        self.make_parents(path)?;
        match self.nodes().entry(path.path().to_owned()) {
            Entry::Occupied(there) if there.get().content.is_some() => return Err(exists(path)),
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => {
                free.insert(Node { content: None, permission: permission.unwrap_or(0o755) });
            }
        }
        Ok(())
    }

    fn make_parents(&self, path: &FsPath) -> Result<(), FsError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        match self.node(&parent) {
            Ok(node) if node.content.is_some() => Err(not_a_directory(&parent)),
            Ok(_) => Ok(()),
            Err(_) => self.mkdirs(&parent, None).map_err(|_| not_a_directory(&parent)),
        }
    }
}
