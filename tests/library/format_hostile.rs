//! Hostile but authentic repositories: whoever stole a writer's key can author objects whose every seal and hash is
//! right. What they ask for is refused with an error, in bounded memory and time.

// Clippy sees a test only where `#[test]` stands; there are helpers here.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use crate::support::hostile::{OUTPUT_BYTES_MAX, confined, independent_refuses, refused};
use crate::support::independent;
use crate::support::test_writer;
use crate::support::test_writer::{
    Block, DAMAGED, DATA, Described, PackLies, RAW, RECIPE, RawNode, TestWriter, ZSTD, columns, put_varint,
    stream,
};
use dumpvault::base::id::{NodeId, PackId};
use dumpvault::storage::Storage;
use dumpvault::vault::RepoError;
use dumpvault::vault::snapshot::Stream;

const TEXT: &[u8] = b"one row\nanother row\na third row that is a little longer\n";
const LEN: u64 = TEXT.len() as u64;

/// Stores `TEXT` as one chunk and gives the leaf that makes a stream of it.
fn text(writer: &mut TestWriter) -> RawNode {
    let block = writer.data_block(RAW, &[TEXT]);
    writer.pack(&[block]);
    RawNode::default().table(&[writer.chunk_id(TEXT)]).extent(0, 0, LEN)
}

/// Writes what is gathered, an index of it all, and names the root as a stream of `bytes`.
fn finish(writer: &mut TestWriter, root: NodeId, bytes: u64) -> Stream {
    writer.recipe_pack();
    writer.index(&[]);
    Stream { bytes, ..stream("s", TEXT, root) }
}

/// A stream whose root is `node`, of the length that the node claims.
fn rooted(writer: &mut TestWriter, node: &RawNode) -> Stream {
    let root = writer.node(node);
    finish(writer, root, node.len)
}

/// A honest stream that rests on nothing.
fn honest(writer: &mut TestWriter) -> Stream {
    let leaf = text(writer);
    rooted(writer, &leaf)
}

#[test]
fn an_honest_repository_of_the_test_writer_is_restored() {
    // The closure's name tells which test it is.
    #[allow(clippy::redundant_closure)]
    confined(
        // Not `honest` itself: the closure carries the test's name.
        #[expect(clippy::redundant_closure)]
        |writer| honest(writer),
        |_, outcome| {
            assert!(outcome.result.unwrap() == TEXT);
            assert!(outcome.damage.is_empty(), "{:?}", outcome.damage);
        },
    );
}

// ---- lengths

#[test]
fn a_stream_of_an_exbibyte_on_a_small_recipe_is_refused() {
    refused(&["its recipe makes 56 bytes"], |writer| {
        let leaf = text(writer);
        let root = writer.node(&leaf);
        finish(writer, root, 1 << 60)
    });
}

#[test]
fn a_leaf_that_claims_another_length_than_its_entries_have_is_refused() {
    refused(&["do not make up its length"], |writer| {
        let leaf = RawNode { len: 1 << 60, ..text(writer) };
        rooted(writer, &leaf)
    });
}

#[test]
fn entries_whose_lengths_overflow_are_refused() {
    refused(&["overflow", "beyond the end"], |writer| {
        let base = text(writer);
        let base = writer.node(&base);
        let leaf = RawNode::default().copy(0, u64::MAX >> 1).copy(0, u64::MAX >> 1).copy(0, 2 + LEN);
        rooted(writer, &RawNode { len: LEN, ..leaf.based(base, 1) })
    });
}

#[test]
fn an_extent_beyond_its_chunk_does_not_read_the_neighbour() {
    refused(&["bytes beyond its end"], |writer| {
        let (front, back) = TEXT.split_at(20);
        let block = writer.data_block(RAW, &[front, back]);
        writer.pack(&[block]);
        let leaf = RawNode::default().table(&[writer.chunk_id(front)]).extent(0, 0, LEN);
        rooted(writer, &leaf)
    });
}

