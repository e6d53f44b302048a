//! What is in a simulated file system: as it is, and as a power failure would leave it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher as _};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use lsm_index::fs::Metadata;

use super::bytes::Bytes;

/// Of a file or a directory, whatever its names.
pub(crate) type Inode = u64;
pub(super) type Entries = Arc<BTreeMap<OsString, Inode>>;

const ROOT: Inode = 0;

/// Something at present, and on stable storage.
#[derive(Clone, Default)]
pub(super) struct Both<T> {
    pub(super) current: T,
    pub(super) synced: T,
}

#[derive(Clone)]
pub(super) enum Node {
    File(Both<Bytes>),
    Dir(Both<Entries>),
}

/// A whole file system. Clones share everything until one of them is changed.
#[derive(Clone)]
pub(crate) struct State {
    nodes: Arc<BTreeMap<Inode, Node>>,
    next: Inode,
    boot: u64,
}

/// A name in a directory that is there, and what it leads to.
struct Place {
    dir: Inode,
    name: OsString,
    found: Option<Inode>,
}

fn parts(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(ErrorKind::InvalidInput.into());
    }
    let names = components.map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(ErrorKind::InvalidInput.into()),
    });
    names.collect()
}

impl State {
    pub(super) fn new() -> Self {
        let nodes = Arc::new(BTreeMap::from([(ROOT, Node::Dir(Both::default()))]));
        Self { nodes, next: ROOT + 1, boot: 1 }
    }

    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    pub(super) fn reboot(&mut self) {
        self.boot += 1;
    }

    /// Whether nothing was changed between one and the other, a clone of it.
    pub(super) fn is_unchanged(&self, clone: &Self) -> bool {
        Arc::ptr_eq(&self.nodes, &clone.nodes)
    }

    fn node(&self, inode: Inode) -> &Node {
        self.nodes.get(&inode).expect("what has a name or is open is kept")
    }

    fn node_mut(&mut self, inode: Inode) -> &mut Node {
        let nodes = Arc::make_mut(&mut self.nodes);
        nodes.get_mut(&inode).expect("what has a name or is open is kept")
    }

