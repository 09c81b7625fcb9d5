//! The key bundle: random roots per epoch, and the sub-keys derived from them.

use super::{ContentRing, CryptoError, Envelope, OpenEnvelope, envelope};
use crate::base::id::AuthorId;
use crate::base::secret::{Entropy, SecretKey};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Everything.
    #[n(1)]
    Full,
    /// Adds backups; cannot read packs and snapshot bodies.
    #[n(2)]
    Append,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Append => "append",
        })
    }
}

/// What a derived key is for. One context string each, fixed for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubKey {
    /// Seals the config object.
    Config,
    /// Seals slot labels.
    SlotLabel,
    /// Seals index objects.
    Index,
    /// Seals snapshot heads.
    SnapshotHead,
    /// Seals marks.
    Mark,
    /// Seals session objects.
    Session,
    /// Seals prune plans.
    PrunePlan,
    /// Seals statements about authors.
    Author,
    /// Seals epoch objects.
    Epoch,
    /// The pre-shared key of every envelope.
    HpkePsk,
}

impl SubKey {
    fn context(self) -> &'static str {
        match self {
            Self::Config => "dumpvault v1 config",
            Self::SlotLabel => "dumpvault v1 slot label",
            Self::Index => "dumpvault v1 index",
            Self::SnapshotHead => "dumpvault v1 snapshot head",
            Self::Mark => "dumpvault v1 mark",
            Self::Session => "dumpvault v1 session",
            Self::PrunePlan => "dumpvault v1 prune plan",
            Self::Author => "dumpvault v1 author",
            Self::Epoch => "dumpvault v1 epoch",
            Self::HpkePsk => "dumpvault v1 hpke psk",
        }
    }
}

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// The keys of one epoch.
#[derive(Debug, Clone)]
pub struct Epoch {
    number: u16,
    append_root: SecretKey,
    public: [u8; 32],
    verifying: [u8; 32],
    /// X25519 secret key and Ed25519 seed; only a *full* bundle has them.
    full: Option<(SecretKey, SecretKey)>,
    /// The content root of the generation that began with this epoch; `None` where the one before goes on.
    content_root: Option<SecretKey>,
}

impl Epoch {
    fn generate(number: u16, entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let secret = SecretKey::random(entropy)?;
        let seed = SecretKey::random(entropy)?;
        Ok(Self {
            number,
            append_root: SecretKey::random(entropy)?,
            public: envelope::public_key(&secret)?,
            verifying: SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes(),
            full: Some((secret, seed)),
            content_root: None,
        })
    }

    /// The epoch's number, as in object headers.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Derives a sub-key.
    pub fn sub_key(&self, which: SubKey) -> SecretKey {
        SecretKey::from_bytes(blake3::derive_key(which.context(), self.append_root.expose()))
    }

    /// Seals `plain` to the epoch's public key.
    ///
    /// # Errors
    /// See [`Envelope::seal`].
    pub fn seal(
        &self,
        info: &[u8],
        associated: &[u8],
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Envelope, CryptoError> {
        let psk = self.sub_key(SubKey::HpkePsk);
        Envelope::seal(&self.public, &psk, info, associated, plain, entropy)
    }

    /// Opens what was sealed to the epoch's public key.
    ///
    /// # Errors
    /// [`CryptoError::RoleTooWeak`] without the secret key; [`CryptoError::Unsealed`].
    pub fn open<B: AsRef<[u8]>>(
        &self,
        envelope: &Envelope<B>,
        info: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (secret, _) = self.full.as_ref().ok_or(CryptoError::RoleTooWeak { needed: "reading backups" })?;
        envelope.open(secret, &self.sub_key(SubKey::HpkePsk), info, associated)
    }

    /// The same, where it lies.
    ///
    /// # Errors
    /// As [`Epoch::open`]; nothing can be done with the bytes then.
    pub fn open_in_place<'b>(
        &self,
        envelope: Envelope<&'b mut [u8]>,
        info: &[u8],
        associated: &[u8],
    ) -> Result<&'b [u8], CryptoError> {
        let (secret, _) = self.full.as_ref().ok_or(CryptoError::RoleTooWeak { needed: "reading backups" })?;
        envelope.open_in_place(secret, &self.sub_key(SubKey::HpkePsk), info, associated)
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// [`CryptoError::RoleTooWeak`] without the signing key.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        let (_, seed) = self.full.as_ref().ok_or(CryptoError::RoleTooWeak { needed: "signing" })?;
        Ok(SigningKey::from_bytes(seed.expose()).sign(message).to_bytes())
    }

    /// Checks a signature of this epoch's authority.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), CryptoError> {
        verify(&self.verifying, message, signature)
    }

    /// The X25519 public key that packs and bodies of the epoch are sealed to.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The Ed25519 public key of the epoch's authority.
    pub fn authority(&self) -> &[u8; 32] {
        &self.verifying
    }

    /// Seals the epoch's keys, as a bundle of the role `role` holds them, to an author's X25519 key.
    ///
    /// # Errors
    /// When the public key is not one, or there is no randomness.
    pub fn wrap(
        &self,
        role: Role,
        wrap_key: &[u8; 32],
        associated: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<OpenEnvelope, CryptoError> {
        let stored = StoredEpoch::of(self, role == Role::Full);
        let bytes = minicbor::to_vec(&stored).map(zeroize::Zeroizing::new);
        let bytes = bytes.map_err(|_| CryptoError::Malformed { what: "key epoch" })?;
        OpenEnvelope::seal(wrap_key, WRAP_INFO, associated, &bytes, entropy)
    }
}

