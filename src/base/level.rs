//! How hard blocks are compressed: what a person says of it.

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Not at all.
    Off,
    /// By column where a block has rows, zstd level 1 inside and elsewhere.
    Columns,
    /// [`Level::Columns`] while the compressors wait, [`Level::ZSTD`] while the source waits for them.
    Auto,
    /// A zstd level: 1 to 19, or a negative one that is faster still.
    Zstd(i32),
}

impl Level {
    /// Faster than the default, and larger.
    pub const FAST: Self = Self::Zstd(-2);
    /// Rows of a dump a third smaller than at zstd level 1; within 2 % of level 3 elsewhere, at twice its speed.
    pub const DEFAULT: Self = Self::Columns;
    /// Level 1 of zstd for all blocks.
    pub const ZSTD: Self = Self::Zstd(1);
    /// zstd's highest level; many times slower.
    pub const MAX: Self = Self::Zstd(19);
}

/// A compression level that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid compression level `{text}`")]
pub struct ParseLevelError {
    text: String,
}

impl ParseLevelError {
    /// What to write.
    pub const HINT: &str = "use columns (the default), auto, zstd, fast, max, or 0 (off) to 19";
}

impl std::str::FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        match text {
            "fast" => Ok(Self::FAST),
            "default" | "columns" => Ok(Self::Columns),
            "auto" => Ok(Self::Auto),
            "zstd" => Ok(Self::ZSTD),
            "max" => Ok(Self::MAX),
            "0" => Ok(Self::Off),
            _ => match text.parse() {
                Ok(level @ 1..=19) => Ok(Self::Zstd(level)),
                _ => Err(ParseLevelError { text: text.to_owned() }),
            },
        }
    }
}
