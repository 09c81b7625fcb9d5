#!/usr/bin/env python3
"""An independent reader of dumpvault repositories, format version 1.

Written from docs/format.md alone, with published packages only, so that it proves two things: that the page is enough
to read a repository without the program, and that the program writes what the page says. It is a second specification
before it is a tool: it reads objects whole, one after another, and checks all that the format lets a reader check. Any
fault ends it with exit code 1 and one line that says what is wrong.

    independent_reader.py REPOSITORY_DIR (SNAPSHOT_ID_PREFIX | latest) [--stream NAME] [--key-file F] > stream
    independent_reader.py REPOSITORY_DIR --list [--key-file F]

The passphrase comes from DUMPVAULT_PASSWORD. Bytes go to stdout as they are proven chunk by chunk; the stream as a
whole is proven only when the exit code is 0.
"""

import argparse
import bisect
import hashlib
import hmac
import io
import os
import re
import struct
import sys
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from pathlib import Path

import argon2.low_level
import blake3
import cbor2
import nacl.bindings
import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = bytes.fromhex("8944564c540d0a1a")
HEADER_BYTES = 32
TYPES = {"config": 1, "keys": 2, "packs": 3, "index": 4, "snapshots": 5, "marks": 6}
ROLE_FULL, ROLE_APPEND = 1, 2
SLOT_PASSPHRASE, SLOT_KEY_FILE = 1, 2
KIND_DATA, KIND_RECIPE = 1, 2
CODEC_RAW, CODEC_ZSTD = 0, 1
MARK_COMMITTED, MARK_DAMAGED = 1, 5
STATES = {1: "complete", 2: "partial", 3: "suspect"}

# Caps: a writer that was taken over can author anything, so nothing is believed for its size.
OBJECT_BYTES_MAX = {"config": 64 << 10, "keys": 64 << 10, "packs": 512 << 20, "index": 256 << 20,
                    "snapshots": 64 << 20, "marks": 64 << 10}
SLOTS_MAX, ARGON_M_MAX, ARGON_T_MAX, ARGON_P_MAX = 64, 1 << 20, 64, 64
TABLE_BYTES_MAX, BLOCK_BYTES_MAX, CHUNK_BYTES_MAX = 16 << 20, 4 << 20, 256 << 10
LEVEL_MAX, DEPTH_MAX, PARTS_MAX = 8, 32, 8192
PACK_ALIGN, BLOCKS_OFFSET, FOOTER_BYTES, TAG_BYTES = 65536, 112, 24, 16
CACHED_PACKS, CACHED_BLOCKS = 8, 24
UNZSTD = zstandard.ZstdDecompressor(max_window_size=2 * BLOCK_BYTES_MAX)


class Fault(Exception):
    """The repository does not hold what the format says, or the key does not fit."""


def need(condition, message):
    if not condition:
        raise Fault(message)


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


def verify_signature(public, signature, message, what):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature as error:
        raise Fault(f"{what}: the signature is wrong") from error


# HPKE (RFC 9180) in mode PSK with X25519, HKDF-SHA256 and ChaCha20-Poly1305, receiving side, one message.

KEM_SUITE = b"KEM" + struct.pack(">H", 0x0020)
HPKE_SUITE = b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, 0x0003)
MODE_PSK = b"\x01"
PSK_ID = b"dumpvault v1 hpke psk"


def labeled_extract(suite, salt, label, ikm):
    return hmac.new(salt, b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def labeled_expand(suite, prk, label, info, length):
    """HKDF-Expand; at most one block of SHA-256, which all uses here stay within."""
    labeled = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    return hmac.new(prk, labeled + b"\x01", hashlib.sha256).digest()[:length]


def hpke_open(secret, public, psk, enc, info, aad, sealed, what):
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(enc))
    except ValueError as error:
        raise Fault(f"{what}: a bad encapsulated key: {error}") from error
    eae_prk = labeled_extract(KEM_SUITE, b"", b"eae_prk", shared)
    shared = labeled_expand(KEM_SUITE, eae_prk, b"shared_secret", enc + public, 32)
    context = (MODE_PSK + labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", PSK_ID)
               + labeled_extract(HPKE_SUITE, b"", b"info_hash", info))
    exported = labeled_extract(HPKE_SUITE, shared, b"secret", psk)
    key = labeled_expand(HPKE_SUITE, exported, b"key", context, 32)
    nonce = labeled_expand(HPKE_SUITE, exported, b"base_nonce", context, 12)  # sequence number 0: the base nonce
    return open_sealed(key, nonce, sealed, aad, what)


