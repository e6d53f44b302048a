//! The bytes of a file, of which thousands of snapshots are taken while it grows.

use std::sync::Arc;

use parking_lot::Mutex;

/// A prefix of a buffer that is only ever appended to: a snapshot costs nothing, and an append
/// copies only if another has appended to the same prefix before.
#[derive(Clone)]
pub(crate) struct Bytes {
    buffer: Arc<Mutex<Vec<u8>>>,
    len: usize,
    /// FNV-1a of the bytes, kept up with appends, so that states are compared without reading them.
    digest: u64,
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Default for Bytes {
    fn default() -> Self {
        Self { buffer: Arc::default(), len: 0, digest: FNV_OFFSET }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        (self.len, self.digest) == (other.len, other.digest)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        let mut all = Self::default();
        all.append(bytes);
        all
    }
}

impl Bytes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.buffer.lock()[..self.len].to_vec()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let shared = Arc::clone(&self.buffer);
        let mut buffer = shared.lock();
        if buffer.len() == self.len {
            buffer.extend_from_slice(bytes);
        } else {
            let own = [&buffer[..self.len], bytes].concat();
            self.buffer = Arc::new(Mutex::new(own));
        }
        self.len += bytes.len();
        self.digest =
            bytes.iter().fold(self.digest, |d, &b| (d ^ u64::from(b)).wrapping_mul(FNV_PRIME));
    }

    /// As `set_len` has it: cut, or longer by zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len {
            let cut = Self::from(&self.buffer.lock()[..len]);
            *self = cut;
        } else {
            self.append(&vec![0; len - self.len]);
        }
    }

    /// How many bytes both begin with.
    fn common(&self, other: &Self) -> usize {
        if Arc::ptr_eq(&self.buffer, &other.buffer) {
            return self.len.min(other.len);
        }
        let theirs = other.to_vec();
        let ours = self.buffer.lock();
        ours[..self.len].iter().zip(&theirs).take_while(|(a, b)| a == b).count()
    }

    /// The same length, but zeros where it goes on after what `synced` has too: a length that
    /// reached the disk before its bytes did. None if it does not go on.
    pub(super) fn with_zeroed_tail(&self, synced: &Self) -> Option<Self> {
        let common = self.common(synced);
        (common < self.len).then(|| {
            let mut zeroed = self.clone();
            zeroed.resize(common);
            zeroed.resize(self.len);
            zeroed
        })
    }
}
