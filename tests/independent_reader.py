#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "argon2-cffi==25.1.0",
#     "blake3==1.0.11",
#     "cbor2==6.2.1",
#     "cryptography==50.0.2",
#     "pynacl==1.6.2",
#     "zstandard==0.25.0",
# ]
# ///
"""An independent reader of dumpvault repositories, format version 1.

Written from docs/format.md alone, with published packages only, so that it proves two things: that the page is enough
to read a repository without the program, and that the program writes what the page says. It is a second specification
before it is a tool: it reads objects whole, one after another, and checks all that the format lets a reader check. Any
damage ends it with exit code 1 and one line that says what is wrong. What counts for nothing because its author may not
say it (the page calls it *foreign*) is passed over; --list names it.

    independent_reader.py REPOSITORY_DIR (SNAPSHOT_ID_PREFIX | latest) [--stream NAME] [--key-file F] > stream
    independent_reader.py REPOSITORY_DIR --list [--key-file F]

The passphrase comes from DUMPVAULT_PASSWORD. Bytes go to stdout as they are proven chunk by chunk; the stream as a
whole is proven only when the exit code is 0. A key of the role *append* lists snapshots, and cannot read streams.
"""

import argparse
import bisect
import hashlib
import hmac
import io
import itertools
import os
import re
import struct
import sys
import uuid
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import argon2.low_level
import blake3
import cbor2
import nacl.bindings
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = bytes.fromhex("8944564c540d0a1a")
HEADER_BYTES, SIGNATURE_BYTES = 32, 64
TYPES = {"config": 1, "keys": 2, "packs": 3, "index": 4, "snapshots": 5, "marks": 6, "sessions": 7, "gc": 8,
         "authors": 9, "epochs": 10}
ROLE_FULL, ROLE_APPEND = 1, 2
SLOT_PASSPHRASE, SLOT_KEY_FILE = 1, 2
KIND_DATA, KIND_RECIPE, KIND_BLINDED = 1, 2, 3
CODEC_RAW, CODEC_ZSTD, CODEC_COLUMNS = 0, 1, 2
COMMITTED, TAGS, PINNED, VERIFIED, DAMAGED, CLEARED, FORGOTTEN, GIVEN_UP, TIME_CONFIRMED, CHECKED, SET_ENDED = range(1, 12)
SESSION_WRITE = 1
STATES = {1: "complete", 2: "partial", 3: "suspect"}
REVISION, CHUNKER_GEAR = 1, 1

# Caps: a writer that was taken over can author anything, so nothing is believed for its size.
OBJECT_BYTES_MAX = {"config": 64 << 10, "keys": 64 << 10, "packs": 512 << 20, "index": 256 << 20, "snapshots": 64 << 20,
                    "marks": 64 << 10, "sessions": 1 << 20, "gc": 64 << 20, "authors": 64 << 10, "epochs": 64 << 20}
SLOTS_MAX, ARGON_M_MAX, ARGON_T_MAX, ARGON_P_MAX = 64, 1 << 18, 16, 16
SLOT_COST = 3 * 65536  # KiB of memory times passes of a usual slot; dearer ones wait
AUTHORS_MAX, PLAN_PACKS_MAX, PINS_BYTES_MAX = 4096, 1 << 20, 64 << 10
TABLE_BYTES_MAX, BLOCK_BYTES_MAX, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN = 16 << 20, 4 << 20, 256 << 10, 256
LEVEL_MAX, DEPTH_MAX, PARTS_MAX = 8, 32, 8192
BLOCKS_OFFSET, FOOTER_BYTES, TAG_BYTES, PREFIX_BYTES = 112, 24, 16, 16
BEAT_MS = 5 * 60_000
CACHED_PACKS, CACHED_BLOCKS = 8, 24
UNZSTD = zstandard.ZstdDecompressor(max_window_size=2 * BLOCK_BYTES_MAX)


class Fault(Exception):
    """The repository does not hold what the format says, or the key does not fit."""


class Foreign(Exception):
    """An object that counts for nothing: its author may not say it."""


def need(condition, message):
    if not condition:
        raise Fault(message)


def may(condition, why):
    if not condition:
        raise Foreign(why)


# ---------------------------------------------------------------- bytes

def decode_map(data, what):
    """One CBOR map with unsigned integer keys and definite lengths that fills `data` exactly."""
    source = io.BytesIO(data)
    try:
        decoder = cbor2.CBORDecoder(source, allow_indefinite=False, allow_duplicate_keys=False, read_size=1)
        value = decoder.decode()
    except Exception as error:  # cbor2 raises several kinds; all of them mean "not what the format says"
        raise Fault(f"{what}: not CBOR: {error}") from error
    need(source.tell() == len(data), f"{what}: bytes follow the CBOR map")
    return check_map(value, what)


def check_map(value, what):
    need(isinstance(value, dict) and all(type(key) is int and key >= 0 for key in value), f"{what}: not a CBOR map")
    return value


REQUIRED = object()


def field(mapping, key, kind, what, length=None, default=REQUIRED, smallest=0):
    """A field of a CBOR map with its type checked; `length` is the exact length of a byte string."""
    value = mapping.get(key, default)
    need(value is not REQUIRED, f"{what}: field {key} is missing")
    if value is default:
        return value
    fits = type(value) is kind and (kind is not int or smallest <= value < 1 << 64)
    need(fits, f"{what}: field {key} is not {kind.__name__}")
    need(length is None or len(value) == length, f"{what}: field {key} is not {length} bytes long")
    return value


def texts(mapping, key, what, default=REQUIRED):
    values = field(mapping, key, list, what, default=default)
    need(values is default or all(type(value) is str for value in values), f"{what}: field {key} has what is no text")
    return values


def moment(mapping, key, what):
    return field(mapping, key, int, what, smallest=-1 << 63)


def ids(data, what):
    need(len(data) % 32 == 0, f"{what}: not whole ids of 32 bytes")
    return [data[at:at + 32] for at in range(0, len(data), 32)]


def varint(data, at, what):
    value = shift = 0
    while True:
        need(at < len(data) and shift < 70, f"{what}: a varint is cut or too long")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            need(value < 1 << 64, f"{what}: a varint is beyond 64 bits")
            return value, at


def unzigzag(value):
    return -(value + 1) // 2 if value & 1 else value // 2


