//! A whole block, forwards.

use super::plan::Plans;
use super::rows::Rows;
use super::shape::{Columns, Scratch};
use super::streams::{Content, Streams};
use super::{NotCompressed, nodes_max, put_varint};

/// Less than a quarter of a block in rows is not worth it.
const ROWS_SHARE: usize = 4;
/// Places in a block are u32, and streams a little longer than the block.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// An encoder with its working memory and the plans of tables, for one thread.
#[derive(Default)]
pub struct Encoder {
    rows: Rows,
    plans: Plans,
    head: Vec<u8>,
    streams: Streams,
    scratch: Scratch,
}

impl Encoder {
    /// Appends `plain` by column to `stored`, each stream at zstd's `level`. False where it has too few rows; then
    /// `stored` is as before.
    ///
    /// # Errors
    /// When zstd fails, which it does only without memory.
    pub fn encode(&mut self, plain: &[u8], level: i32, stored: &mut Vec<u8>) -> Result<bool, NotCompressed> {
        if plain.len() > PLAIN_BYTES_MAX {
            return Ok(false);
        }
        self.head.clear();
        self.streams.begin();
        self.rows.begin(plain);
        let mut raw = self.streams.buffer(0);
        raw.clear();
        // The first stream is what is no row, known at the end only; it is put in its place then.
        self.streams.put(Vec::new(), 0, Content::Text);
        let (mut last, mut row_bytes) = (0, 0);
        while let Some(run) = self.rows.next_run(plain) {
            let before = plain.get(last..run.start).unwrap_or_default();
            raw.extend_from_slice(before);
            put_varint(&mut self.head, before.len() as u64);
            put_varint(&mut self.head, run.rows as u64);
            put_varint(&mut self.head, (run.columns as u64) << 1 | u64::from(run.is_framed));
            last = run.end;
            row_bytes += run.end - run.start;
            let mut plans = self.plans.take(run.is_framed, run.columns);
            let (head, streams, scratch) = (&mut self.head, &mut self.streams, &mut self.scratch);
            let mut columns = Columns { plain, head, streams, scratch, nodes: 0 };
            for (column, plan) in self.rows.columns().iter().zip(&mut plans) {
                columns.column(column, plan, 0);
            }
            let nodes = columns.nodes;
            self.plans.give_back(run.is_framed, run.columns, plans);
            if nodes > nodes_max(plain.len()) {
                return Ok(false);
            }
        }
        if row_bytes * ROWS_SHARE < plain.len() || row_bytes == 0 {
            return Ok(false);
        }
        raw.extend_from_slice(plain.get(last..).unwrap_or_default());
        self.streams.put_first(raw);
        let before = stored.len();
        let fits = self.streams.finish(&self.head, plain.len(), level, stored)?;
        if !fits {
            stored.truncate(before);
        }
        Ok(fits)
    }
}