#[test]
fn an_extent_larger_than_any_chunk_is_refused() {
    refused(&["beyond the largest chunk"], |writer| {
        let leaf = text(writer).extent(0, 1 << 40, 1 << 40);
        rooted(writer, &leaf)
    });
}

#[test]
fn extents_of_nothing_and_from_nowhere_are_refused() {
    for (node, words) in [
        (RawNode::default().goes_on(5), "goes on from nothing"),
        (RawNode::default().extent(7, 0, 5), "no such chunk"),
        (RawNode::default().copy(0, 0), "an empty entry"),
        (RawNode { len: 1, body: vec![0xff; 11], ..RawNode::default() }, "too large"),
        (RawNode { len: 1, body: vec![0x80], ..RawNode::default() }, "cut short"),
    ] {
        assert!(
            dumpvault::vault::snapshot::recipe::Node::decode(&node.encode())
                .unwrap_err()
                .what
                .contains(words)
        );
    }
    refused(&["goes on from nothing"], |writer| {
        text(writer);
        rooted(writer, &RawNode::default().goes_on(5))
    });
}

// ---- trees

#[test]
fn a_child_of_another_length_than_its_parent_claims_is_refused() {
    refused(&["does not fit its parent"], |writer| {
        let leaf = text(writer);
        let leaf = writer.node(&leaf);
        rooted(writer, &RawNode::inner(1, &[(leaf, LEN + 1)]))
    });
}

#[test]
fn a_child_of_another_level_is_refused() {
    refused(&["does not fit its parent"], |writer| {
        let leaf = text(writer);
        let leaf = writer.node(&leaf);
        rooted(writer, &RawNode::inner(3, &[(leaf, LEN)]))
    });
}

#[test]
fn a_tree_too_high_is_refused() {
    refused(&["too high a level"], |writer| {
        let leaf = text(writer);
        let mut node = writer.node(&leaf);
        for level in 1..=9 {
            node = writer.node(&RawNode::inner(level, &[(node, LEN)]));
        }
        finish(writer, node, LEN)
    });
}

#[test]
fn a_tree_of_nothing_is_refused() {
    refused(&["an empty child"], |writer| {
        text(writer);
        let empty = writer.node(&RawNode::default());
        rooted(writer, &RawNode::inner(1, &[(empty, 0); 1000]))
    });
}

#[test]
fn children_whose_lengths_overflow_are_refused() {
    refused(&["overflow"], |writer| {
        let leaf = text(writer);
        let leaf = writer.node(&leaf);
        let root = RawNode::inner(1, &[(leaf, u64::MAX), (leaf, LEN + 1)]);
        assert_eq!(root.len, LEN);
        rooted(writer, &root)
    });
}

#[test]
fn a_base_below_the_root_is_refused() {
    refused(&["does not fit its parent"], |writer| {
        let leaf = text(writer);
        let base = writer.node(&leaf);
        let child = writer.node(&leaf.based(base, 1));
        rooted(writer, &RawNode::inner(1, &[(child, LEN)]))
    });
}

#[test]
fn bytes_that_are_no_node_and_nodes_of_too_many_parts_are_refused() {
    refused(&["malformed CBOR"], |writer| {
        text(writer);
        // Nested arrays, as deep as a node is long.
        let root = writer.node_bytes([&[0xa1, 0x18, 0x63][..], &vec![0x81; 200_000], &[0]].concat());
        finish(writer, root, LEN)
    });
}

#[test]
fn a_leaf_of_a_hundred_thousand_entries_is_refused() {
    refused(&["too many entries"], |writer| {
        let leaf = (1..100_000).fold(text(writer).extent(0, 0, 1), |leaf, _| leaf.goes_on(0));
        // Two bytes an entry: a leaf of 200 KB that would decode to many times that.
        let body = [2, 1, 0].into_iter().chain([3, 0].into_iter().cycle().take(200_000)).collect();
        rooted(writer, &RawNode { body, len: 100_001, ..leaf })
    });
}