const WRAP_INFO: &[u8] = b"dumpvault v1 epoch";

/// Checks an Ed25519 signature the strict way, so that a signature has one form and a key is no weak one.
///
/// # Errors
/// [`CryptoError::BadSignature`].
pub fn verify(public: &[u8; 32], message: &[u8], signature: &Signature) -> Result<(), CryptoError> {
    VerifyingKey::from_bytes(public)
        .and_then(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)))
        .map_err(|_| CryptoError::BadSignature)
}

/// The keys of one author: what it signs with, and what new epochs are sealed to.
#[derive(Debug, Clone)]
pub struct Author {
    id: AuthorId,
    secret: SecretKey,
}

impl Author {
    fn generate(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let mut id = [0; AuthorId::LEN];
        entropy.fill(&mut id)?;
        Ok(Self { id: AuthorId::from_bytes(id), secret: SecretKey::random(entropy)? })
    }

    fn derive(&self, context: &str) -> SecretKey {
        SecretKey::from_bytes(blake3::derive_key(context, self.secret.expose()))
    }

    fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(self.derive("dumpvault v1 author sign").expose())
    }

    fn wrapping(&self) -> SecretKey {
        self.derive("dumpvault v1 author wrap")
    }

    /// Its name.
    pub fn id(&self) -> AuthorId {
        self.id
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.signing().sign(message).to_bytes()
    }

    /// Its Ed25519 public key.
    pub fn verifying_key(&self) -> [u8; 32] {
        self.signing().verifying_key().to_bytes()
    }

    /// Its X25519 public key.
    ///
    /// # Errors
    /// Never in practice.
    pub fn wrap_key(&self) -> Result<[u8; 32], CryptoError> {
        envelope::public_key(&self.wrapping())
    }

    /// Opens the keys of an epoch that [`Epoch::wrap`] sealed for this author.
    ///
    /// # Errors
    /// When they are another author's, damaged, or do not fit the role.
    pub fn unwrap_epoch(
        &self,
        role: Role,
        envelope: &OpenEnvelope,
        associated: &[u8],
    ) -> Result<Epoch, CryptoError> {
        let plain = envelope.open(&self.wrapping(), WRAP_INFO, associated)?;
        let plain = zeroize::Zeroizing::new(plain);
        let stored: StoredEpoch =
            minicbor::decode(&plain).map_err(|_| CryptoError::Malformed { what: "key epoch" })?;
        stored.read(role)
    }
}

/// All keys that a slot holds.
#[derive(Debug, Clone)]
pub struct KeyBundle {
    role: Role,
    content_root: SecretKey,
    /// By ascending number; never empty.
    epochs: Vec<Epoch>,
    newest: Epoch,
    author: Author,
}