class Epoch:
    """One key epoch of the bundle with the sub-keys that a reader needs."""

    def __init__(self, values, what):
        values = check_map(values, what)
        self.number = field(values, 0, int, what)
        root = field(values, 1, bytes, what, 32)
        self.public = field(values, 2, bytes, what, 32)
        self.verifying = field(values, 3, bytes, what, 32)
        self.secret = field(values, 4, bytes, what, 32, default=None)
        for name, context in [("config", "config"), ("label", "slot label"), ("index", "index"),
                              ("head", "snapshot head"), ("mark", "mark"), ("psk", "hpke psk")]:
            setattr(self, name, derive_key("dumpvault v1 " + context, root))
        if self.secret is not None:
            derived = X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
            need(derived == self.public, f"{what}: secret and public key do not belong together")

    def open_hpke(self, enc, info, aad, sealed, what):
        need(self.secret is not None, "this key can write only: it cannot open packs and snapshot bodies")
        return hpke_open(self.secret, self.public, self.psk, enc, info, aad, sealed, what)


# ---------------------------------------------------------------- objects

class Object:
    """An object's bytes with its header taken apart."""

    def __init__(self, key, data):
        self.key, self.data, self.header = key, data, data[:HEADER_BYTES]
        need(len(data) >= HEADER_BYTES and data[:8] == MAGIC, f"{key}: no dumpvault object")
        kind, version, incompatible, _compatible, self.epoch = struct.unpack_from("<BBHHH", data, 8)
        self.repository = data[16:32]
        need(version == 1, f"{key}: format version {version} is unknown")
        need(incompatible == 0, f"{key}: needs features {incompatible:#06x} that this reader does not know")
        need(kind == TYPES[key.split("/")[0]], f"{key}: object type {kind} does not belong here")
        self.payload = data[HEADER_BYTES:]