// ---- bases

#[test]
fn a_recipe_that_rests_on_itself_is_refused() {
    refused(&["other bytes than its ids say"], |writer| {
        text(writer);
        // No node can hold its own id; a table may claim it.
        let claimed = NodeId::from_bytes([0x42; 32]);
        let bytes = RawNode::default().copy(0, LEN).based(claimed, 1).encode();
        let len = bytes.len() as u32;
        let chunks = vec![(*claimed.as_bytes(), len)];
        writer.pack(&[Block {
            kind: RECIPE,
            codec: RAW,
            stored: bytes,
            plain_bytes: len,
            chunk_count: 1,
            chunks,
        }]);
        finish(writer, claimed, LEN)
    });
}

#[test]
fn a_recipe_that_rests_on_too_many_others_is_refused() {
    refused(&["its base and its depth do not fit"], |writer| {
        let leaf = text(writer);
        let mut root = writer.node(&leaf);
        for depth in 1..=33 {
            root = writer.node(&RawNode::default().copy(0, LEN).based(root, depth));
        }
        finish(writer, root, LEN)
    });
}

#[test]
fn a_recipe_that_lies_about_its_depth_is_refused() {
    refused(&["its depth is not the one that was promised"], |writer| {
        let leaf = text(writer);
        let mut root = writer.node(&leaf);
        for _ in 0..100 {
            root = writer.node(&RawNode::default().copy(0, LEN).based(root, 1));
        }
        finish(writer, root, LEN)
    });
}

#[test]
fn a_copy_beyond_the_end_of_the_base_is_refused() {
    refused(&["a range beyond its stream"], |writer| {
        let leaf = text(writer);
        let base = writer.node(&leaf);
        rooted(writer, &RawNode::default().copy(10, LEN).based(base, 1))
    });
}

#[test]
fn a_copy_from_before_the_start_of_the_base_is_refused() {
    refused(&["a copy before the start"], |writer| {
        let leaf = text(writer);
        let base = writer.node(&leaf);
        rooted(writer, &RawNode::default().copy(-1, LEN).based(base, 1))
    });
}

#[test]
fn a_copy_in_a_recipe_without_base_is_refused() {
    refused(&["a copy without a base"], |writer| {
        text(writer);
        rooted(writer, &RawNode::default().copy(0, LEN))
    });
}

#[test]
fn a_recipe_that_is_a_data_chunk_is_refused() {
    refused(&["is in no pack"], |writer| {
        let bytes = text(writer).encode();
        let block = writer.data_block(RAW, &[&bytes]);
        let root = NodeId::from_bytes(block.chunks[0].0);
        writer.pack(&[block]);
        finish(writer, root, LEN)
    });
}

// ---- blocks

/// A stream of `len` bytes from one data block that holds what it likes.
fn of_block(writer: &mut TestWriter, block: Block, len: u32) -> Stream {
    let chunk = dumpvault::base::id::ChunkId::from_bytes(block.chunks[0].0);
    writer.pack(&[block]);
    rooted(writer, &RawNode::default().table(&[chunk]).extent(0, 0, u64::from(len)))
}

fn claiming(writer: &TestWriter, codec: u8, stored: Vec<u8>, plain_bytes: u32) -> Block {
    let chunks = vec![(*writer.chunk_id(TEXT).as_bytes(), plain_bytes)];
    Block { kind: DATA, codec, stored, plain_bytes, chunk_count: 1, chunks }
}

#[test]
fn a_raw_block_longer_than_it_claims_is_refused() {
    refused(&["where 10 were promised"], |writer| {
        let block = claiming(writer, RAW, TEXT.to_vec(), 10);
        of_block(writer, block, 10)
    });
}

