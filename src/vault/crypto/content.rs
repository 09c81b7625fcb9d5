//! The keys that name content: one set for each content generation.

use crate::base::secret::SecretKey;

/// The keys of one content generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentKeys {
    /// Key of chunk ids.
    pub chunk_id: SecretKey,
    /// Key of recipe node ids.
    pub node_id: SecretKey,
    /// Seed of the chunker's gear table.
    pub chunker_gear: SecretKey,
}

impl ContentKeys {
    fn derive(root: &SecretKey) -> Self {
        let derive = |context| SecretKey::from_bytes(blake3::derive_key(context, root.expose()));
        Self {
            chunk_id: derive("dumpvault v1 chunk id"),
            node_id: derive("dumpvault v1 recipe node id"),
            chunker_gear: derive("dumpvault v1 chunker gear"),
        }
    }
}

/// The keys of all content generations. A generation has the number of the key epoch that began it; the first one is 0.
#[derive(Debug, Clone)]
pub struct ContentRing {
    newest: (u16, ContentKeys),
    older: Vec<(u16, ContentKeys)>,
}

impl ContentRing {
    /// The generation 0 with the root `first`, and those that began `later`, oldest first.
    pub(super) fn new<'a>(first: &SecretKey, later: impl Iterator<Item = (u16, &'a SecretKey)>) -> Self {
        let mut ring = Self { newest: (0, ContentKeys::derive(first)), older: Vec::new() };
        for (generation, root) in later {
            let before = std::mem::replace(&mut ring.newest, (generation, ContentKeys::derive(root)));
            ring.older.push(before);
        }
        ring
    }

    /// The keys that name what is written.
    pub fn newest(&self) -> &ContentKeys {
        &self.newest.1
    }

    /// The number of the generation in which is written.
    pub fn newest_generation(&self) -> u16 {
        self.newest.0
    }

    /// The keys of a generation, where there is one of that number.
    pub fn of(&self, generation: u16) -> Option<&ContentKeys> {
        let all = self.older.iter().chain([&self.newest]);
        { all }.find(|(number, _)| *number == generation).map(|(_, keys)| keys)
    }
}

#[cfg(test)]
mod tests {
    use crate::base::secret::OsEntropy;
    use crate::vault::crypto::{KeyBundle, Role};

    #[test]
    fn a_new_content_root_names_what_is_written_and_the_old_ones_go_on_to_name_what_is_there() {
        let first = KeyBundle::generate(&OsEntropy).unwrap();
        let plain = first.rotated(&OsEntropy).unwrap();
        let second = plain.rotated_with_content(&OsEntropy).unwrap();
        let third = second.rotated(&OsEntropy).unwrap().rotated_with_content(&OsEntropy).unwrap();
        let read = |keys: &KeyBundle| KeyBundle::decode(&keys.encode().unwrap()).unwrap().content();
        for (keys, numbers) in [(&first, &[0][..]), (&plain, &[0]), (&second, &[0, 2]), (&third, &[0, 2, 4])]
        {
            for ring in [read(keys), read(&keys.to_append())] {
                let known: Vec<u16> = (0..9).filter(|number| ring.of(*number).is_some()).collect();
                assert_eq!(known, numbers);
                assert_eq!(Some(&ring.newest_generation()), numbers.last());
                assert_eq!(ring.of(ring.newest_generation()), Some(ring.newest()));
                assert_eq!(ring.of(0), Some(first.content().newest()));
            }
        }
        assert_eq!(third.content().of(2), Some(second.content().newest()));
        assert_ne!(second.content().newest(), first.content().newest());
        let alike = third.generate_alike(&OsEntropy).unwrap().content();
        assert_eq!((alike.newest_generation(), alike.newest()), (0, third.content().newest()));
        assert!(first.to_append().rotated_with_content(&OsEntropy).is_err());
        // What knows nothing of generations is as long as ever.
        let wrapped = |keys: &KeyBundle| {
            let heir = first.author().wrap_key().unwrap();
            keys.newest().wrap(Role::Append, &heir, b"", &OsEntropy).unwrap().0.bytes.len()
        };
        assert_eq!(wrapped(&plain) + 35, wrapped(&second));
    }
}
