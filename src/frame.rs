//! The frame of every small file (CURRENT, META, MANIFEST): magic, version, length, payload, CRC.
//!
//! ```text
//! 0   8  magic
//! 8   4  format version
//! 12  4  payload length, bytes
//! 16  …  payload
//! end 4  CRC32 of everything before
//! ```

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::Fs;

/// No framed file is larger; a manifest with four segments takes about 150 bytes.
const MAX_FILE: u64 = 64 * 1024;
const HEADER: usize = 16;
const CRC: usize = 4;

/// The format version of every file this library writes.
pub(crate) const FORMAT_VERSION: u32 = 3;

/// Builds a payload.
#[derive(Debug, Default)]
pub(crate) struct PayloadWriter(Vec<u8>);

impl PayloadWriter {
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn into_frame(self, magic: &[u8; 8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.0.len() + CRC);
        out.extend_from_slice(magic);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.0);
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }
}

/// The number that the bytes begin with, little-endian; 0 if they are too few.
pub(crate) fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

/// As [`word`], of eight bytes.
pub(crate) fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |long| u64::from_le_bytes(*long))
}

/// A checked frame, read field by field.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    path: &'a Path,
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Payload<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(Error::corrupt(self.path, self.offset, "the payload ends too early"));
        };
        self.rest = rest;
        self.offset += len;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Every byte has to be accounted for.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt(self.path, self.offset, "the payload is longer than its fields"))
    }
}

/// Reads a framed file whole.
pub(crate) fn read(fs: &Fs, path: &Path) -> Result<Vec<u8>> {
    fs.read_bounded(path, MAX_FILE)
}

/// Checks magic, version, length and checksum, in the order that gives the best message.
pub(crate) fn open<'a>(path: &'a Path, bytes: &'a [u8], magic: &[u8; 8]) -> Result<Payload<'a>> {
    if bytes.len() < HEADER + CRC {
        return Err(Error::corrupt(path, bytes.len(), "the file ends too early"));
    }
    if &bytes[..8] != magic {
        return Err(Error::corrupt(path, 0, "not a file of this kind (wrong magic)"));
    }
    let (body, crc) = bytes.split_at(bytes.len() - CRC);
    check_version(path, word(&body[8..]))?;
    if word(&body[12..]) as usize != body.len() - HEADER {
        return Err(Error::corrupt(path, 12, "the length does not match the file's"));
    }
    if crc32fast::hash(body).to_le_bytes() != *crc {
        return Err(Error::corrupt(path, body.len(), "the checksum does not match"));
    }
    Ok(Payload { path, rest: &body[HEADER..], offset: HEADER })
}

/// Refuses what another version wrote.
pub(crate) fn check_version(path: &Path, found: u32) -> Result<()> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    Err(Error::UnsupportedVersion { path: path.to_path_buf(), found, supported: FORMAT_VERSION })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"LSMITEST";

    fn sample() -> Vec<u8> {
        let mut payload = PayloadWriter::default();
        payload.u32(7).u64(9).bytes(b"abc");
        payload.into_frame(MAGIC)
    }

    fn parse(bytes: &[u8]) -> Result<(u32, u64, [u8; 3])> {
        let mut payload = open(Path::new("sample"), bytes, MAGIC)?;
        let fields = (payload.u32()?, payload.u64()?, payload.array()?);
        payload.finish()?;
        Ok(fields)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse(&sample()).expect("sound"), (7, 9, *b"abc"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sound = sample();
        for bit in 0..sound.len() * 8 {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..sound.len() {
            assert!(parse(&sound[..len]).is_err(), "cut to {len}");
        }
        let longer = [sound, vec![0]].concat();
        assert!(parse(&longer).is_err());
    }

    #[test]
    fn another_version_is_named() {
        let mut older = sample();
        older[8] = 1;
        let error = parse(&older);
        assert!(matches!(error, Err(Error::UnsupportedVersion { found: 1, supported: 3, .. })));
    }
}