#[test]
fn a_compressed_block_shorter_than_it_claims_is_refused() {
    refused(&["a block of 56 bytes where 4096 were promised"], |writer| {
        let stored = zstd::bulk::compress(TEXT, 1).unwrap();
        let block = claiming(writer, ZSTD, stored, 4096);
        of_block(writer, block, 4096)
    });
}

#[test]
fn a_zstd_bomb_does_not_go_off() {
    refused(&["zstd cannot decompress"], |writer| {
        // 64 MiB of zeros in a few KiB, behind a table that tells of 64 KiB.
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut encoder).unwrap();
        let block = claiming(writer, ZSTD, encoder.finish().unwrap(), 64 << 10);
        of_block(writer, block, 64 << 10)
    });
}

#[test]
fn a_zstd_frame_that_asks_for_a_gibibyte_of_window_does_not_get_it() {
    refused(&["zstd cannot decompress", "other bytes than its ids say", "were promised"], |writer| {
        // Magic, a header without content size and with a window of 2^30 bytes, and a block that repeats one byte
        // 100,000 times.
        let run = 100_000u32 << 3 | 1 << 1 | 1;
        let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3][..], &run.to_le_bytes()[..3], b"x"].concat();
        let block = claiming(writer, ZSTD, frame, 4096);
        of_block(writer, block, 4096)
    });
}

#[test]
fn a_block_whose_chunks_have_other_ids_is_refused() {
    refused(&["other bytes than its ids say"], |writer| {
        let block = claiming(writer, RAW, b"not what the id says".to_vec(), 20);
        of_block(writer, block, 20)
    });
}

// ---- chunk tables, footers, indexes

/// Columns of a table that no pack can hold, none of which may be believed.
fn lying_columns(writer: &TestWriter) -> Vec<[Vec<u8>; 3]> {
    let good = columns(&[writer.data_block(RAW, &[TEXT])]);
    let with = |at: usize, value: &[u8]| {
        let mut lie = good.clone();
        lie[0][at..at + value.len()].copy_from_slice(value);
        lie
    };
    let count = |count: u32| with(8, &count.to_le_bytes());
    let [records, ids, lens] = good.clone();
    const MANY: usize = 1 << 19;
    let [records_of_many, ..] = count(1 + MANY as u32);
    vec![
        count(1 << 31),
        count(u32::MAX),
        count(0),
        with(4, &(1u32 << 30).to_le_bytes()),
        with(4, &u32::MAX.to_le_bytes()),
        with(0, &u32::MAX.to_le_bytes()),
        with(12, &[9]),
        with(13, &[9]),
        [records.clone(), ids.clone(), u32::MAX.to_le_bytes().to_vec()],
        [records.clone(), ids.clone(), vec![]],
        [records[1..].to_vec(), ids.clone(), lens.clone()],
        // Seventeen MiB of chunks of no bytes, otherwise without a fault: no pack can hold such a table.
        [records_of_many, [ids, vec![0; 32 * MANY]].concat(), [lens, vec![0; 4 * MANY]].concat()],
    ]
}

/// The check finds that many index objects that count for nothing, and no damage.
fn foreign_indexes(folder: &std::path::Path, count: usize) {
    let report = opened(folder).checker().check(
        dumpvault::vault::check::CheckSettings::new(dumpvault::vault::check::ReadData::Nothing, 0, 2),
        &dumpvault::base::event::Silent,
        &dumpvault::base::event::Cancel::new(),
    );
    let report = report.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let indexes = report.foreign.iter().filter(|foreign| foreign.object.starts_with("index/"));
    assert_eq!(indexes.count(), count, "{report:?}");
}

/// The repository in `folder`, opened with the key beside it.
fn opened(folder: &std::path::Path) -> dumpvault::vault::Repository {
    let key = dumpvault::vault::crypto::KeyFile::read(&folder.join("key")).unwrap().0;
    let storage = dumpvault::storage::local::LocalStorage::open(folder.join("repository")).unwrap();
    let surroundings = dumpvault::vault::Surroundings::new(
        std::sync::Arc::new(dumpvault::base::secret::OsEntropy),
        folder.join("cache"),
    );
    let key = dumpvault::vault::crypto::Credential::KeyFile(key);
    dumpvault::vault::Repository::open(std::sync::Arc::new(storage), &key, &surroundings).unwrap()
}