impl KeyBundle {
    /// Fresh random keys for a new repository: role *full*, epoch 0.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        Self::with_content_root(SecretKey::random(entropy)?, entropy)
    }

    /// Fresh random keys for another repository, in which the same content has the same names as what this one's newest
    /// content generation names. Whoever holds the keys of one can read nothing of the other.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_alike(&self, entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let newest = self.epochs.iter().rev().find_map(|epoch| epoch.content_root.as_ref());
        Self::with_content_root(newest.unwrap_or(&self.content_root).clone(), entropy)
    }

    fn with_content_root(content_root: SecretKey, entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let epoch = Epoch::generate(0, entropy)?;
        let author = Author::generate(entropy)?;
        Ok(Self { role: Role::Full, content_root, epochs: vec![epoch.clone()], newest: epoch, author })
    }

    /// The same roots for a new author of the role `role`.
    ///
    /// # Errors
    /// [`CryptoError::RoleTooWeak`] where this bundle cannot give the role; when there is no randomness.
    pub fn for_new_author(&self, role: Role, entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        if self.role != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "adding a key" });
        }
        let keys = if role == Role::Full { self.clone() } else { self.to_append() };
        Ok(Self { author: Author::generate(entropy)?, ..keys })
    }

    /// The same keys and a new epoch, in which objects are sealed from now on. Content keys stay, so that what is
    /// stored is still found. The result takes effect with the epoch object that tells the other authors.
    ///
    /// # Errors
    /// [`CryptoError::RoleTooWeak`] without the role *full*; [`CryptoError::Malformed`] after the last possible epoch;
    /// when there is no randomness.
    pub fn rotated(&self, entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        Ok(self.followed_by(self.next_epoch(entropy)?))
    }

    /// As [`KeyBundle::rotated`], and the new epoch begins a content generation: what is written from then on has other
    /// names, so that nothing of what is stored is found again.
    ///
    /// # Errors
    /// As [`KeyBundle::rotated`].
    pub fn rotated_with_content(&self, entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let content_root = Some(SecretKey::random(entropy)?);
        Ok(self.followed_by(Epoch { content_root, ..self.next_epoch(entropy)? }))
    }

    fn next_epoch(&self, entropy: &dyn Entropy) -> Result<Epoch, CryptoError> {
        if self.role != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "rotating keys" });
        }
        let number = self.newest.number.checked_add(1);
        let number = number.ok_or(CryptoError::Malformed { what: "no key epoch is left" })?;
        Epoch::generate(number, entropy)
    }

    /// The same keys and the next epoch.
    pub fn followed_by(&self, next: Epoch) -> Self {
        let mut epochs = self.epochs.clone();
        epochs.push(next.clone());
        Self { epochs, newest: next, ..self.clone() }
    }

    /// The same keys less what only a *full* key holds.
    pub fn to_append(&self) -> Self {
        let weaken = |epoch: &Epoch| Epoch { full: None, ..epoch.clone() };
        Self {
            role: Role::Append,
            content_root: self.content_root.clone(),
            epochs: self.epochs.iter().map(weaken).collect(),
            newest: weaken(&self.newest),
            author: self.author.clone(),
        }
    }

    /// Whose keys these are.
    pub fn author(&self) -> &Author {
        &self.author
    }

    /// What the bundle may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The epoch that new objects are sealed in.
    pub fn newest(&self) -> &Epoch {
        &self.newest
    }

    /// The epoch with that number.
    ///
    /// # Errors
    /// [`CryptoError::UnknownEpoch`].
    pub fn epoch(&self, number: u16) -> Result<&Epoch, CryptoError> {
        self.epochs
            .iter()
            .find(|epoch| epoch.number == number)
            .ok_or(CryptoError::UnknownEpoch { epoch: number })
    }

    /// The keys that name content.
    pub fn content(&self) -> ContentRing {
        let later = self.epochs.iter().filter_map(|epoch| Some((epoch.number, epoch.content_root.as_ref()?)));
        ContentRing::new(&self.content_root, later)
    }

    /// The bundle's CBOR form; secret.
    pub fn encode(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoError> {
        let stored = StoredBundle {
            role: self.role,
            content_root: *self.content_root.expose(),
            epochs: self.epochs.iter().map(|epoch| StoredEpoch::of(epoch, true)).collect(),
            author: self.author.id,
            author_secret: *self.author.secret.expose(),
        };
        minicbor::to_vec(&stored)
            .map(zeroize::Zeroizing::new)
            .map_err(|_| CryptoError::Malformed { what: "key bundle" })
    }

    /// Reads the CBOR form back and checks that the keys fit each other.
    ///
    /// # Errors
    /// [`CryptoError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let malformed = |what| CryptoError::Malformed { what };
        let stored: StoredBundle = minicbor::decode(bytes).map_err(|_| malformed("key bundle"))?;
        let epochs = stored.epochs.iter().map(|epoch| epoch.read(stored.role));
        let mut epochs = epochs.collect::<Result<Vec<Epoch>, CryptoError>>()?;
        epochs.sort_by_key(|epoch| epoch.number);
        let newest = epochs.last().cloned().ok_or(malformed("no epoch"))?;
        Ok(Self {
            role: stored.role,
            content_root: SecretKey::from_bytes(stored.content_root),
            epochs,
            newest,
            author: Author { id: stored.author, secret: SecretKey::from_bytes(stored.author_secret) },
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StoredBundle {
    #[n(0)]
    role: Role,
    #[cbor(n(1), with = "minicbor::bytes")]
    content_root: [u8; 32],
    #[n(2)]
    epochs: Vec<StoredEpoch>,
    #[n(3)]
    author: AuthorId,
    #[cbor(n(4), with = "minicbor::bytes")]
    author_secret: [u8; 32],
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StoredEpoch {
    #[n(0)]
    number: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    append_root: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    public: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    verifying: [u8; 32],
    #[n(4)]
    secret: Option<minicbor::bytes::ByteArray<32>>,
    #[n(5)]
    seed: Option<minicbor::bytes::ByteArray<32>>,
    #[n(6)]
    content_root: Option<minicbor::bytes::ByteArray<32>>,
}

impl StoredEpoch {
    fn of(epoch: &Epoch, with_secrets: bool) -> Self {
        let full = epoch.full.as_ref().filter(|_| with_secrets);
        Self {
            number: epoch.number,
            append_root: *epoch.append_root.expose(),
            public: epoch.public,
            verifying: epoch.verifying,
            secret: full.map(|(secret, _)| (*secret.expose()).into()),
            seed: full.map(|(_, seed)| (*seed.expose()).into()),
            content_root: epoch.content_root.as_ref().map(|root| (*root.expose()).into()),
        }
    }

    fn read(&self, role: Role) -> Result<Epoch, CryptoError> {
        let malformed = |what| CryptoError::Malformed { what };
        let full = match (role, &self.secret, &self.seed) {
            (Role::Full, Some(secret), Some(seed)) => {
                let (secret, seed) = (SecretKey::from_bytes(**secret), SecretKey::from_bytes(**seed));
                // Else whoever wrote this could make its reader seal to a stranger's key.
                if envelope::public_key(&secret)? != self.public
                    || SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes() != self.verifying
                {
                    return Err(malformed("public and secret keys do not belong together"));
                }
                Some((secret, seed))
            }
            (Role::Append, None, None) => None,
            _ => return Err(malformed("keys do not fit the role")),
        };
        if self.number == 0 && self.content_root.is_some() {
            return Err(malformed("a second root of the first content generation"));
        }
        Ok(Epoch {
            number: self.number,
            append_root: SecretKey::from_bytes(self.append_root),
            public: self.public,
            verifying: self.verifying,
            full,
            content_root: self.content_root.as_ref().map(|root| SecretKey::from_bytes(**root)),
        })
    }
}

impl Drop for StoredBundle {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.content_root.zeroize();
        self.author_secret.zeroize();
    }
}

impl Drop for StoredEpoch {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.append_root.zeroize();
        for secret in [&mut self.secret, &mut self.seed, &mut self.content_root].into_iter().flatten() {
            secret.as_mut_slice().zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::OsEntropy;

    #[test]
    fn an_append_bundle_seals_what_only_the_full_bundle_opens() {
        let full = KeyBundle::generate(&OsEntropy).unwrap();
        let append = KeyBundle::decode(&full.to_append().encode().unwrap()).unwrap();
        assert_eq!(append.role(), Role::Append);
        let sealed = append.newest().seal(b"info", b"aad", b"hello", &OsEntropy).unwrap();

        let full = KeyBundle::decode(&full.encode().unwrap()).unwrap();
        assert_eq!(full.newest().open(&sealed, b"info", b"aad").unwrap(), b"hello");
        assert!(matches!(full.newest().open(&sealed, b"info", b"other"), Err(CryptoError::Unsealed)));
        assert!(matches!(
            append.newest().open(&sealed, b"info", b"aad"),
            Err(CryptoError::RoleTooWeak { .. })
        ));
        assert!(matches!(append.newest().sign(b"x"), Err(CryptoError::RoleTooWeak { .. })));
        let signature = full.newest().sign(b"x").unwrap();
        assert!(append.newest().verify(b"x", &signature).is_ok());
        assert!(append.newest().verify(b"y", &signature).is_err());
    }

    #[test]
    fn a_rotated_bundle_seals_in_the_new_epoch_and_still_opens_the_old_one() {
        let old = KeyBundle::generate(&OsEntropy).unwrap();
        let before = old.newest().seal(b"info", b"aad", b"old", &OsEntropy).unwrap();
        let rotated = KeyBundle::decode(&old.rotated(&OsEntropy).unwrap().encode().unwrap()).unwrap();

        assert_eq!((old.newest().number(), rotated.newest().number()), (0, 1));
        assert_eq!(rotated.epoch(0).unwrap().open(&before, b"info", b"aad").unwrap(), b"old");
        assert_eq!(rotated.content().newest(), old.content().newest());
        let after = rotated.to_append().newest().seal(b"info", b"aad", b"new", &OsEntropy).unwrap();
        assert_eq!(rotated.newest().open(&after, b"info", b"aad").unwrap(), b"new");
        assert!(matches!(old.newest().open(&after, b"info", b"aad"), Err(CryptoError::Unsealed)));
        assert!(matches!(old.epoch(1), Err(CryptoError::UnknownEpoch { epoch: 1 })));
        assert!(matches!(old.to_append().rotated(&OsEntropy), Err(CryptoError::RoleTooWeak { .. })));
    }

    #[test]
    fn an_author_follows_an_epoch_sealed_for_it_and_for_nobody_else() {
        let full = KeyBundle::generate(&OsEntropy).unwrap();
        let host = full.for_new_author(Role::Append, &OsEntropy).unwrap();
        let other = full.for_new_author(Role::Append, &OsEntropy).unwrap();
        let rotated = full.rotated(&OsEntropy).unwrap();
        let wrapped = rotated
            .newest()
            .wrap(Role::Append, &host.author().wrap_key().unwrap(), b"aad", &OsEntropy)
            .unwrap();
        let epoch = host.author().unwrap_epoch(Role::Append, &wrapped, b"aad").unwrap();
        let followed = KeyBundle::decode(&host.followed_by(epoch).encode().unwrap()).unwrap();
        let sealed = followed.newest().seal(b"i", b"a", b"x", &OsEntropy).unwrap();
        assert_eq!(rotated.newest().open(&sealed, b"i", b"a").unwrap(), b"x");
        assert!(matches!(followed.newest().open(&sealed, b"i", b"a"), Err(CryptoError::RoleTooWeak { .. })));
        assert!(host.author().unwrap_epoch(Role::Append, &wrapped, b"other").is_err());
        assert!(host.author().unwrap_epoch(Role::Full, &wrapped, b"aad").is_err());
        assert!(other.author().unwrap_epoch(Role::Append, &wrapped, b"aad").is_err());
        let signature = host.author().sign(b"x");
        assert!(verify(&followed.author().verifying_key(), b"x", &signature).is_ok());
        assert!(verify(&other.author().verifying_key(), b"x", &signature).is_err());
        assert!(host.for_new_author(Role::Append, &OsEntropy).is_err());
    }

    #[test]
    fn an_alike_bundle_names_content_alike_and_opens_nothing() {
        let one = KeyBundle::generate(&OsEntropy).unwrap();
        let other = one.to_append().generate_alike(&OsEntropy).unwrap();
        assert_eq!(other.role(), Role::Full);
        assert_eq!(one.content().newest(), other.content().newest());
        assert_ne!(one.content().newest(), KeyBundle::generate(&OsEntropy).unwrap().content().newest());
        let sealed = one.newest().seal(b"i", b"a", b"x", &OsEntropy).unwrap();
        assert!(matches!(other.newest().open(&sealed, b"i", b"a"), Err(CryptoError::Unsealed)));
    }

    #[test]
    fn a_stranger_without_the_pre_shared_key_cannot_seal_for_us() {
        let ours = KeyBundle::generate(&OsEntropy).unwrap();
        let stranger = SecretKey::random(&OsEntropy).unwrap();
        let sealed = Envelope::seal(&ours.newest().public, &stranger, b"i", b"a", b"x", &OsEntropy).unwrap();
        assert!(matches!(ours.newest().open(&sealed, b"i", b"a"), Err(CryptoError::Unsealed)));
    }
}
