//! Texts that come again and again, each once, by number.

use std::collections::HashMap;

/// Numbered texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    all: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32>,
}

impl Words {
    /// The number of a text; the next one if it has none yet.
    pub(super) fn number(&mut self, word: &str) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.all.push(word.into());
        self.numbers.insert(word.into(), number);
        number
    }

    /// The text of a number; empty if there is none.
    pub(super) fn get(&self, number: u32) -> &str {
        self.all.get(number as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    /// All of them in the order of their numbers.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.all.iter().map(AsRef::as_ref)
    }
}

impl FromIterator<String> for Words {
    fn from_iter<I: IntoIterator<Item = String>>(words: I) -> Self {
        // As they are numbered already, twice or not. Which number a text has is not asked any more.
        Self { all: words.into_iter().map(Into::into).collect(), numbers: HashMap::new() }
    }
}