    pub(super) fn file(&self, inode: Inode) -> io::Result<&Both<Bytes>> {
        match self.node(inode) {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn dir(&self, inode: Inode) -> io::Result<&Both<Entries>> {
        match self.node(inode) {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> &mut Both<Bytes> {
        match self.node_mut(inode) {
            Node::File(file) => file,
            Node::Dir(_) => panic!("inode {inode} is a directory"),
        }
    }

    pub(super) fn dir_mut(&mut self, inode: Inode) -> &mut Both<Entries> {
        match self.node_mut(inode) {
            Node::Dir(dir) => dir,
            Node::File(_) => panic!("inode {inode} is a file"),
        }
    }

    pub(super) fn set_entry(&mut self, dir: Inode, name: &OsStr, inode: Option<Inode>) {
        let entries = Arc::make_mut(&mut self.dir_mut(dir).current);
        match inode {
            Some(inode) => entries.insert(name.to_owned(), inode),
            None => entries.remove(name),
        };
    }

    fn step(&self, dir: Inode, name: &OsStr) -> io::Result<Option<Inode>> {
        Ok(self.dir(dir)?.current.get(name).copied())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        parts(path)?
            .into_iter()
            .try_fold(ROOT, |dir, name| self.step(dir, name)?.ok_or(ErrorKind::NotFound.into()))
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::IsADirectory.into());
        };
        let dir = self.find(parent)?;
        Ok(Place { dir, name: name.to_owned(), found: self.step(dir, name)? })
    }

    /// A file or directory without a name.
    fn add(&mut self, node: Node) -> Inode {
        let inode = self.next;
        self.next += 1;
        Arc::make_mut(&mut self.nodes).insert(inode, node);
        inode
    }

    pub(super) fn nameless_file(&mut self) -> Inode {
        self.add(Node::File(Both::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        if place.found.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.add(Node::Dir(Both::default()));
        self.set_entry(place.dir, &place.name, Some(inode));
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Inode> {
        let place = self.place(path)?;
        if let Some(inode) = place.found {
            return self.file(inode).map(|_| inode);
        }
        let inode = self.nameless_file();
        self.set_entry(place.dir, &place.name, Some(inode));
        Ok(inode)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Inode> {
        let inode = self.open(path)?;
        self.truncate(inode, 0);
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, target) = (self.place(from)?, self.place(to)?);
        let moved = source.found.ok_or(ErrorKind::NotFound)?;
        let is_dir = self.dir(moved).is_ok();
        if target.found == Some(moved) {
            return Ok(());
        }
        if is_dir && to.starts_with(from) {
            return Err(ErrorKind::InvalidInput.into());
        }
        match target.found.map(|replaced| self.dir(replaced)) {
            Some(Ok(_)) if !is_dir => return Err(ErrorKind::IsADirectory.into()),
            Some(Err(_)) if is_dir => return Err(ErrorKind::NotADirectory.into()),
            Some(Ok(dir)) if !dir.current.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        self.set_entry(source.dir, &source.name, None);
        self.set_entry(target.dir, &target.name, Some(moved));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        self.file(place.found.ok_or(ErrorKind::NotFound)?)?;
        self.set_entry(place.dir, &place.name, None);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        let dir = self.dir(inode)?;
        if dir.current != dir.synced {
            let dir = self.dir_mut(inode);
            dir.synced = Arc::clone(&dir.current);
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let dir = self.dir(self.find(path)?)?;
        Ok(dir.current.keys().map(|name| path.join(name)).collect())
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        Ok(match self.node(self.find(path)?) {
            Node::File(file) => Metadata { len: file.current.len() as u64, is_dir: false },
            Node::Dir(_) => Metadata { len: 0, is_dir: true },
        })
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.file(self.find(path)?).map(|file| file.current.to_vec())
    }

    pub(super) fn append(&mut self, inode: Inode, bytes: &[u8]) {
        self.file_mut(inode).current.append(bytes);
    }

    pub(super) fn truncate(&mut self, inode: Inode, len: usize) {
        if self.file(inode).is_ok_and(|file| file.current.len() != len) {
            self.file_mut(inode).current.resize(len);
        }
    }

    pub(super) fn sync(&mut self, inode: Inode) {
        if self.file(inode).is_ok_and(|file| file.current != file.synced) {
            let file = self.file_mut(inode);
            file.synced = file.current.clone();
        }
    }

    /// Makes a file of these bytes, its name and the directories above it durable.
    pub(super) fn set_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let inode = self.open(path)?;
        let bytes = Bytes::from(bytes);
        *self.file_mut(inode) = Both { current: bytes.clone(), synced: bytes };
        let mut dir = ROOT;
        for name in parts(path)? {
            let next = self.step(dir, name)?.expect("it was just opened");
            Arc::make_mut(&mut self.dir_mut(dir).synced).insert(name.to_owned(), next);
            dir = next;
        }
        Ok(())
    }

    /// What has a name: at present, or (`synced` too) on stable storage; each with one of its
    /// paths.
    pub(super) fn named(&self, synced: bool) -> BTreeMap<Inode, PathBuf> {
        let mut named = BTreeMap::from([(ROOT, PathBuf::from("/"))]);
        let mut dirs = vec![ROOT];
        while let Some(inode) = dirs.pop() {
            let Node::Dir(dir) = self.node(inode) else { continue };
            let path = named[&inode].clone();
            let synced = synced.then_some(&dir.synced);
            for (name, &inode) in dir.current.iter().chain(synced.into_iter().flat_map(|d| &**d)) {
                named.entry(inode).or_insert_with(|| {
                    dirs.push(inode);
                    path.join(name)
                });
            }
        }
        named
    }

    /// Forgets what has no name any more, on stable storage neither, and is not open.
    pub(super) fn forget_nameless(&mut self, open: &BTreeSet<Inode>) {
        let named = self.named(true);
        let kept = |inode: &Inode| named.contains_key(inode) || open.contains(inode);
        if !self.nodes.keys().all(kept) {
            Arc::make_mut(&mut self.nodes).retain(|inode, _| kept(inode));
        }
    }

    /// Makes all that has a name at present durable; the rest is gone.
    pub(super) fn settle(&mut self) {
        let named = self.named(false);
        let nodes = Arc::make_mut(&mut self.nodes);
        nodes.retain(|inode, _| named.contains_key(inode));
        for node in nodes.values_mut() {
            match node {
                Node::File(file) => file.synced = file.current.clone(),
                Node::Dir(dir) => dir.synced = Arc::clone(&dir.current),
            }
        }
    }

    /// Every path at present, in order.
    fn paths(&self) -> BTreeMap<PathBuf, &Node> {
        let (mut paths, mut dirs) = (BTreeMap::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, inode)) = dirs.pop() {
            let node = self.node(inode);
            if let Node::Dir(dir) = node {
                dirs.extend(dir.current.iter().map(|(name, &inode)| (path.join(name), inode)));
            }
            paths.insert(path, node);
        }
        paths
    }

    pub(super) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.paths().into_iter().filter_map(|(path, node)| match node {
            Node::File(file) => Some((path, file.current.to_vec())),
            Node::Dir(_) => None,
        });
        files.collect()
    }

    /// Of all paths and bytes at present: equal for equal contents, however they came about.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, node) in self.paths() {
            path.hash(&mut hasher);
            match node {
                Node::File(Both { current, .. }) => (current.len(), current.digest()),
                Node::Dir(_) => (usize::MAX, 0),
            }
            .hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let describe = |node: &Node| match node {
            Node::File(Both { current, synced }) if current == synced => {
                format!("{} bytes", current.len())
            }
            Node::File(Both { current, synced }) => {
                format!("{} bytes, not synced (synced: {} bytes)", current.len(), synced.len())
            }
            Node::Dir(dir) if dir.current == dir.synced => "directory".into(),
            Node::Dir(_) => "directory, not synced".into(),
        };
        f.debug_map().entries(self.paths().iter().map(|(p, node)| (p, describe(node)))).finish()
    }
}