#[test]
fn an_index_with_a_lying_chunk_table_is_left_out_and_the_packs_own_tables_are_read() {
    confined(
        |writer| {
            let stream = honest(writer);
            for columns in lying_columns(writer) {
                writer.index_of(&[Described { id: PackId::from_bytes([7; 32]), bytes: 65536, columns }], &[]);
            }
            stream
        },
        |folder, outcome| {
            assert!(outcome.result.unwrap() == TEXT);
            // Foreign, and no damage.
            assert!(outcome.damage.is_empty(), "{:?}", outcome.damage);
            foreign_indexes(folder, 12);
        },
    );
}

#[test]
fn a_pack_with_a_lying_chunk_table_or_footer_holds_nothing() {
    refused(&["is in no pack"], |writer| {
        let block = writer.data_block(RAW, &[TEXT]);
        for columns in lying_columns(writer).into_iter().take(11) {
            writer.lying_pack(
                std::slice::from_ref(&block),
                PackLies { columns: Some(columns), ..PackLies::default() },
            );
        }
        for lies in [
            PackLies { table_offset: Some(u64::MAX), ..PackLies::default() },
            PackLies { table_offset: Some(0), ..PackLies::default() },
            PackLies { table_offset: Some(60_000), ..PackLies::default() },
            PackLies { table_bytes: Some(u32::MAX), ..PackLies::default() },
            PackLies { table_bytes: Some(3), ..PackLies::default() },
            PackLies { block_count: Some(u32::MAX), ..PackLies::default() },
        ] {
            writer.lying_pack(std::slice::from_ref(&block), lies);
        }
        // No index: only the packs' own tables could tell of the chunk.
        writer.unindexed.clear();
        let leaf = RawNode::default().table(&[writer.chunk_id(TEXT)]).extent(0, 0, LEN);
        rooted(writer, &leaf)
    });
}

#[test]
fn an_index_that_claims_more_than_memory_is_left_out() {
    confined(
        |writer| {
            let stream = honest(writer);
            for plain in [
                // An array of 2^60 packs, a byte string of 2^60 bytes, nesting without end, nothing at all.
                [&[0xa1, 0x00, 0x9b, 0x10][..], &[0; 7]].concat(),
                [&[0xa1, 0x01, 0x5b, 0x10][..], &[0; 7]].concat(),
                [&[0xa1, 0x18, 0x63][..], &vec![0x81; 1 << 20]].concat(),
                vec![],
            ] {
                writer.index_bytes(&plain);
            }
            stream
        },
        |folder, outcome| {
            assert!(outcome.result.unwrap() == TEXT);
            assert!(outcome.damage.is_empty(), "{:?}", outcome.damage);
            foreign_indexes(folder, 4);
        },
    );
}

#[test]
fn an_index_of_packs_with_absurd_sizes_is_no_reason_to_believe_them() {
    confined(
        |writer| {
            let leaf = text(writer);
            let root = writer.node(&leaf);
            writer.recipe_pack();
            for pack in &mut writer.unindexed {
                pack.bytes = u64::MAX;
            }
            let columns = writer.unindexed[0].columns.clone();
            writer.unindexed.push(Described { id: PackId::from_bytes([9; 32]), bytes: 1 << 63, columns });
            finish(writer, root, LEN)
        },
        |folder, outcome| {
            // The blocks are what their seals and ids say, whatever the index says of the pack around them.
            assert!(outcome.result.unwrap() == TEXT);
            independent_refuses(folder);
        },
    );
}