class Repository:
    def __init__(self, path, passphrase, key_file):
        self.path = Path(path)
        config = self.read("config", hashed=False)
        self.id = config.repository
        self.unlock(passphrase, key_file)
        self.open_config(config)

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
        pattern = r"packs/([0-9a-f]{2})/\1[0-9a-f]{62}" if folder == "packs" else folder + r"/[0-9a-f]{64}"
        names = (str(entry.relative_to(self.path)) for entry in (self.path / folder).rglob("*") if entry.is_file())
        return sorted(name for name in names if re.fullmatch(pattern, name))

    def epoch(self, number, what):
        need(number in self.epochs, f"{what}: key epoch {number} is not in this key")
        return self.epochs[number]

    # ---- keys

    def unlock(self, passphrase, key_file):
        names = self.keys_under("keys")
        need(len(names) <= SLOTS_MAX, f"{len(names)} key slots are more than {SLOTS_MAX}")
        tried = 0
        for name in names:
            slot = self.read(name)
            fields = decode_map(slot.payload, name)
            opening = self.slot_key(name, slot, fields, passphrase, key_file)
            if opening is None:
                continue
            tried, (key, aad) = tried + 1, opening
            nonce, sealed = field(fields, 2, bytes, name, 24), field(fields, 3, bytes, name)
            try:
                bundle = open_small(key, nonce, sealed, aad, name)
            except Fault:
                continue  # another passphrase's slot
            self.load_bundle(decode_map(bundle, name), name)
            self.check_label(slot, fields, nonce)
            return
        raise Fault("no key slot opens with this passphrase or key file" if tried else "no key slot of this kind")

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
        need(field(bundle, 0, int, name) in (ROLE_FULL, ROLE_APPEND), f"{name}: an unknown role")
        content_root = field(bundle, 1, bytes, name, 32)
        self.chunk_key = derive_key("dumpvault v1 chunk id", content_root)
        self.node_key = derive_key("dumpvault v1 recipe node id", content_root)
        epochs = [Epoch(values, name) for values in field(bundle, 2, list, name)]
        self.epochs = {epoch.number: epoch for epoch in epochs}
        need(sorted(self.epochs) == list(range(len(epochs))) and epochs, f"{name}: epochs do not count from 0")

    def check_label(self, slot, fields, bundle_nonce):
        key = self.epoch(slot.epoch, slot.key).label
        sealed, nonce = field(fields, 5, bytes, slot.key), field(fields, 4, bytes, slot.key, 24)
        decode_map(open_small(key, nonce, sealed, slot.header + bundle_nonce, f"{slot.key} label"), slot.key)

    def open_config(self, config):
        need(config.epoch == 0, "config: not of epoch 0")
        fields, epoch = decode_map(config.payload, "config"), self.epoch(0, "config")
        nonce, sealed = field(fields, 0, bytes, "config", 24), field(fields, 1, bytes, "config")
        signature = field(fields, 2, bytes, "config", 64)
        verify_signature(epoch.verifying, signature, b"dumpvault v1 config" + config.header + nonce + sealed, "config")
        plain = decode_map(open_small(epoch.config, nonce, sealed, config.header, "config"), "config")
        smallest, average, largest = (field(plain, key, int, "config") for key in (1, 2, 3))
        need(smallest <= average <= largest <= CHUNK_BYTES_MAX, "config: impossible chunk sizes")
        need(field(plain, 4, int, "config") <= BLOCK_BYTES_MAX, "config: an impossible block size")
        field(plain, 5, int, "config")

    # ---- marks and snapshots

    def read_marks(self):
        """(kind, object key) of every mark that holds: a mark named by one that may take it back no longer does."""
        marks, named = {}, []
        for name in self.keys_under("marks"):
            mark = self.read(name)
            fields, epoch = decode_map(mark.payload, name), self.epoch(mark.epoch, name)
            nonce, sealed = field(fields, 0, bytes, name, 24), field(fields, 1, bytes, name)
            signature = field(fields, 2, bytes, name, 64, default=None)
            if signature is not None:
                message = b"dumpvault v1 mark" + mark.header + nonce + sealed
                verify_signature(epoch.verifying, signature, message, name)
            plain = decode_map(open_small(epoch.mark, nonce, sealed, mark.header, name), name)
            kind = field(plain, 0, int, name)
            need(kind != 6 or signature is not None, f"{name}: a mark of this kind must be signed")
            marks[name] = (kind, field(plain, 1, str, name))
            old = ["marks/" + old.hex() for old in ids(field(plain, 3, bytes, name), name)]
            named += [(marks[name], signature is not None, one) for one in old]
        superseded = {old for mark, signed, old in named if signed or marks.get(old) == mark}
        return {mark for name, mark in marks.items() if name not in superseded}

    def snapshots(self):
        """The committed snapshots' heads, oldest first."""
        committed = {key for kind, key in self.read_marks() if kind == MARK_COMMITTED}
        heads = [Snapshot(self, name) for name in self.keys_under("snapshots") if name in committed]
        return sorted(heads, key=lambda head: (head.time, head.counter, head.id))