def padme(length):
    """The Padmé length of `length` bytes: all but the first bits of it are rounded up to zeros."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    kept = exponent.bit_length() + 1  # the first bit, and as many as floor(log2(exponent)) + 1 behind it
    zeros = (1 << max(exponent + 1 - kept, 0)) - 1
    return (length + zeros) & ~zeros


def unpad(data, what):
    need(len(data) >= 4, f"{what}: no length")
    (length,) = struct.unpack_from("<I", data)
    need(4 + length <= len(data), f"{what}: shorter than it says")
    need(not any(data[4 + length:]), f"{what}: padding that is not zeros")
    need(len(data) == padme(4 + length), f"{what}: {len(data)} bytes are not the Padmé length of {4 + length}")
    return data[4:4 + length]


# ---------------------------------------------------------------- cryptography

def derive_key(context, root):
    return blake3.blake3(root, derive_key_context=context).digest()


def open_small(key, nonce, sealed, aad, what):
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except nacl.exceptions.CryptoError as error:
        raise Fault(f"{what}: the seal is broken or the key is another") from error


def open_sealed(key, nonce, sealed, aad, what):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except InvalidTag as error:
        raise Fault(f"{what}: the seal is broken") from error


def is_signed(public, signature, message):
    """Ed25519 as libsodium verifies it: no second form of a signature, no keys of small order."""
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
        return True
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError, nacl.exceptions.TypeError):
        return False


def x25519_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def ed25519_public(seed):
    return nacl.bindings.crypto_sign_seed_keypair(seed)[0]


# HPKE (RFC 9180) with X25519, HKDF-SHA256 and ChaCha20-Poly1305, receiving side, one message.

KEM_SUITE = b"KEM" + struct.pack(">H", 0x0020)
HPKE_SUITE = b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, 0x0003)
MODE_BASE, MODE_PSK = b"\x00", b"\x01"
PSK_ID = b"dumpvault v1 hpke psk"


def labeled_extract(suite, salt, label, ikm):
    return hmac.new(salt, b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def labeled_expand(suite, prk, label, info, length):
    """HKDF-Expand; at most one block of SHA-256, which all uses here stay within."""
    labeled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return hmac.new(prk, labeled + b"\x01", hashlib.sha256).digest()[:length]


def hpke_open(secret, public, psk, enc, info, aad, sealed, what):
    """`psk` is the pre-shared key, or None for base mode."""
    mode, psk, psk_id = (MODE_BASE, b"", b"") if psk is None else (MODE_PSK, psk, PSK_ID)
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(enc))
    except ValueError as error:
        raise Fault(f"{what}: a bad encapsulated key: {error}") from error
    eae_prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", shared)
    shared = labeled_expand(KEM_SUITE, eae_prk, b"shared_secret", enc + public, 32)
    context = (mode + labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", psk_id)
               + labeled_extract(HPKE_SUITE, b"", b"info_hash", info))
    exported = labeled_extract(HPKE_SUITE, shared, b"secret", psk)
    key = labeled_expand(HPKE_SUITE, exported, b"key", context, 32)
    nonce = labeled_expand(HPKE_SUITE, exported, b"base_nonce", context, 12)  # sequence number 0: the base nonce
    return open_sealed(key, nonce, sealed, aad, what)


def name_keys(content_root):
    """The keys that make the ids in blocks of each kind, in one content generation."""
    chunks = derive_key("dumpvault v1 chunk id", content_root)
    return {KIND_DATA: chunks, KIND_BLINDED: chunks, KIND_RECIPE: derive_key("dumpvault v1 recipe node id", content_root)}


class Epoch:
    """One key epoch with the sub-keys that a reader needs."""

    CONTEXTS = {"config": "config", "label": "slot label", "index": "index", "head": "snapshot head", "mark": "mark",
                "session": "session", "plan": "prune plan", "author": "author", "close": "epoch", "psk": "hpke psk"}

    def __init__(self, values, role, what):
        values = check_map(values, what)
        self.number = field(values, 0, int, what)
        root = field(values, 1, bytes, what, 32)
        self.public = field(values, 2, bytes, what, 32)
        self.authority = field(values, 3, bytes, what, 32)
        self.secret = field(values, 4, bytes, what, 32, default=None)
        seed = field(values, 5, bytes, what, 32, default=None)
        self.content_root = field(values, 6, bytes, what, 32, default=None)
        need(self.number or self.content_root is None, f"{what}: epoch 0 begins no content generation of its own")
        for name, context in self.CONTEXTS.items():
            setattr(self, name, derive_key("dumpvault v1 " + context, root))
        is_full = role == ROLE_FULL
        need((self.secret is not None) == (seed is not None) == is_full, f"{what}: keys do not fit the role")
        if is_full:
            fits = x25519_public(self.secret) == self.public and ed25519_public(seed) == self.authority
            need(fits, f"{what}: secret and public keys do not belong together")

    def open_hpke(self, enc, info, aad, sealed, what):
        need(self.secret is not None, "this key can write only: it cannot open packs and snapshot bodies")
        return hpke_open(self.secret, self.public, self.psk, enc, info, aad, sealed, what)


# ---------------------------------------------------------------- objects

DIGEST_WHOLE, DIGEST_OF_FILES = 0, 1
FEATURE_DIGESTS, FEATURE_COLUMNS = 1, 2
FEATURES = {"snapshots": FEATURE_DIGESTS, "packs": FEATURE_COLUMNS, "index": FEATURE_COLUMNS}


class Object:
    """An object's bytes with its header taken apart, and its signature, where its kind has one."""

    def __init__(self, key, data):
        folder = key.split("/")[0]
        self.key, self.header = key, data[:HEADER_BYTES]
        need(len(data) >= HEADER_BYTES and data[:8] == MAGIC, f"{key}: no dumpvault object")
        kind, version, incompatible, _compatible, self.epoch = struct.unpack_from("<BBHHH", data, 8)
        self.repository = data[16:32]
        need(version == 1, f"{key}: format version {version} is unknown")
        self.features = incompatible
        need(incompatible & ~FEATURES.get(folder, 0) == 0, f"{key}: needs features {incompatible:#06x} that this reader does not know")
        need(kind == TYPES[folder], f"{key}: object type {kind} does not belong here")
        self.data, self.signature = data, None
        if folder not in ("keys", "packs"):
            need(len(data) >= HEADER_BYTES + SIGNATURE_BYTES, f"{key}: too short for a signature")
            self.data, self.signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        self.payload = self.data[HEADER_BYTES:]

    def is_signed_by(self, public, tie=b""):
        return is_signed(public, self.signature, b"dumpvault v1 signed" + tie + self.data)

    def open(self, key, tie=b"", padded=False):
        """The CBOR map inside an object that is header, then a map of nonce and small seal."""
        fields = decode_map(self.payload, self.key)
        return self.open_seal(fields, key, tie, padded)

    def open_seal(self, fields, key, tie=b"", padded=False):
        nonce, sealed = field(fields, 0, bytes, self.key, 24), field(fields, 1, bytes, self.key)
        plain = open_small(key, nonce, sealed, self.header + tie, self.key)
        return decode_map(unpad(plain, self.key) if padded else plain, self.key)


class Statement:
    """What the authority says of an author."""

    def __init__(self, found, keys):
        what, self.epoch = found.key, found.epoch
        plain = found.open(keys[found.epoch].author)
        self.author = field(plain, 0, bytes, what, 16)
        self.verifying, self.wrap_key = field(plain, 1, bytes, what, 32), field(plain, 2, bytes, what, 32)
        self.role = field(plain, 3, int, what)
        need(self.role in (ROLE_FULL, ROLE_APPEND), f"{what}: an unknown role")
        self.name, self.hosts, self.series = field(plain, 4, str, what), texts(plain, 5, what), texts(plain, 6, what, None)
        self.number = field(plain, 7, int, what, smallest=1)
        moment(plain, 8, what)

    def is_full(self):
        return self.role == ROLE_FULL

    def covers(self, series, host):
        host_fits = host in self.hosts or "*" in self.hosts
        return self.is_full() or host_fits and (self.series is None or series in self.series)


class Close:
    """An epoch object: it closes the epoch of its header and opens the next."""

    def __init__(self, found, keys):
        self.object, what = found, found.key
        plain = found.open(keys[found.epoch].close)
        need(field(plain, 0, int, what) == found.epoch + 1, f"{what}: it does not open the next epoch")
        self.public, self.authority = field(plain, 1, bytes, what, 32), field(plain, 2, bytes, what, 32)
        counts = ids(field(plain, 3, bytes, what), what)
        need(counts == sorted(counts), f"{what}: what counts is not sorted")
        self.counts, self.heirs = set(counts), {}
        entries = field(plain, 4, list, what)
        need(len(entries) <= AUTHORS_MAX, f"{what}: too many authors")
        for entry in entries:
            fits = isinstance(entry, list) and len(entry) == 3 and all(type(part) is bytes for part in entry)
            need(fits and len(entry[0]) == 16 and len(entry[1]) == 32, f"{what}: an entry of another form")
            self.heirs[entry[0]] = entry[1:]

    def opens(self, epoch):
        return (self.public, self.authority) == (epoch.public, epoch.authority)

    def next_epoch(self, author, wrap_secret, role):
        """The keys of the next epoch, as far as the author's role goes."""
        what = self.object.key
        need(author in self.heirs, "this key was revoked: it does not open the repository any more")
        enc, sealed = self.heirs[author]
        plain = hpke_open(wrap_secret, x25519_public(wrap_secret), None, enc, b"dumpvault v1 epoch",
                          self.object.header + author, sealed, what)
        epoch = Epoch(decode_map(plain, what), role, what)
        need(epoch.number == self.object.epoch + 1 and self.opens(epoch), f"{what}: it holds keys of another epoch")
        return epoch