#[test]
fn an_index_that_lies_about_a_good_pack_yields_an_error_and_no_wrong_byte() {
    refused(&["is damaged", "other bytes than its ids say"], |writer| {
        let (front, back) = TEXT.split_at(28);
        let blocks = [writer.data_block(RAW, &[front]), writer.data_block(RAW, &[back])];
        writer.pack(&blocks);
        let pack = writer.unindexed.pop().unwrap();
        let [records, ids, lens] = pack.columns.clone();
        // The two chunks change places.
        let ids = [&ids[32..], &ids[..32]].concat();
        writer.unindexed.push(Described { columns: [records, ids, lens], ..pack });
        let table = [writer.chunk_id(front), writer.chunk_id(back)];
        let leaf = RawNode::default().table(&table).extent(0, 0, 28).extent(1, 0, 28);
        rooted(writer, &leaf)
    });
}

// ---- marks

#[test]
fn a_mark_takes_nothing_back_that_its_author_may_not_take_back() {
    let folder = tempfile::tempdir().unwrap();
    let writer = &mut TestWriter::create(&folder.path().join("repository"));
    let stream = honest(writer);
    let snapshot = writer.snapshot("app", 1, vec![stream], &[]);
    let committed = writer.commit(snapshot);
    let object = format!("snapshots/{snapshot}");
    let pinned = writer.mark(3, &object, &[], true);
    let other =
        writer.author(dumpvault::vault::crypto::Role::Append, &["*"], &folder.path().join("repository"));
    // Signed by nobody, and by one who may only add: of the kind that clears, of the same, of one that nobody knows.
    for kind in [6, 3, 2, test_writer::COMMITTED, 200] {
        writer.mark(kind, &object, &[committed, pinned], false);
        other.mark(kind, &object, &[committed, pinned], true);
    }
    other.mark(test_writer::COMMITTED, &format!("snapshots/{}", "ab".repeat(32)), &[committed], true);
    let history = |writer: &TestWriter| {
        let key = folder.path().join("key");
        let key = dumpvault::vault::crypto::KeyFile::create(&key, &dumpvault::base::secret::OsEntropy);
        let key = dumpvault::vault::crypto::Credential::KeyFile(key.unwrap());
        writer.slot(&key);
        let surroundings = dumpvault::vault::Surroundings::new(
            std::sync::Arc::new(dumpvault::base::secret::OsEntropy),
            folder.path().join("cache"),
        );
        let storage: std::sync::Arc<dyn Storage> = std::sync::Arc::new(
            dumpvault::storage::local::LocalStorage::open(folder.path().join("repository")).unwrap(),
        );
        let repo = dumpvault::vault::Repository::open(storage, &key, &surroundings).unwrap();
        let mut catalog = repo.catalog(&dumpvault::base::event::Silent).unwrap();
        let history = repo.history(&mut catalog).unwrap();
        std::fs::remove_file(folder.path().join("key")).unwrap();
        let listed: Vec<_> = history.snapshots.iter().map(|summary| summary.id).collect();
        (listed, history.pinned.contains(&snapshot))
    };
    assert_eq!(history(writer), (vec![snapshot], true));
    // A full author may.
    writer.mark(6, &object, &[pinned], true);
    assert_eq!(history(writer), (vec![snapshot], false));
    writer.mark(201, &object, &[committed], true);
    assert_eq!(history(writer), (vec![], false));
}

// ---- names

#[test]
fn names_that_climb_out_of_the_repository_are_only_names() {
    confined(
        |writer| {
            let stream = honest(writer);
            let hex = "ab".repeat(32);
            let folder = std::path::PathBuf::from(writer.storage.location());
            let other = writer.author(dumpvault::vault::crypto::Role::Append, &["*"], &folder);
            for name in [
                "../../etc/passwd".into(),
                format!("snapshots/../../{hex}"),
                format!("/{hex}"),
                "\0\x1b[2J".into(),
                "x".repeat(60_000),
            ] {
                other.mark(test_writer::COMMITTED, &name, &[], true);
                writer.mark(DAMAGED, &name, &[], true);
            }
            Stream { name: "../../stream\0".into(), ..stream }
        },
        |folder, outcome| {
            assert!(outcome.result.unwrap() == TEXT);
            // Whoever may only add says nothing of what is no snapshot.
            assert!(outcome.damage.is_empty(), "{:?}", outcome.damage);
            let mut entries: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            entries.sort();
            assert_eq!(entries, ["cache", "key", "repository"]);
        },
    );
}