class Snapshot:
    """A snapshot object: the head is opened at once, the body on demand."""

    def __init__(self, repository, name):
        self.object = repository.read(name)
        self.name, self.id = name, name.split("/")[1]
        self.fields = decode_map(self.object.payload, name)
        self.epoch = repository.epoch(self.object.epoch, name)
        nonce, sealed = field(self.fields, 0, bytes, name, 24), field(self.fields, 1, bytes, name)
        head = decode_map(open_small(self.epoch.head, nonce, sealed, self.object.header, f"{name} head"), name)
        self.series, self.host = field(head, 0, str, name), field(head, 1, str, name)
        self.time, self.state = field(head, 2, int, name, smallest=-1 << 63), field(head, 3, int, name)
        self.counter = field(head, 5, int, name)
        need(self.counter >= 1, f"{name}: the series' counter begins at 1")
        field(head, 6, bytes, name, 32, default=None)
        self.proof = field(head, 10, int, name)

    def streams(self):
        head_digest = blake3.blake3(field(self.fields, 1, bytes, self.name)).digest()
        enc, sealed = field(self.fields, 2, bytes, self.name, 32), field(self.fields, 3, bytes, self.name)
        body = self.epoch.open_hpke(enc, b"dumpvault v1 snapshot", self.object.header + head_digest, sealed,
                                    f"{self.name} body")
        body = decode_map(body, self.name)
        streams = [Stream(values, self.name) for values in field(body, 0, list, self.name)]
        need(len({stream.name for stream in streams}) == len(streams), f"{self.name}: two streams of one name")
        return streams


class Stream:
    def __init__(self, values, what):
        values = check_map(values, what)
        self.name, self.length = field(values, 0, str, what), field(values, 1, int, what)
        self.digest, self.root = field(values, 2, bytes, what, 32), field(values, 4, bytes, what, 32)
        field(values, 3, int, what)  # a proof; later programs may know more of them


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
        for stored, plain, count, kind, codec, zero in struct.iter_unpack("<IIIBBH", raw[0]):
            need(kind in (KIND_DATA, KIND_RECIPE) and codec in (CODEC_RAW, CODEC_ZSTD) and zero == 0,
                 f"{what}: an unknown kind or codec of block")
            need(TAG_BYTES <= stored <= BLOCK_BYTES_MAX + 64 and plain <= BLOCK_BYTES_MAX,
                 f"{what}: an impossible length of block")
            own = list(zip(chunk_ids[first:first + count], lengths[first:first + count]))
            filled = len(own) == count and sum(length for _, length in own) == plain
            need(filled, f"{what}: a block's chunks do not fill it")
            need(all(length <= CHUNK_BYTES_MAX for _, length in own), f"{what}: a chunk is too long")
            self.blocks.append((offset, stored, plain, kind, codec, own))
            offset, first = offset + stored, first + count
        need(first == len(chunk_ids), f"{what}: chunks that no block holds")
        self.end = offset


class Pack:
    """A pack object whose own chunk table was opened and found sound."""

    def __init__(self, repository, name):
        self.object = pack = repository.read(name)
        self.name, size = name, len(pack.data)
        need(size % PACK_ALIGN == 0 and size, f"{name}: {size} bytes are no whole pack")
        table_offset, table_bytes, count, end = struct.unpack("<QII8s", pack.data[-FOOTER_BYTES:])
        need(end == b"DVLTPEND", f"{name}: no footer")
        need(TAG_BYTES <= table_bytes <= TABLE_BYTES_MAX, f"{name}: an impossible chunk table")
        inside = BLOCKS_OFFSET <= table_offset <= size - FOOTER_BYTES - table_bytes
        need(inside, f"{name}: the chunk table lies outside")
        need(not any(pack.data[table_offset + table_bytes:-FOOTER_BYTES]), f"{name}: the padding is not zero")
        self.enc = pack.data[32:64]
        epoch = repository.epoch(pack.epoch, name)
        self.key = epoch.open_hpke(self.enc, b"dumpvault v1 pack", pack.header, pack.data[64:112], f"{name} pack key")
        need(len(self.key) == 32, f"{name}: a pack key is 32 bytes")
        sealed = pack.data[table_offset:table_offset + table_bytes]
        aad = pack.header + self.enc + struct.pack("<I", count)
        plain = open_sealed(self.key, struct.pack("<IQ", 1, 0), sealed, aad, f"{name} chunk table")
        self.table = Table(decode_map(plain, name), name)
        need(len(self.table.blocks) == count, f"{name}: footer and chunk table differ in their blocks")
        need(self.table.end == table_offset, f"{name}: the blocks do not reach to the chunk table")
        need(len({block[3] for block in self.table.blocks}) <= 1, f"{name}: data and recipe blocks in one pack")

    def open_block(self, number, keys):
        """{id: bytes} of every chunk of the block, each proven to be what its id says."""
        offset, stored, plain_bytes, kind, codec, chunks = self.table.blocks[number]
        what = f"{self.name} block {number}"
        aad = self.object.header + self.enc + struct.pack("<IBB", number, kind, codec)
        sealed = self.object.data[offset:offset + stored]
        plain = open_sealed(self.key, struct.pack("<IQ", 0, number), sealed, aad, what)
        if codec == CODEC_ZSTD:
            plain = unzstd(plain, plain_bytes, what)
        need(len(plain) == plain_bytes, f"{what}: {len(plain)} bytes instead of {plain_bytes}")
        found, at = {}, 0
        for chunk_id, length in chunks:
            chunk = plain[at:at + length]
            need(blake3.blake3(chunk, key=keys[kind]).digest() == chunk_id, f"{what}: a chunk does not have its id")
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


