//! A whole block, backwards.

use super::output::{Output, ROOM};
use super::rows::COLUMNS_MAX;
use super::streams::StoredStreams;
use super::tree::{Node, Planter};
use super::{Cursor, Malformed, ROWS_MIN, malformed, nodes_max};

/// A decoder with its working memory, for one thread.
#[derive(Default)]
pub struct Decoder {
    streams: StoredStreams,
    columns: Vec<Node>,
}

impl Decoder {
    /// Restores exactly `plain_bytes` bytes into `plain`, whatever was in it. The caller has bounded `plain_bytes`.
    ///
    /// # Errors
    /// When `stored` is no block of columns of that length. Nothing that it says is believed before it is checked.
    pub fn decode(
        &mut self,
        stored: &[u8],
        plain_bytes: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let with_room = plain_bytes + ROOM;
        if plain.len() < with_room {
            plain.reserve_exact(with_room - plain.len());
        }
        plain.resize(with_room, 0);
        let mut out = Output::new(plain);
        let outcome = self.decode_into(stored, plain_bytes, &mut out);
        let made = out.len();
        // Nodes are of one block; only their memory stays.
        self.columns.clear();
        plain.truncate(plain_bytes);
        outcome?;
        if made != plain_bytes {
            return Err(malformed("fewer bytes than promised"));
        }
        Ok(())
    }

    fn decode_into(
        &mut self,
        stored: &[u8],
        plain_bytes: usize,
        out: &mut Output<'_>,
    ) -> Result<(), Malformed> {
        let head = self.streams.begin(stored, plain_bytes)?;
        let description = head.of(self.streams.arena()).to_vec();
        let mut cursor = Cursor::new(&description);
        let mut raw = self.streams.take(stored)?;
        let watermark = self.streams.watermark();
        while !cursor.is_at_end() {
            let before = cursor.count(raw.len())?;
            let rows = cursor.count(plain_bytes)?;
            let shape = cursor.count(2 * COLUMNS_MAX + 1)?;
            let (columns, is_framed) = (shape / 2, shape % 2 == 1);
            // Each field has an end of its own, so many fit into the block only.
            if rows < ROWS_MIN || columns == 0 || rows * columns > plain_bytes {
                return Err(malformed("a run of an invalid shape"));
            }
            out.copy(self.streams.arena(), raw.start as usize, before)?;
            raw.start += before as u32;
            self.columns.clear();
            self.streams.forget_from(watermark);
            let head_start = head.start;
            let nodes_left = nodes_max(plain_bytes);
            let mut planter = Planter { cursor, stored, streams: &mut self.streams, head_start, nodes_left };
            for _ in 0..columns {
                self.columns.push(planter.node(rows, 0)?);
            }
            cursor = planter.cursor;
            write_rows(&mut self.columns, self.streams.arena(), rows, is_framed, out)?;
            if !self.columns.iter().all(Node::is_used_up) {
                return Err(malformed("a column longer than its run"));
            }
        }
        out.copy(self.streams.arena(), raw.start as usize, raw.len())?;
        self.streams.finish(stored)
    }

    /// Memory that the decoder holds.
    pub fn memory_bytes(&self) -> usize {
        self.streams.memory_bytes() + self.columns.capacity() * size_of::<Node>()
    }
}

fn write_rows(
    columns: &mut [Node],
    arena: &[u8],
    rows: usize,
    is_framed: bool,
    out: &mut Output<'_>,
) -> Result<(), Malformed> {
    let Some((first, others)) = columns.split_first_mut() else { return Ok(()) };
    for _ in 0..rows {
        let frame = if is_framed { Some(out.frame_place()?) } else { None };
        first.write(arena, out)?;
        for column in others.iter_mut() {
            out.byte(b'\t')?;
            column.write(arena, out)?;
        }
        out.byte(b'\n')?;
        if let Some(start) = frame {
            out.frame(start)?;
        }
        if out.is_over() {
            return Err(malformed("more bytes than promised"));
        }
    }
    Ok(())
}