#[test]
fn a_damage_mark_for_another_object_with_a_packs_id_says_nothing_of_the_pack() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TestWriter::create(&folder.path().join("repository"));
    let pack = {
        let block = writer.data_block(RAW, &[TEXT]);
        writer.pack(&[block])
    };
    writer.mark(DAMAGED, &format!("index/{pack}"), &[], true);
    writer.mark(DAMAGED, &format!("../packs/{pack}"), &[], true);
    let key = dumpvault::vault::crypto::KeyFile::create(
        &folder.path().join("key"),
        &dumpvault::base::secret::OsEntropy,
    )
    .unwrap();
    let key = dumpvault::vault::crypto::Credential::KeyFile(key);
    writer.slot(&key);
    let surroundings = dumpvault::vault::Surroundings::new(
        std::sync::Arc::new(dumpvault::base::secret::OsEntropy),
        folder.path().join("cache"),
    );
    let storage: std::sync::Arc<dyn Storage> = std::sync::Arc::new(writer.storage);
    let repo = dumpvault::vault::Repository::open(storage, &key, &surroundings).unwrap();
    let mut catalog = repo.catalog(&dumpvault::base::event::Silent).unwrap();
    assert!(repo.history(&mut catalog).unwrap().damaged_packs.is_empty());
}

// ---- snapshots, marks, slots

#[test]
fn a_snapshot_body_that_claims_more_than_memory_is_refused() {
    refused(&["snapshot body"], |writer| {
        let stream = honest(writer);
        let honest = writer.snapshot("hostile", 2, vec![stream.clone()], &[]);
        // An array of 2^60 streams.
        let body = [&[0xa1, 0x00, 0x9b, 0x10][..], &[0; 7]].concat();
        let hostile = writer.snapshot_with_body(honest, &body);
        writer.storage.delete(&format!("snapshots/{honest}")).unwrap();
        writer.commit(hostile);
        // What is made of this one is older: the newest is the one that cannot be read.
        Stream { name: "older".into(), ..stream }
    });
}

#[test]
fn a_slot_that_asks_for_the_machine_is_refused_before_it_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    for (passes, memory_kib, lanes) in
        [(3, u32::MAX, 4), (u32::MAX, 64 << 10, 4), (3, 64 << 10, 65), (3, 0, 4), (0, 64, 0)]
    {
        let repository = folder.path().join(format!("{passes}-{memory_kib}-{lanes}"));
        let writer = TestWriter::create(&repository);
        writer.slot_asking(passes, memory_kib, lanes);
        let passphrase = dumpvault::base::secret::Passphrase::new("any".into());
        let surroundings = dumpvault::vault::Surroundings::new(
            std::sync::Arc::new(dumpvault::base::secret::OsEntropy),
            folder.path().join("cache"),
        );
        let storage: std::sync::Arc<dyn Storage> = std::sync::Arc::new(writer.storage);
        let credential = dumpvault::vault::crypto::Credential::Passphrase(passphrase);
        let error = dumpvault::vault::Repository::open(storage, &credential, &surroundings).unwrap_err();
        assert!(error.to_string().contains("refused key-derivation costs"), "{error}");
        let output = independent::read(&repository, &independent::Unlock::Password("any"), &["--list"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains("Argon2"), "{message}");
    }
}

// ---- amplification

