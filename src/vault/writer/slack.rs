//! Who waits for whom: the compressors for the source, or the source for them.

use crate::content::codec::Level;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a compressor sees when it takes the next block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight {
    /// Blocks that waited for a compressor.
    pub waiting: usize,
    /// How many can wait before the source does.
    pub room: usize,
    /// The storage is slower than the compressors: what they do costs no time, and what they leave out does.
    pub is_held_up: bool,
}

impl Sight {
    /// Whether the source waits for the compressors. Between none and all that can wait, what held `before` holds.
    fn is_pressed(self, before: bool) -> bool {
        !self.is_held_up && self.waiting > 0 && (before || self.waiting >= self.room)
    }
}

/// The slack of all compressors of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Slack(AtomicBool);

impl Slack {
    /// How the next block is compressed where `level` leaves it open: by column as long as nobody waits for it.
    pub(super) fn settle(&self, level: Level, sight: Sight) -> Level {
        if level != Level::Auto {
            return level;
        }
        // Compressors may overwrite what another saw at the same time: either is as good.
        let is_pressed = sight.is_pressed(self.0.load(Ordering::Relaxed));
        self.0.store(is_pressed, Ordering::Relaxed);
        if is_pressed { Level::ZSTD } else { Level::Columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(seen: &[(usize, bool)]) -> Vec<Level> {
        let slack = Slack::default();
        let sight = |&(waiting, is_held_up)| Sight { waiting, room: 2, is_held_up };
        seen.iter().map(|seen| slack.settle(Level::Auto, sight(seen))).collect()
    }

    #[test]
    fn blocks_go_by_column_while_the_compressors_wait_and_by_zstd_while_the_source_does() {
        const COLUMNS: Level = Level::Columns;
        const ZSTD: Level = Level::ZSTD;
        assert_eq!(chosen(&[(0, false), (1, false), (0, false)]), [COLUMNS; 3], "the source is slower");
        assert_eq!(chosen(&[(2, false), (1, false), (2, false)]), [ZSTD; 3], "the source is faster");
        let turns = [(1, false), (2, false), (1, false), (0, false), (1, false)];
        assert_eq!(chosen(&turns), [COLUMNS, ZSTD, ZSTD, COLUMNS, COLUMNS], "it turns at none and at all");
        assert_eq!(
            chosen(&[(2, false), (2, true), (2, false)]),
            [ZSTD, COLUMNS, ZSTD],
            "the storage is slower"
        );
    }

    #[test]
    fn a_level_that_was_named_holds_whoever_waits() {
        let slack = Slack::default();
        for level in [Level::Off, Level::Columns, Level::ZSTD, Level::MAX] {
            for waiting in [0, 2] {
                assert_eq!(slack.settle(level, Sight { waiting, room: 2, is_held_up: false }), level);
            }
        }
    }
}
