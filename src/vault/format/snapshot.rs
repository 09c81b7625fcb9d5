//! Snapshot objects: a head for all, a body for readers.

use super::header::{Header, OTHER_DIGESTS, ObjectType};
use super::signed::{Claim, Opened, by_author, pad, split, unpad};
use super::{FormatError, behind, from_cbor, malformed, to_cbor};
use crate::base::id::RepoId;
use crate::base::secret::Entropy;
use crate::vault::crypto::{Envelope, KeyBundle, SmallSealed, SubKey};
use crate::vault::snapshot::{Body, DigestKind, Head, Stream};
use minicbor::bytes::{ByteArray, ByteSlice};
use minicbor::{Decode, Encode};

/// A snapshot object is never larger, in bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 20;
const INFO: &[u8] = b"dumpvault v1 snapshot";

/// Bytes of a snapshot object.
///
/// # Errors
/// When there is no randomness.
pub fn seal(
    head: &Head,
    body: &Body,
    repo: RepoId,
    keys: &KeyBundle,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, FormatError> {
    let epoch = keys.newest();
    let header = Header { kind: ObjectType::Snapshot, epoch: epoch.number(), repo };
    let is_plain = |stream: &Stream| stream.digest_kind() == DigestKind::Whole;
    let features = if body.streams.iter().all(is_plain) { 0 } else { OTHER_DIGESTS };
    let raw = header.with_features(features);
    let head = pad(to_cbor(head)?)?;
    let head = SmallSealed::seal(&epoch.sub_key(SubKey::SnapshotHead), &raw, &head, entropy)?;
    let plain = to_cbor(body)?;
    let body = epoch.seal(INFO, &body_associated(&raw, &head.bytes), &plain, entropy)?;
    // With a million tables each copy is large.
    drop(plain);
    let stored = Stored {
        nonce: head.nonce.into(),
        head: head.bytes.as_slice().into(),
        enc: body.enc.into(),
        body: body.bytes.as_slice().into(),
    };
    Ok(by_author(behind(&raw, &stored)?, None, keys.author()))
}

/// Opens the head, which every key of the repository can.
///
/// # Errors
/// When the object is damaged or of another repository.
pub fn open_head(bytes: &[u8], repo: &RepoId, keys: &KeyBundle) -> Result<Opened<Head>, FormatError> {
    let (signed, signature) = split(bytes)?;
    let (header, raw, rest) = Header::read(signed, ObjectType::Snapshot, Some(repo))?;
    let stored: Stored = from_cbor(rest, "snapshot")?;
    let key = keys.epoch(header.epoch)?.sub_key(SubKey::SnapshotHead);
    let head = SmallSealed { nonce: *stored.nonce, bytes: stored.head.to_vec() };
    let head: Head = from_cbor(unpad(&head.open(&key, &raw)?)?, "snapshot head")?;
    let claim = Claim::new(head.author, header.epoch, None, signed, signature);
    Ok(Opened { content: head, claim })
}

/// Opens the body, which takes a key of the role *full*.
///
/// # Errors
/// As [`open_head`], and when the key may not read.
pub fn open_body(mut bytes: Vec<u8>, repo: &RepoId, keys: &KeyBundle) -> Result<Body, FormatError> {
    let (signed, _) = split(&bytes)?;
    let (header, raw, rest) = Header::read(signed, ObjectType::Snapshot, Some(repo))?;
    let stored: Stored = from_cbor(rest, "snapshot")?;
    let associated = body_associated(&raw, stored.head);
    let enc = *stored.enc;
    // With a million tables each copy is large: the body is opened where it lies, which is at the end of what is
    // signed, where a writer of ours put it.
    let at = signed.len() - stored.body.len()..signed.len();
    let mut apart = (!signed.ends_with(stored.body)).then(|| stored.body.to_vec());
    let sealed = match &mut apart {
        Some(body) => body.as_mut_slice(),
        None => bytes.get_mut(at).unwrap_or_default(),
    };
    let sealed = Envelope { enc, bytes: sealed };
    let plain = keys.epoch(header.epoch)?.open_in_place(sealed, INFO, &associated)?;
    let body: Body = from_cbor(plain, "snapshot body")?;
    match body.streams.iter().any(|stream| matches!(stream.digest_kind(), DigestKind::Other(_))) {
        // Nobody could tell whether such a stream is the right one.
        true => Err(malformed("a digest of an unknown kind")),
        false => Ok(body),
    }
}

/// Ties the body to the head that it was written with.
fn body_associated(header: &[u8], sealed_head: &[u8]) -> Vec<u8> {
    [header, blake3::hash(sealed_head).as_bytes()].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored<'b> {
    #[n(0)]
    nonce: ByteArray<24>,
    #[b(1)]
    head: &'b ByteSlice,
    #[n(2)]
    enc: ByteArray<32>,
    #[b(3)]
    body: &'b ByteSlice,
}
