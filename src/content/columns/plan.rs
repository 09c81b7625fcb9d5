//! What a column was last time, so that it is not looked for again in the next block of the same table. Nothing of it
//! is stored.

use super::tag;

/// After so many blocks a column is looked at anew: what fits may not be the best any more.
const FRESH_FOR: u8 = 24;
/// Tables whose plans are kept.
const TABLES_MAX: usize = 64;

/// The plan of one column, and of the columns in it.
#[derive(Default)]
pub(super) struct Plan {
    /// The tag that fitted last time.
    pub tag: Option<u8>,
    /// What goes with the tag: the scale, the special value, the delimiter.
    pub detail: u8,
    /// How many parts it has.
    pub parts: u8,
    inner: Vec<Plan>,
    used: u8,
}

impl Plan {
    /// The tag to try first.
    pub(super) fn guess(&mut self) -> Option<u8> {
        self.used = self.used.saturating_add(1);
        if self.used > FRESH_FOR && matches!(self.tag, Some(tag::TEXT | tag::PARTS | tag::AFFIX | tag::WORDS))
        {
            self.used = 0;
            return None;
        }
        self.tag
    }

    /// Keeps what fits now. What was known of columns in it holds only while it stays the same.
    pub(super) fn keep(&mut self, tag: u8, detail: u8, parts: u8) {
        if (self.tag, self.detail, self.parts) != (Some(tag), detail, parts) {
            self.inner.clear();
            (self.tag, self.detail, self.parts) = (Some(tag), detail, parts);
        }
    }

    /// The plan of a column in it.
    pub(super) fn part(&mut self, number: usize) -> Option<&mut Plan> {
        if self.inner.len() <= number {
            self.inner.resize_with(number + 1, Plan::default);
        }
        self.inner.get_mut(number)
    }
}

/// The plans of the tables seen last.
#[derive(Default)]
pub(super) struct Plans {
    tables: Vec<((bool, usize), Vec<Plan>)>,
}

impl Plans {
    /// The plans of the last table of that shape; they are to be given back.
    pub(super) fn take(&mut self, is_framed: bool, columns: usize) -> Vec<Plan> {
        let at = self.tables.iter().position(|(shape, _)| *shape == (is_framed, columns));
        let mut plans = at.map(|at| self.tables.swap_remove(at).1).unwrap_or_default();
        plans.resize_with(columns, Plan::default);
        plans
    }

    /// Keeps the plans of a table.
    pub(super) fn give_back(&mut self, is_framed: bool, columns: usize, plans: Vec<Plan>) {
        if self.tables.len() >= TABLES_MAX {
            self.tables.clear();
        }
        self.tables.push(((is_framed, columns), plans));
    }
}