class Repository:
    def __init__(self, path, passphrase, key_file):
        self.path, self.foreign = Path(path), []
        config = self.read("config", hashed=False)
        self.id = config.repository
        self.refuse_old(config)
        self.unlock(passphrase, key_file)
        self.follow_epochs()
        self.open_config(config)
        self.read_statements()

    def read(self, key, hashed=True):
        try:
            size = (self.path / key).stat().st_size
            need(size <= OBJECT_BYTES_MAX[key.split("/")[0]], f"{key}: {size} bytes are too many")
            data = (self.path / key).read_bytes()
        except OSError as error:
            raise Fault(f"{key}: {error.strerror}") from error
        if hashed:
            need(blake3.blake3(data).hexdigest() == key.rsplit("/")[-1], f"{key}: the bytes do not hash to the name")
        found = Object(key, data)
        need(key == "config" or found.repository == self.id, f"{key}: belongs to another repository")
        return found

    def keys_under(self, folder):
        """The keys of all objects of one type, sorted; other files are passed over. A missing folder holds none."""
        patterns = {"packs": r"packs/([0-9a-f]{2})/\1[0-9a-f]{62}", "sessions": r"sessions/[0-9a-f]{32}-(0|[1-9][0-9]{0,19})"}
        pattern = patterns.get(folder, folder + r"/[0-9a-f]{64}")
        names = (str(entry.relative_to(self.path)) for entry in (self.path / folder).rglob("*") if entry.is_file())
        return sorted(name for name in names if re.fullmatch(pattern, name))

    def epoch(self, number, what):
        """The keys of an epoch. What names one that was never opened is of nobody who may write here."""
        may(number in self.epochs, f"key epoch {number} is none of this repository")
        return self.epochs[number]

    def passing_over(self, key, judge):
        """`judge(key)`, or None where the object counts for nothing. Damage goes up: those bytes were written otherwise."""
        found = self.read(key)
        try:
            return judge(found)
        except (Foreign, Fault) as error:
            # The bytes are those of the name, so that nothing rotted: whoever put it may not, or does not know the format.
            self.foreign.append((key, str(error)))
            return None

    # ---- keys

    def unlock(self, passphrase, key_file):
        slots = [self.read(name) for name in self.keys_under("keys")]
        slots.sort(key=lambda slot: ((self.path / slot.key).stat().st_mtime, slot.key))
        tried, misfit, rounds = 0, None, ([], [])
        for slot in slots:
            try:
                fields = decode_map(slot.payload, slot.key)
                cost = self.slot_cost(slot.key, fields)
                rounds[cost > SLOT_COST].append((slot, fields, cost))
            except Fault as error:
                misfit = misfit or error  # anybody can put a slot; the one that is wanted may be another
        for slot, fields in (one for some in rounds for one in self.affordable(some)):
            name = slot.key
            try:
                opening = self.slot_key(name, slot, fields, passphrase, key_file)
                nonce, sealed = field(fields, 2, bytes, name, 24), field(fields, 3, bytes, name)
                commitment = field(fields, 6, bytes, name, 32)
            except Fault as error:
                misfit = misfit or error
                continue
            if opening is None:
                continue
            tried, (key, aad) = tried + 1, opening
            if derive_key("dumpvault v1 slot commitment", key) != commitment:
                continue  # another passphrase's slot
            bundle = open_small(key, nonce, sealed, aad + commitment, name)
            self.load_bundle(decode_map(bundle, name), name)
            self.check_label(slot, fields, nonce)
            return
        raise misfit or Fault("no key slot opens with this passphrase or key file" if tried else "no key slot of this kind")

    def slot_cost(self, name, fields):
        """What trying a slot takes: nothing for a key file."""
        if field(fields, 0, int, name) != SLOT_PASSPHRASE:
            return 0
        costs = check_map(field(fields, 1, dict, name), name)
        return field(costs, 0, int, name) * field(costs, 1, int, name)

    def affordable(self, slots):
        """The slots of one round, the oldest first, as long as they cost no more than so many usual ones."""
        left = SLOTS_MAX * SLOT_COST
        for slot, fields, cost in slots:
            if cost <= SLOTS_MAX * SLOT_COST:  # one that asks for more than any may is refused unread, and named
                left -= cost
            if left < 0:
                return
            yield slot, fields

    def slot_key(self, name, slot, fields, passphrase, key_file):
        """(key, associated data) of the slot for what the user gave, or None if the slot is of another kind."""
        kind = field(fields, 0, int, name)
        aad = slot.header + bytes([kind & 0xFF])
        if kind == SLOT_KEY_FILE and key_file is not None:
            return derive_key("dumpvault v1 slot key file", key_file + self.id), aad
        if kind == SLOT_PASSPHRASE and key_file is None:
            costs = check_map(field(fields, 1, dict, name), name)
            t, m, p = (field(costs, key, int, name) for key in (0, 1, 2))
            salt = field(costs, 3, bytes, name, 16)
            need(m <= ARGON_M_MAX and t <= ARGON_T_MAX and p <= ARGON_P_MAX, f"{name}: Argon2 would cost too much")
            try:
                kind = argon2.low_level.Type.ID
                stretched = argon2.low_level.hash_secret_raw(passphrase, salt, t, m, p, 32, kind, 0x13)
            except argon2.exceptions.HashingError as error:
                raise Fault(f"{name}: Argon2 refuses its parameters: {error}") from error
            return derive_key("dumpvault v1 slot passphrase", stretched), aad + struct.pack("<III", t, m, p) + salt
        return None

    def load_bundle(self, bundle, name):
        self.role = field(bundle, 0, int, name)
        need(self.role in (ROLE_FULL, ROLE_APPEND), f"{name}: an unknown role")
        self.content_root = field(bundle, 1, bytes, name, 32)
        epochs = [Epoch(values, self.role, name) for values in field(bundle, 2, list, name)]
        self.epochs = {epoch.number: epoch for epoch in epochs}
        need(sorted(self.epochs) == list(range(len(epochs))) and epochs, f"{name}: epochs do not count from 0")
        self.author = field(bundle, 3, bytes, name, 16)
        secret = field(bundle, 4, bytes, name, 32)
        self.sign_key = ed25519_public(derive_key("dumpvault v1 author sign", secret))
        self.wrap_secret = derive_key("dumpvault v1 author wrap", secret)

    def check_label(self, slot, fields, bundle_nonce):
        need(slot.epoch == len(self.epochs) - 1, f"{slot.key}: its epoch is not the newest of its bundle")
        sealed, nonce = field(fields, 5, bytes, slot.key), field(fields, 4, bytes, slot.key, 24)
        plain = open_small(self.epochs[slot.epoch].label, nonce, sealed, slot.header + bundle_nonce, f"{slot.key} label")
        label = decode_map(plain, slot.key)
        field(label, 0, str, slot.key), moment(label, 1, slot.key)
        told = field(label, 2, int, slot.key), field(label, 3, bytes, slot.key, 16)
        need(told == (self.role, self.author), f"{slot.key}: the label tells of another key")

    # ---- who may say what

    def refuse_old(self, config):
        """Before the first release the signature was field 2 of the config's map, and nothing stood behind the map."""
        try:
            fields = decode_map(config.payload + config.signature, "config")
        except Fault:
            return
        need(2 not in fields, "this repository was made before the first release of dumpvault: its format is another one")

    def follow_epochs(self):
        """From epoch 0 on: the object that closes each, and the keys of the next where the bundle is older."""
        found = [self.read(name) for name in self.keys_under("epochs")]
        self.closes = []
        while True:
            number = len(self.closes)
            closes = []
            for one in (one for one in found if one.epoch == number):
                try:
                    need(one.is_signed_by(self.epochs[number].authority), f"{one.key}: not signed by the authority")
                    closes.append(Close(one, self.epochs))
                except Fault as error:
                    self.foreign.append((one.key, str(error)))
            if number + 1 in self.epochs:
                closes = [close for close in closes if close.opens(self.epochs[number + 1])]
                need(closes, f"no object in epochs/ opens key epoch {number + 1}, which this key holds")
            need(len(closes) <= 1, f"several objects close key epoch {number}: the owner has to say which is right")
            if not closes:
                break
            if number + 1 not in self.epochs:
                self.epochs[number + 1] = closes[0].next_epoch(self.author, self.wrap_secret, self.role)
            self.closes.append(closes[0])
        self.newest = len(self.closes)
        roots = {number: epoch.content_root for number, epoch in self.epochs.items() if epoch.content_root is not None}
        self.names = {generation: name_keys(root) for generation, root in {0: self.content_root, **roots}.items()}
        self.foreign += [(one.key, "of an epoch that was never opened") for one in found if one.epoch > self.newest]

    def counts(self, epoch, object_id):
        return epoch >= self.newest or object_id in self.closes[-1].counts

    def open_config(self, config):
        need(config.epoch == 0, "config: not of epoch 0")
        need(config.is_signed_by(self.epochs[0].authority), "config: the signature is wrong")
        plain = config.open(self.epochs[0].config)
        revision = field(plain, 7, int, "config", default=None)
        need(revision is not None, "this repository was made before the first release of dumpvault: its format is another one")
        need(revision == REVISION, f"config: revision {revision} of the format is unknown")
        need(field(plain, 6, int, "config", default=CHUNKER_GEAR) == CHUNKER_GEAR, "config: an unknown chunker")
        moment(plain, 0, "config")
        smallest, average, largest, block, pack = (field(plain, key, int, "config") for key in (1, 2, 3, 4, 5))
        fits = CHUNK_BYTES_MIN <= smallest <= average <= largest <= CHUNK_BYTES_MAX
        need(fits and not any(size % 2 for size in (smallest, average, largest)), "config: impossible chunk sizes")
        need(largest <= block <= BLOCK_BYTES_MAX // 2, "config: an impossible block size")
        need(block <= pack <= OBJECT_BYTES_MAX["packs"] // 4, "config: an impossible pack size")

    def read_statements(self):
        self.statements = {}
        for name in self.keys_under("authors"):
            statement = self.passing_over(name, self.statement)
            if statement is not None:
                self.statements.setdefault(statement.author, []).append(statement)
        need(len(self.statements) <= AUTHORS_MAX, "too many authors")
        own = self.statement_in(self.author, self.newest)
        need(own is not None, "no statement names the author of this key")
        keys = (own.role, own.verifying, own.wrap_key)
        need(keys == (self.role, self.sign_key, x25519_public(self.wrap_secret)), "this key is not what its statement says")

    def statement(self, found):
        epoch = self.epoch(found.epoch, found.key)
        may(found.is_signed_by(epoch.authority), "not signed by the authority")
        may(self.counts(found.epoch, bytes.fromhex(found.key.split("/")[1])), "its epoch is closed and does not list it")
        return Statement(found, self.epochs)

    def statement_in(self, author, epoch):
        """What counts of an author in an epoch."""
        said = [one for one in self.statements.get(author, []) if one.epoch <= epoch]
        return max(said, key=lambda one: one.number, default=None)

    def judge(self, found, author, tie=b""):
        """The statement of an object's author, if the object counts."""
        said = self.statement_in(author, found.epoch)
        may(said is not None, f"its author {author.hex()} is unknown")
        since = min(one.epoch for one in self.statements[author])
        goes_on = all(author in close.heirs for close in self.closes[since:found.epoch])
        may(goes_on, f"its author {author.hex()} was revoked")
        may(found.is_signed_by(said.verifying, tie), "its signature is not that of its author")
        if tie or found.key.startswith("gc/"):
            may(found.epoch == self.newest, "its epoch is closed")
        else:
            may(self.counts(found.epoch, bytes.fromhex(found.key.split("/")[1])), "its epoch is closed and does not list it")
        return said

    # ---- marks and snapshots

    def mark(self, found):
        plain = found.open(self.epoch(found.epoch, found.key).mark, padded=True)
        return Mark(self, found, plain)

    def read_history(self):
        """Takes together what marks say of snapshots and packs."""
        marks = [self.passing_over(name, self.mark) for name in self.keys_under("marks")]
        marks = {mark.name: mark for mark in marks if mark is not None}
        heads = [self.passing_over(name, lambda found: Snapshot(self, found)) for name in self.keys_under("snapshots")]
        heads = {head.name: head for head in heads if head is not None}
        superseded = {old for mark in marks.values() for old in mark.supersedes if mark.may_supersede(marks.get(old))}
        held = [mark for name, mark in marks.items() if name not in superseded]
        for mark in held:
            if not mark.may_say(heads):
                self.foreign.append((mark.name, "its author may not say that"))
        held = [mark for mark in held if mark.may_say(heads)]
        self.damaged_packs = {mark.object for mark in held if mark.kind == DAMAGED}
        abandoned = {mark.object for mark in held if mark.kind == CLEARED and not mark.supersedes}
        committed = {mark.object for mark in held if mark.kind == COMMITTED} - abandoned
        gone = {"snapshots/" + line for mark in held if mark.kind == FORGOTTEN for line in (mark.value or "").splitlines()}
        gone |= {mark.object for mark in held if mark.kind == GIVEN_UP}
        absent = committed - set(self.keys_under("snapshots")) - gone
        for mark in (mark for mark in held if mark.kind == COMMITTED and mark.object in absent):
            # Whoever may only add can say so of what never was.
            need(not mark.by.is_full(), f"{mark.object}: committed, and not there")
            self.foreign.append((mark.name, "the snapshot that it commits is not there"))
        found = [heads[name] for name in committed if name in heads]
        for head in found:
            head.say([mark for mark in held if mark.object == head.name])
        self.snapshots = sorted(found, key=lambda head: (head.time, head.counter, head.id))

    def check_sessions_and_plans(self):
        """Nothing that a restore needs: whether they are what the format says."""
        began = {}
        for name in self.keys_under("sessions"):
            session, number = name.split("/")[1].split("-")
            tie = bytes.fromhex(session) + struct.pack("<Q", int(number))
            try:
                found = self.read(name, hashed=False)
                plain = found.open(self.epoch(found.epoch, name).session, tie)
                said = self.judge(found, field(plain, 2, bytes, name, 16), tie)
                may(field(plain, 0, int, name) == SESSION_WRITE or said.is_full(), "its author may not prune")
                ids(field(plain, 1, bytes, name), name)
                first = self.path / "sessions" / f"{session}-0"
                began = moment(plain, 3, name) if int(number) else None
                late = began is not None and not (first.exists() and abs(first.stat().st_mtime * 1000 - began) <= BEAT_MS)
                may(not late, "put again by somebody who had seen it")
            except (Foreign, Fault) as error:
                self.foreign.append((name, str(error)))
        for name in self.keys_under("gc"):
            self.passing_over(name, self.plan)

    def plan(self, found):
        plain = found.open(self.epoch(found.epoch, found.key).plan)
        moment(plain, 0, found.key)
        need(len(ids(field(plain, 1, bytes, found.key), found.key)) <= PLAN_PACKS_MAX, f"{found.key}: too many packs")
        may(self.judge(found, field(plain, 2, bytes, found.key, 16)).is_full(), "its author may not prune")


class Mark:
    """What is said later of a snapshot or a pack."""

    OF_OWN = (COMMITTED, TAGS, PINNED, DAMAGED, SET_ENDED)

    def __init__(self, repository, found, plain):
        self.name = name = found.key
        self.kind, self.object = field(plain, 0, int, name), field(plain, 1, str, name)
        moment(plain, 2, name)
        self.supersedes = ["marks/" + old.hex() for old in ids(field(plain, 3, bytes, name), name)]
        self.value = field(plain, 4, str, name, default=None)
        field(plain, 5, str, name)
        self.by = repository.judge(found, field(plain, 6, bytes, name, 16))

    def may_supersede(self, old):
        if self.by.is_full():
            return True
        same = old is not None and (old.by.author, old.kind, old.object) == (self.by.author, self.kind, self.object)
        return same and self.kind != TAGS

    def may_say(self, heads):
        """Whether its author may say this; `heads` are the snapshots that count."""
        if self.by.is_full():
            return True
        if self.kind not in self.OF_OWN or not re.fullmatch(r"snapshots/[0-9a-f]{64}", self.object):
            return False
        head = heads.get(self.object)
        # Of one that is not there its committer tells that it was its own.
        return head.by.author == self.by.author if head else self.kind == COMMITTED


class Snapshot:
    """A snapshot object: the head is opened at once, the body on demand."""

    def __init__(self, repository, found):
        self.object, self.name, self.id = found, found.key, found.key.split("/")[1]
        self.epoch, name = repository.epoch(found.epoch, found.key), found.key
        self.fields = decode_map(found.payload, name)
        head = found.open_seal(self.fields, self.epoch.head, padded=True)
        self.series, self.host = field(head, 0, str, name), field(head, 1, str, name)
        self.time, self.state = moment(head, 2, name), field(head, 3, int, name)
        self.tags, self.counter = set(texts(head, 4, name)), field(head, 5, int, name)
        field(head, 6, bytes, name, 32, default=None)
        moment(head, 7, name), field(head, 8, str, name), texts(head, 9, name)
        self.proof = field(head, 10, int, name)
        field(head, 11, str, name), field(head, 12, bytes, name, 32, default=None)
        pins = field(head, 14, bytes, name, default=b"")
        need(len(pins) <= PINS_BYTES_MAX and ids(pins, name) is not None, f"{name}: too many pins")
        is_import = field(head, 15, bool, name, default=False)
        need(self.counter == 0 if is_import else self.counter >= 1, f"{name}: an impossible counter")
        for key in (16, 17):
            field(head, key, bytes, name, 16, default=None)
        for key in (18, 19):
            field(head, key, str, name, default=None)
        self.by = repository.judge(found, field(head, 13, bytes, name, 16))
        may(self.by.covers(self.series, self.host), "its author may not add to that series of that host")

    def say(self, marks):
        """Takes in what marks that hold say of it."""
        tags = [mark for mark in marks if mark.kind == TAGS]
        instead = [mark for mark in tags if mark.by.is_full()]
        self.tags = set() if instead else self.tags
        self.tags |= {line for mark in tags for line in (mark.value or "").splitlines()}
        self.state = 3 if any(mark.kind == DAMAGED for mark in marks) else self.state
        self.pinned = any(mark.kind == PINNED for mark in marks)

    def streams(self):
        head_digest = blake3.blake3(field(self.fields, 1, bytes, self.name)).digest()
        enc, sealed = field(self.fields, 2, bytes, self.name, 32), field(self.fields, 3, bytes, self.name)
        body = self.epoch.open_hpke(enc, b"dumpvault v1 snapshot", self.object.header + head_digest, sealed,
                                    f"{self.name} body")
        body = decode_map(body, self.name)
        streams = [Stream(values, self.name) for values in field(body, 0, list, self.name)]
        need(len({stream.name for stream in streams}) == len(streams), f"{self.name}: two streams of one name")
        proof = min((stream.proof for stream in streams), default=self.proof)
        need(proof == self.proof, f"{self.name}: the head tells of a proof {self.proof}, the streams have {proof}")
        return streams


class Stream:
    def __init__(self, values, what):
        values = check_map(values, what)
        self.name, self.length = field(values, 0, str, what), field(values, 1, int, what)
        self.digest, self.root = field(values, 2, bytes, what, 32), field(values, 4, bytes, what, 32)
        self.proof = field(values, 3, int, what)  # later programs may know more of them
        self.digest_kind = field(values, 9, int, what, default=0)
        need(self.digest_kind in (DIGEST_WHOLE, DIGEST_OF_FILES), f"{what}: a digest of an unknown kind")
        self.attributes = field(values, 7, dict, what, default={})


# ---------------------------------------------------------------- packs

class Table:
    """A chunk table: where every block of a pack lies and what is in it."""

    def __init__(self, fields, what):
        raw = [field(fields, key, bytes, what) for key in (0, 1, 2)]
        need(sum(map(len, raw)) <= TABLE_BYTES_MAX, f"{what}: too large a chunk table")
        need(len(raw[0]) % 16 == 0 and len(raw[2]) % 4 == 0, f"{what}: a cut chunk table")
        chunk_ids = ids(raw[1], what)
        lengths = [length for (length,) in struct.iter_unpack("<I", raw[2])]
        need(len(chunk_ids) == len(lengths), f"{what}: ids and lengths differ in number")
        self.raw, self.blocks, offset, first = raw, [], BLOCKS_OFFSET, 0
        for stored, plain, count, kind, codec, generation in struct.iter_unpack("<IIIBBH", raw[0]):
            known = kind in (KIND_DATA, KIND_RECIPE, KIND_BLINDED) and codec in (CODEC_RAW, CODEC_ZSTD, CODEC_COLUMNS)
            need(known, f"{what}: an unknown kind or codec of block")
            prefixes, most = PREFIX_BYTES * count if kind == KIND_BLINDED else 0, BLOCK_BYTES_MAX + 64
            fits = plain <= BLOCK_BYTES_MAX and prefixes <= most and TAG_BYTES + prefixes <= stored <= most + prefixes
            need(fits, f"{what}: an impossible length of block")
            own = list(zip(chunk_ids[first:first + count], lengths[first:first + count]))
            filled = len(own) == count and sum(length for _, length in own) == plain
            need(filled, f"{what}: a block's chunks do not fill it")
            need(all(length <= CHUNK_BYTES_MAX for _, length in own), f"{what}: a chunk is too long")
            self.blocks.append((offset, stored, plain, kind, codec, generation, own))
            offset, first = offset + stored, first + count
        need(first == len(chunk_ids), f"{what}: chunks that no block holds")
        self.end = offset


class Pack:
    """A pack object whose own chunk table was opened and found sound."""

    def __init__(self, repository, name):
        # What opens in a pack that a mark calls damaged proves itself: its blocks are sealed, its chunks have their ids.
        self.object = pack = repository.read(name, hashed=name not in repository.damaged_packs)
        self.name, size = name, len(pack.data)
        need(size >= BLOCKS_OFFSET + TAG_BYTES + FOOTER_BYTES, f"{name}: {size} bytes are no whole pack")
        table_offset, table_bytes, count, end = struct.unpack("<QII8s", pack.data[-FOOTER_BYTES:])
        need(end == b"DVLTPEND", f"{name}: no footer")
        need(TAG_BYTES <= table_bytes <= TABLE_BYTES_MAX, f"{name}: an impossible chunk table")
        inside = BLOCKS_OFFSET <= table_offset <= size - FOOTER_BYTES - table_bytes
        need(inside, f"{name}: the chunk table lies outside")
        need(not any(pack.data[table_offset + table_bytes:-FOOTER_BYTES]), f"{name}: the padding is not zero")
        self.enc = pack.data[32:64]
        need(pack.epoch in repository.epochs, f"{name}: of key epoch {pack.epoch}, which is none of this repository")
        epoch = repository.epochs[pack.epoch]
        self.key = epoch.open_hpke(self.enc, b"dumpvault v1 pack", pack.header, pack.data[64:112], f"{name} pack key")
        need(len(self.key) == 32, f"{name}: a pack key is 32 bytes")
        sealed = pack.data[table_offset:table_offset + table_bytes]
        aad = pack.header + self.enc + struct.pack("<I", count)
        plain = open_sealed(self.key, struct.pack("<IQ", 1, 0), sealed, aad, f"{name} chunk table")
        self.table = Table(decode_map(plain, name), name)
        need(len(self.table.blocks) == count, f"{name}: footer and chunk table differ in their blocks")
        need(self.table.end == table_offset, f"{name}: the blocks do not reach to the chunk table")

    def open_block(self, number, names):
        """{id: bytes} of every chunk of the block, each proven to be what its id says."""
        offset, stored, plain_bytes, kind, codec, generation, chunks = self.table.blocks[number]
        what = f"{self.name} block {number}"
        need(generation in names, f"{what}: content generation {generation} is unknown")
        key = names[generation][kind]
        aad = self.object.header + self.enc + struct.pack("<IBB", number, kind, codec)
        sealed = self.object.data[offset:offset + stored]
        plain = open_sealed(self.key, struct.pack("<IQ", 0, number), sealed, aad, what)
        prefixes = [b""] * len(chunks)
        if kind == KIND_BLINDED:
            end = PREFIX_BYTES * len(chunks)
            prefixes = [plain[at:at + PREFIX_BYTES] for at in range(0, end, PREFIX_BYTES)]
            plain = plain[end:]
        if codec == CODEC_ZSTD:
            plain = unzstd(plain, plain_bytes, what)
        elif codec == CODEC_COLUMNS:
            need(self.object.features & FEATURE_COLUMNS, f"{what}: codec 2 in a pack without its feature bit")
            plain = Columns(plain, plain_bytes, what).plain
        need(len(plain) == plain_bytes, f"{what}: {len(plain)} bytes instead of {plain_bytes}")
        found, at = {}, 0
        for (chunk_id, length), prefix in zip(chunks, prefixes):
            chunk = plain[at:at + length]
            need(blake3.blake3(prefix + chunk, key=key).digest() == chunk_id, f"{what}: a chunk does not have its id")
            found[chunk_id], at = chunk, at + length
        return found


def unzstd(data, plain_bytes, what):
    """One zstd frame that states its length, which must be the table's; so no more than that is ever made of it."""
    try:
        stated = zstandard.get_frame_parameters(data).content_size
        need(stated == plain_bytes, f"{what}: the zstd frame lies of its length")
        return UNZSTD.decompress(data, max_output_size=plain_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Fault(f"{what}: {error}") from error


class Fields:
    """Bytes and numbers from the front of a string of bytes."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, length):
        need(length <= len(self.data) - self.at, f"{self.what}: it ends too early")
        self.at += length
        return self.data[self.at - length:self.at]

    def byte(self):
        return self.take(1)[0]

    def number(self, most=(1 << 64) - 1):
        value = 0
        for shift in range(0, 64, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                need(value <= most, f"{self.what}: a number too large")
                return value
        raise Fault(f"{self.what}: a number too long")

    def signed(self):
        return unzigzag(self.number())


def unzigzag(number):
    return number >> 1 ^ -(number & 1)


def lines(data, count, what):
    """Exactly `count` lines, each with its end."""
    found = data.split(b"\n")
    need(found.pop() == b"" and len(found) == count, f"{what}: not {count} lines")
    return found


EPOCH_OF_DATES = date(1, 1, 1).toordinal() - 306  # 1 March of year 0 lies 306 days before


class Columns:
    """A block of codec 2, and the plain bytes that it makes."""

    def __init__(self, stored, plain_bytes, what):
        self.what, fields = what, Fields(stored, what)
        self.nodes_max, most = plain_bytes // 128 + 64, plain_bytes + 1024
        small_bytes, frame_bytes = fields.number(most), fields.number(len(stored))
        table, total = [], small_bytes
        for _ in range(fields.number(plain_bytes // 64 + 64)):
            entry = fields.number()
            length, how = entry >> 2, entry & 3
            need(how < 3, f"{what}: a stream stored in an unknown way")
            total += length if how else 0
            need(max(length, total) <= most, f"{what}: streams too long")
            table.append((length, how, fields.number() if how == 2 else length))
        small = Fields(unzstd(fields.take(frame_bytes), small_bytes, what), what)
        self.head = Fields(small.take(small.number()), what)
        self.streams = []
        for length, how, stored_bytes in table:
            data = (fields if how else small).take(stored_bytes)
            self.streams.append(unzstd(data, length, what) if how == 2 else data)
        need(small.at == small_bytes and fields.at == len(stored), f"{what}: bytes that belong to nothing")
        self.streams.reverse()
        self.plain = self.runs(plain_bytes)
        need(not self.streams, f"{what}: streams that no column uses")

    def stream(self, length=None):
        need(self.streams, f"{self.what}: too few streams")
        data = self.streams.pop()
        need(length in (None, len(data)), f"{self.what}: a stream of {len(data)} bytes instead of {length}")
        return data

    def runs(self, plain_bytes):
        head, rest, out, made = self.head, Fields(self.stream(), self.what), [], 0
        while head.at < len(head.data):
            out.append(rest.take(head.number()))
            rows, shape = head.number(plain_bytes), head.number(3201)
            count, framed = shape >> 1, shape & 1
            need(rows >= 16 and count and rows * count <= plain_bytes, f"{self.what}: an impossible run")
            self.nodes = self.nodes_max
            columns = [self.node(rows, 0) for _ in range(count)]
            for values in zip(*columns):
                row = b"\t".join(values) + b"\n"
                out.append(b"\0" + struct.pack("<I", len(row)) + row if framed else row)
                made += len(out[-1])
                need(made <= plain_bytes, f"{self.what}: more bytes than promised")
        return b"".join(out) + rest.take(len(rest.data) - rest.at)

    def bits(self, rows):
        data = self.stream((rows + 7) // 8)
        return [data[row // 8] >> row % 8 & 1 for row in range(rows)]

    def node(self, rows, depth):
        """The values of so many rows."""
        self.nodes -= 1
        need(depth <= 20 and self.nodes >= 0, f"{self.what}: too many columns, or too deep")
        head, kind = self.head, self.head.byte()
        if kind == 0:
            return [head.take(head.number())] * rows
        if kind == 1:
            word, count = b"\\N" if head.byte() == 1 else b"", head.number(rows)
            bits = self.bits(rows)
            need(bits.count(0) == count, f"{self.what}: bits that do not fit their column")
            rest = iter(self.node(count, depth + 1) if count else [])
            return [word if bit else next(rest) for bit in bits]
        if kind == 2:
            return [b"%d" % value for value in self.integers(rows)]
        if kind == 3:
            scale = self.digits(12)
            parts = [(b"-" if value < 0 else b"", *divmod(abs(value), 10 ** scale)) for value in self.integers(rows)]
            return [b"%s%d.%0*d" % (sign, whole, scale, part) for sign, whole, part in parts]
        if kind == 4:
            return [self.date(value) for value in self.integers(rows)]
        if kind == 5:
            suffix = head.take(head.byte())
            return [self.time(value) + suffix for value in self.integers(rows)]
        if kind == 6:
            data = self.stream(16 * rows)
            return [str(uuid.UUID(bytes=data[at:at + 16])).encode() for at in range(0, 16 * rows, 16)]
        if kind == 7:
            count = head.byte()
            need(0 < count < rows / 2, f"{self.what}: an impossible dictionary")
            words = lines(self.stream(), count, self.what)
            numbers = self.stream(rows)
            need(max(numbers) < count, f"{self.what}: a word that is not there")
            return [words[number] for number in numbers]
        if kind == 8:
            before, behind = head.take(head.number()), head.take(head.number())
            return [before + value + behind for value in self.node(rows, depth + 1)]
        if kind == 9:
            lengths = self.integers(rows)
            need(min(lengths) >= 0, f"{self.what}: a length below 0")
            data, values = Fields(self.stream(), self.what), []
            for length in lengths:
                digits = data.take((length + 1) // 2).hex()
                values.append((digits[:-2] + digits[-1] if length % 2 else digits).encode())
            need(data.at == len(data.data), f"{self.what}: digits that no row has")
            return values
        if kind == 10:
            return self.parts(rows, depth)
        if kind == 11:
            return lines(self.stream(), rows, self.what)
        need(kind == 12, f"{self.what}: a column of unknown kind {kind}")
        width = self.digits(18)
        values = self.integers(rows)
        need(all(0 <= value < 10 ** width for value in values), f"{self.what}: a number of too many digits")
        return [b"%0*d" % (width, value) for value in values]

    def parts(self, rows, depth):
        delimiter, count, odd = self.head.take(1), self.head.byte(), self.head.number(rows)
        need(2 <= count <= 64 and odd < rows, f"{self.what}: impossible parts")
        bits = self.bits(rows) if odd else [0] * rows
        need(bits.count(1) == odd, f"{self.what}: bits that do not fit their column")
        others = iter(lines(self.stream(), odd, self.what) if odd else [])
        even = zip(*[self.node(rows - odd, depth + 1) for _ in range(count)])
        return [next(others) if bit else delimiter.join(next(even)) for bit in bits]

    def digits(self, most):
        digits = self.head.byte()
        need(1 <= digits <= most, f"{self.what}: an impossible number of digits")
        return digits

    def integers(self, rows):
        head, mode = self.head, self.head.byte()
        if mode == 0:
            base, factor = head.signed(), head.signed()
            numbers = range(rows)
        else:
            need(mode in (1, 2), f"{self.what}: integers stored in an unknown way")
            width, base, factor = head.byte(), head.signed(), head.number()
            need(width <= 8, f"{self.what}: integers too wide")
            planes = [self.stream(rows) for _ in range(width)]
            numbers = [int.from_bytes(row, "big") for row in zip(*planes)] if planes else [0] * rows
            if mode == 2:
                numbers = itertools.accumulate(map(unzigzag, numbers))
        wrapped = ((base + factor * number) & (1 << 64) - 1 for number in numbers)
        return [value - (1 << 64) if value >> 63 else value for value in wrapped]

    def date(self, days):
        need(306 <= days <= 3652364, f"{self.what}: a date outside the years 1 to 9999")
        return date.fromordinal(EPOCH_OF_DATES + days).isoformat().encode()

    def time(self, micros):
        days, micros = divmod(micros, 86_400_000_000)
        seconds, fraction = divmod(micros, 1_000_000)
        clock = b" %02d:%02d:%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)
        return self.date(days) + clock + (b".%06d" % fraction).rstrip(b"0") * bool(fraction)


class Store:
    """Finds chunks and recipe nodes by id, through the index objects or, where none names it, a pack's own table."""

    def __init__(self, repository):
        self.repository = repository
        self.places = {KIND_DATA: {}, KIND_RECIPE: {}}  # id -> [(pack key, block number, length)]
        self.packs, self.cache = OrderedDict(), OrderedDict()
        self.indexed = self.read_indexes()
        for name in repository.keys_under("packs"):
            if name not in self.indexed:
                self.add(name, self.pack(name).table)
        for places in (places for by_id in self.places.values() for places in by_id.values()):
            # A damaged pack may still serve, but last.
            places.sort(key=lambda place: place[0] in repository.damaged_packs)

    def index(self, found):
        """(who vouches for it, what it replaces, its packs) of an index object that counts."""
        name, key = found.key, self.repository.epoch(found.epoch, found.key).index
        need(len(found.payload) >= 24, f"{name}: too short")
        plain = open_small(key, found.payload[:24], found.payload[24:], found.header, name)
        fields = decode_map(unpad(plain, name), name)
        by = self.repository.judge(found, field(fields, 2, bytes, name, 16))
        replaces = ["index/" + old.hex() for old in ids(field(fields, 1, bytes, name, default=b""), name)]
        packs = {}
        for values in field(fields, 0, list, name):
            pack_id = field(check_map(values, name), 0, bytes, name, 32).hex()
            table = Table({key - 2: value for key, value in values.items() if key >= 2}, name)
            packs[f"packs/{pack_id[:2]}/{pack_id}"] = (field(values, 1, int, name), table)
        return by, replaces, packs

    def read_indexes(self):
        """What index objects say of each pack: its size and columns. Packs that they differ about tell themselves."""
        found = {name: self.repository.passing_over(name, self.index) for name in self.repository.keys_under("index")}
        found = {name: index for name, index in found.items() if index is not None}
        replaced = {old for by, replaces, _ in found.values() for old in replaces
                    if by.is_full() or old in found and found[old][0].author == by.author}
        said = {}
        for name, (_, _, packs) in found.items():
            for pack_name, told in packs.items() if name not in replaced else ():
                said.setdefault(pack_name, []).append(told)
        agreed = {name: told[0] for name, told in said.items() if len({(size, *table.raw) for size, table in told}) == 1}
        for name, (_, table) in agreed.items():
            self.add(name, table)
        return {name: (size, table.raw) for name, (size, table) in agreed.items()}

    def add(self, pack_name, table):
        for number, (_, _, _, kind, _, _, chunks) in enumerate(table.blocks):
            kind = KIND_RECIPE if kind == KIND_RECIPE else KIND_DATA  # blinded or not, chunks are chunks
            for chunk_id, length in chunks:
                places = self.places[kind].setdefault(chunk_id, [])
                if (pack_name, number, length) not in places:
                    places.append((pack_name, number, length))

    def pack(self, name):
        if name not in self.packs:
            pack = Pack(self.repository, name)
            if name in self.indexed:
                own = (len(pack.object.data), pack.table.raw)
                need(self.indexed[name] == own, f"{name}: the index tells otherwise")
            self.packs[name] = pack
            if len(self.packs) > CACHED_PACKS:
                self.packs.popitem(last=False)
        self.packs.move_to_end(name)
        return self.packs[name]

    def get(self, kind, wanted):
        """The proven bytes of a chunk or a node; tries every pack that holds it."""
        fault = Fault(f"{'chunk' if kind == KIND_DATA else 'recipe node'} {wanted.hex()} is in no pack")
        for pack_name, number, _ in self.places[kind].get(wanted, []):
            try:
                if (pack_name, number) not in self.cache:
                    self.cache[pack_name, number] = self.pack(pack_name).open_block(number, self.repository.names)
                self.cache.move_to_end((pack_name, number))
                if len(self.cache) > CACHED_BLOCKS:
                    self.cache.popitem(last=False)
                return self.cache[pack_name, number][wanted]
            except Fault as error:
                fault = error
        raise fault


# ---------------------------------------------------------------- recipes

class Node:
    """A recipe node taken apart. `starts[i]` is where part i begins, in stream bytes from the node's beginning."""

    def __init__(self, data, node_id):
        self.what = what = f"recipe node {node_id.hex()}"
        fields = decode_map(data, what)
        self.level, self.length = field(fields, 0, int, what), field(fields, 1, int, what)
        need(self.level <= LEVEL_MAX, f"{what}: level {self.level}")
        table, packed = ids(field(fields, 2, bytes, what), what), field(fields, 3, bytes, what)
        self.base = field(fields, 6, bytes, what, 32, default=None)
        self.depth = field(fields, 7, int, what, default=0)
        need((self.base is not None) == (self.depth > 0), f"{what}: base and depth do not agree")
        need(self.depth <= DEPTH_MAX, f"{what}: depth {self.depth}")
        columns = field(fields, 8, list, what, default=None)
        need(field(fields, 9, int, what, default=0) <= self.depth, f"{what}: a checkpoint above it")
        if self.level:
            lengths = self.parse_children(table, packed)
        elif columns is None:
            lengths = self.parse_entries(table, packed)
        else:
            need(not packed, f"{what}: entries in two forms")
            lengths = self.parse_columns(table, columns)
        need(len(lengths) <= PARTS_MAX, f"{what}: {len(lengths)} parts")
        self.starts, end = [], 0
        for length in lengths:
            self.starts.append(end)
            end += length
        need(end == self.length, f"{what}: its parts have {end} bytes, not {self.length}")

    def parse_children(self, table, packed):
        lengths, at = [], 0
        while at < len(packed):
            length, at = varint(packed, at, self.what)
            need(length >= 1, f"{self.what}: a child of no bytes")
            lengths.append(length)
        need(len(lengths) == len(table) >= 1, f"{self.what}: children and lengths differ in number")
        self.parts = table
        return lengths

    def parse_columns(self, table, columns):
        """As parse_entries, from columns: kinds, then low bytes and rests of lengths and steps of extents and of copies."""
        need(len(columns) == 9, f"{self.what}: {len(columns)} columns")

        def numbers(low, high):
            found, at = [], 0
            for byte in low:
                value, at = varint(high, at, self.what)
                found.append(value << 8 | byte)
            need(at == len(high), f"{self.what}: a column's halves differ in number")
            return iter(found)

        def take(column):
            value = next(column, None)
            need(value is not None, f"{self.what}: a column is too short")
            return value

        kinds, *halves = columns
        pairs = [numbers(low, high) for low, high in zip(halves[::2], halves[1::2])]
        extent_lengths, extent_steps, copy_lengths, copy_steps = pairs
        self.parts, lengths, at = [], [], 0
        ends, copy_end = [0] * len(table), 0
        while at < len(kinds):
            kind, at = varint(kinds, at, self.what)
            length = take(extent_lengths if kind else copy_lengths)
            need(length >= 1, f"{self.what}: an entry of no bytes")
            lengths.append(length)
            if kind == 0:
                offset = copy_end + unzigzag(take(copy_steps))
                need(offset >= 0, f"{self.what}: a copy from before the base")
                copy_end = offset + length
                self.parts.append((None, offset))
                continue
            need(kind <= len(table), f"{self.what}: no chunk {kind - 1} in its table")
            offset = ends[kind - 1] + unzigzag(take(extent_steps))
            need(0 <= offset and offset + length <= CHUNK_BYTES_MAX, f"{self.what}: an extent beyond any chunk")
            ends[kind - 1] = offset + length
            self.parts.append((table[kind - 1], offset))
        need(all(next(column, None) is None for column in pairs), f"{self.what}: numbers that no entry takes")
        return lengths

    def parse_entries(self, table, packed):
        """Parts become (chunk id, offset) for an extent and (None, offset in the base) for a copy."""
        self.parts, lengths, at = [], [], 0
        chunk, chunk_end, copy_end = None, 0, 0
        while at < len(packed):
            value, at = varint(packed, at, self.what)
            length = value >> 1
            need(length >= 1, f"{self.what}: an entry of no bytes")
            lengths.append(length)
            number, at = varint(packed, at, self.what)
            if value & 1:
                offset = copy_end + unzigzag(number)
                need(offset >= 0, f"{self.what}: a copy from before the base")
                copy_end = offset + length
                self.parts.append((None, offset))
                continue
            if number:
                need(number <= len(table), f"{self.what}: no chunk {number - 1} in its table")
                chunk = table[number - 1]
                chunk_end, at = varint(packed, at, self.what)
            need(chunk is not None, f"{self.what}: the first extent goes on from nothing")
            need(chunk_end + length <= CHUNK_BYTES_MAX, f"{self.what}: an extent beyond any chunk")
            self.parts.append((chunk, chunk_end))
            chunk_end += length
        return lengths

    def parts_in(self, start, end):
        """(part, begin, end) of every part that [start, end) touches; begin and end count from the part's beginning."""
        at = bisect.bisect_right(self.starts, start) - 1
        while start < end:
            part_end = self.starts[at + 1] if at + 1 < len(self.starts) else self.length
            stop = min(end, part_end)
            if start < stop:
                yield self.parts[at], start - self.starts[at], stop - self.starts[at], part_end - self.starts[at]
            start, at = max(start, stop), at + 1


class Recipe:
    """A recipe tree: gives the stream's bytes for any range of it."""

    def __init__(self, store, root, depth=None):
        self.store, self.nodes = store, OrderedDict()
        self.root = self.node(root)
        self.length, self.base = self.root.length, None
        need(depth is None or self.root.depth == depth, f"{self.root.what}: depth {self.root.depth} instead of {depth}")
        if self.root.base is not None:
            self.base = Recipe(store, self.root.base, self.root.depth - 1)

    def node(self, node_id):
        if node_id not in self.nodes:
            self.nodes[node_id] = Node(self.store.get(KIND_RECIPE, node_id), node_id)
            if len(self.nodes) > 64:
                self.nodes.popitem(last=False)
        return self.nodes[node_id]

    def bytes(self, start, end, node=None):
        node = node or self.root
        for part, begin, stop, part_bytes in node.parts_in(start, end):
            if node.level:
                child = self.node(part)
                need(child.level == node.level - 1, f"{child.what}: level {child.level} below {node.level}")
                need(child.length == part_bytes, f"{child.what}: not the length that its parent says")
                need(child.base is None, f"{child.what}: a base below the root")
                yield from self.bytes(begin, stop, child)
                continue
            source, offset = part
            if source is None:
                need(self.base is not None, f"{node.what}: a copy in a recipe without base")
                need(offset + part_bytes <= self.base.length, f"{node.what}: a copy from beyond the base's end")
                yield from self.base.bytes(offset + begin, offset + stop)
            else:
                chunk = self.store.get(KIND_DATA, source)
                need(offset + part_bytes <= len(chunk), f"{node.what}: an extent beyond its chunk's end")
                yield chunk[offset + begin:offset + stop]


# ---------------------------------------------------------------- commands

def restore(repository, snapshot, stream_name, out):
    streams = snapshot.streams()
    named = [stream for stream in streams if stream_name in (None, stream.name)]
    names = ", ".join(repr(stream.name) for stream in streams)
    need(named, f"{snapshot.id[:8]} has no stream {stream_name!r}; it has {names}")
    need(len(named) == 1, f"{snapshot.id[:8]} has several streams, choose one with --stream: {names}")
    stream = named[0]
    recipe = Recipe(Store(repository), stream.root)
    need(recipe.length == stream.length, f"the recipe makes {recipe.length} bytes, the stream has {stream.length}")
    digest = blake3.blake3() if stream.digest_kind == DIGEST_WHOLE else DigestOfFiles(repository, streams, stream)
    for piece in recipe.bytes(0, stream.length):
        digest.update(piece)
        out.write(piece)
    out.flush()
    need(digest.digest() == stream.digest, "the stream's digest is wrong")


class DigestOfFiles:
    """The digest of a data stream: of its files' digests, which the index has, each held against the file's bytes."""

    def __init__(self, repository, streams, stream):
        pair = [other for other in streams if other.name == stream.attributes.get("pair")]
        need(len(pair) == 1, f"{stream.name!r} has no index beside it")
        recipe = Recipe(Store(repository), pair[0].root)
        index = b"".join(recipe.bytes(0, recipe.length))
        need(blake3.blake3(index).digest() == pair[0].digest, "the index's digest is wrong")
        self.files = iter([(length, digest) for _, _, length, digest in index_rows(index) if length])
        self.all, self.file, self.left, self.expected = blake3.blake3(), None, 0, None

    def update(self, piece):
        while piece:
            if self.left == 0:
                self.left, self.expected = next(self.files, (0, None))
                need(self.left > 0, "the data goes on after its last file")
                self.file = blake3.blake3()
            part, piece = piece[:self.left], piece[self.left:]
            self.file.update(part)
            self.left -= len(part)
            if self.left == 0:
                need(self.file.digest() == self.expected, "a file's digest is wrong")
                self.all.update(self.expected)

    def digest(self):
        need(self.left == 0 and next(self.files, None) is None, "the data ends before its last file")
        return self.all.digest()


def index_rows(index):
    """Path, kind, bytes in the data stream, and digest of each row of a file index."""
    what = "the file index"
    need(index[:8] == b"DVFIDX1\n", f"{what}: not one")
    at, before, in_section, ended = 8, b"", 0, False
    while not ended:
        length, at = varint(index, at, what)
        need(at + length <= len(index), f"{what}: cut short")
        if length == 0:
            length, at = varint(index, at, what)
            need(at + length <= len(index), f"{what}: cut short")
            ended = length == 0
            need(ended == (in_section == 0), f"{what}: a section without rows, or without its end")
            if not ended:
                rows, _ = varint(index, at, what)
                need(rows == in_section, f"{what}: a section with rows more or less")
            at, before, in_section = at + length, b"", 0
            continue
        row, at = index[at:at + length], at + length
        path, kind, data_bytes, digest = index_row(row, before, what)
        need(in_section == 0 or before.split(b"/") < path.split(b"/"), f"{what}: rows out of order")
        before, in_section = path, in_section + 1
        yield path, kind, data_bytes, digest
    need(at == len(index), f"{what}: it goes on after its end")


def index_row(row, before, what):
    kind, (shared, at) = chr(row[0]), varint(row, 1, what)
    length, at = varint(row, at, what)
    need(shared <= len(before) and at + length <= len(row), f"{what}: a path cut short")
    path, at = before[:shared] + row[at:at + length], at + length
    for _ in range(5):  # mode, owner, group, seconds, nanoseconds
        _, at = varint(row, at, what)
    size, digest = 0, None
    if kind == "f":
        size, at = varint(row, at, what)
        digest, at = row[at:at + 32], at + 32
    elif kind in "lh":
        length, at = varint(row, at, what)
        at += length
    elif kind in "cb":
        for _ in range(2):
            _, at = varint(row, at, what)
    else:
        need(kind in "dpsuv", f"{what}: a row of an unknown kind")
    _, at = varint(row, at, what)  # flags
    extra = decode_map(row[at:], what) if at < len(row) else {}
    return path, kind, size - sum(extra.get(1, [])[1::2]), digest


def show_time(ms):
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
        return moment.isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{ms} ms"  # a moment that no calendar has


def show_list(repository):
    """Snapshots with their streams, then what counts for nothing."""
    for snapshot in repository.snapshots:
        time, state = show_time(snapshot.time), STATES.get(snapshot.state, f"unknown ({snapshot.state})")
        more = [ascii(tag) for tag in sorted(snapshot.tags)] + ["pinned"] * snapshot.pinned
        print(snapshot.id, time, state, ascii(snapshot.series), ascii(snapshot.host), ascii(snapshot.by.name), *more, sep="\t")
        for stream in snapshot.streams() if repository.role == ROLE_FULL else ():
            print("", ascii(stream.name), stream.length, stream.digest.hex(), sep="\t")
    repository.check_sessions_and_plans()
    if repository.role == ROLE_FULL:
        Store(repository)  # reads the index objects
    for key, why in repository.foreign:
        print("foreign", key, why, sep="\t")


def choose(snapshots, prefix):
    if prefix == "latest":
        need(snapshots, "the repository has no snapshot")
        return snapshots[-1]
    found = [snapshot for snapshot in snapshots if snapshot.id.startswith(prefix)]
    need(found, f"no snapshot begins with {prefix}")
    need(len(found) == 1, f"{len(found)} snapshots begin with {prefix}")
    return found[0]


def main():
    parser = argparse.ArgumentParser(description="Restore a stream from a dumpvault repository of format version 1.")
    parser.add_argument("repository")
    parser.add_argument("snapshot", nargs="?", help="the beginning of a snapshot's id, or 'latest'")
    parser.add_argument("--stream", help="the stream's name, if the snapshot has several")
    parser.add_argument("--key-file", help="unlock with this key file instead of DUMPVAULT_PASSWORD")
    parser.add_argument("--list", action="store_true", help="list the snapshots and their streams")
    options = parser.parse_args()
    if bool(options.list) == bool(options.snapshot):
        parser.error("name a snapshot, or ask for --list")
    try:
        key_file = None
        if options.key_file:
            key_file = Path(options.key_file).read_bytes()
            need(len(key_file) == 32, f"{options.key_file}: a key file has 32 bytes")
        passphrase = os.environb.get(b"DUMPVAULT_PASSWORD")
        need(key_file or passphrase is not None, "set DUMPVAULT_PASSWORD or give --key-file")
        repository = Repository(options.repository, passphrase, key_file)
        repository.read_history()
        if options.list:
            show_list(repository)
        else:
            restore(repository, choose(repository.snapshots, options.snapshot), options.stream, sys.stdout.buffer)
    except (Fault, OSError) as error:
        print(f"independent_reader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