class Store:
    """Finds chunks and recipe nodes by id, through the index objects or, where none names it, a pack's own table."""

    def __init__(self, repository):
        self.repository = repository
        self.keys = {KIND_DATA: repository.chunk_key, KIND_RECIPE: repository.node_key}
        self.places = {KIND_DATA: {}, KIND_RECIPE: {}}  # id -> [(pack key, block number, length)]
        self.indexed, self.packs, self.cache = {}, OrderedDict(), OrderedDict()
        damaged = {key for kind, key in repository.read_marks() if kind == MARK_DAMAGED}
        self.read_indexes()
        for name in repository.keys_under("packs"):
            if name not in self.indexed:
                self.add(name, self.pack(name).table)
        for places in (places for by_id in self.places.values() for places in by_id.values()):
            places.sort(key=lambda place: place[0] in damaged)  # a damaged pack may still serve, but last

    def read_indexes(self):
        packs, replaced = {}, set()
        for name in self.repository.keys_under("index"):
            index = self.repository.read(name)
            key = self.repository.epoch(index.epoch, name).index
            plain = open_small(key, index.payload[:24], index.payload[24:], index.header, name)
            fields = decode_map(plain, name)
            replaced.update("index/" + old.hex() for old in ids(field(fields, 1, bytes, name, default=b""), name))
            packs[name] = [check_map(values, name) for values in field(fields, 0, list, name)]
        for name, values in ((name, values) for name in packs if name not in replaced for values in packs[name]):
            pack_id = field(values, 0, bytes, name, 32).hex()
            table = Table({key - 2: value for key, value in values.items() if key >= 2}, name)
            pack_name = f"packs/{pack_id[:2]}/{pack_id}"
            self.indexed[pack_name] = (field(values, 1, int, name), table.raw)
            self.add(pack_name, table)

    def add(self, pack_name, table):
        for number, (_, _, _, kind, _, chunks) in enumerate(table.blocks):
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
                    self.cache[pack_name, number] = self.pack(pack_name).open_block(number, self.keys)
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
    digest = blake3.blake3()
    for piece in recipe.bytes(0, stream.length):
        digest.update(piece)
        out.write(piece)
    out.flush()
    need(digest.digest() == stream.digest, "the stream's digest is wrong")


def show_time(ms):
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
        return moment.isoformat(timespec="milliseconds")
    except OverflowError:
        return f"{ms} ms"  # a moment that no calendar has


def show_list(snapshots):
    for snapshot in snapshots:
        time = show_time(snapshot.time)
        print(snapshot.id, time, STATES.get(snapshot.state, f"unknown ({snapshot.state})"), ascii(snapshot.series), ascii(snapshot.host), sep="\t")
        for stream in snapshot.streams():
            print("", ascii(stream.name), stream.length, stream.digest.hex(), sep="\t")


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
        if options.list:
            show_list(repository.snapshots())
        else:
            restore(repository, choose(repository.snapshots(), options.snapshot), options.stream, sys.stdout.buffer)
    except (Fault, OSError) as error:
        print(f"independent_reader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