#[test]
fn a_recipe_that_unfolds_to_an_exbibyte_streams_in_bounded_memory_until_stopped() {
    confined(
        |writer| {
            let leaf = text(writer);
            let (mut root, mut len) = (writer.node(&leaf), LEN);
            for depth in 1..=6 {
                // Each takes the one below some hundred times over, in all.
                let copy =
                    (1..200).fold(RawNode::default().copy(0, len), |node, _| node.copy(-(len as i64), len));
                len = copy.len;
                root = writer.node(&copy.based(root, depth));
            }
            assert!(len > 1 << 50);
            finish(writer, root, len)
        },
        |_, outcome| {
            assert!(matches!(outcome.result, Err(RepoError::Output { .. })), "{:?}", outcome.result);
            let own = OUTPUT_BYTES_MAX as u64 * 2;
            assert!(outcome.memory_peak_bytes < own + (96 << 20), "{} bytes", outcome.memory_peak_bytes);
        },
    );
}

/// Blocks of 256 KiB that the test's restores may hold open.
const BLOCKS: u8 = 32;

#[test]
fn a_stream_made_of_single_bytes_from_everywhere_is_restored_in_bounded_memory() {
    confined(
        |writer| {
            // As many blocks as may be open at a time, and one byte after another taken from each in turn.
            let chunk = |block: u8| vec![block; 1 << 18];
            let blocks: Vec<Block> = (0..BLOCKS).map(|n| writer.data_block(ZSTD, &[&chunk(n)])).collect();
            writer.pack(&blocks);
            let ids: Vec<_> = (0..BLOCKS).map(|n| writer.chunk_id(&chunk(n))).collect();
            // What repeats is one node: 96 million extents in all would be as easy to write.
            let entries = |leaf: RawNode, n: u64| leaf.extent(n % u64::from(BLOCKS), n * 31, 1);
            let leaf = (0..8192).fold(RawNode::default().table(&ids), entries);
            let leaf = (writer.node(&leaf), leaf.len);
            let root = writer.node(&RawNode::inner(1, &[leaf; 128]));
            let bytes: Vec<u8> = (0..8192u64).map(|n| (n % u64::from(BLOCKS)) as u8).collect();
            finish(writer, root, 0);
            stream("s", &bytes.repeat(128), root)
        },
        |_, outcome| {
            assert_eq!(outcome.result.unwrap().len(), 128 * 8192);
            assert!(outcome.memory_peak_bytes < 96 << 20, "{} bytes", outcome.memory_peak_bytes);
        },
    );
}

#[test]
fn a_stream_that_wants_more_blocks_at_a_time_than_may_be_open_comes_to_an_end() {
    confined(
        |writer| {
            let chunk = |block: u8| vec![block; 1 << 18];
            let blocks: Vec<Block> = (0..2 * BLOCKS).map(|n| writer.data_block(ZSTD, &[&chunk(n)])).collect();
            writer.pack(&blocks);
            let ids: Vec<_> = (0..2 * BLOCKS).map(|n| writer.chunk_id(&chunk(n))).collect();
            let entries = |leaf: RawNode, n: u64| leaf.extent(n % u64::from(2 * BLOCKS), n, 1);
            let leaf = (0..4096).fold(RawNode::default().table(&ids), entries);
            let root = writer.node(&leaf);
            let bytes: Vec<u8> = (0..4096u64).map(|n| (n % u64::from(2 * BLOCKS)) as u8).collect();
            finish(writer, root, 0);
            stream("s", &bytes, root)
        },
        |_, outcome| assert_eq!(outcome.result.unwrap().len(), 4096),
    );
}

#[test]
fn varints_of_the_test_writer_are_those_of_the_format() {
    let mut bytes = Vec::new();
    [0, 127, 128, 300, u64::MAX].into_iter().for_each(|value| put_varint(&mut bytes, value));
    assert_eq!(bytes[..6], [0, 127, 0x80, 1, 0xac, 2]);
    assert_eq!(bytes[6..], [255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
}
