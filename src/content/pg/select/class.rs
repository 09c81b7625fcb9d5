//! What part an entry of an archive plays for others.

use super::super::entry::Entry;

pub(super) fn is_class(classes: &[Class], index: usize, class: Class) -> bool {
    classes.get(index) == Some(&class)
}

/// What part an entry plays for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Encoding and the like: belongs to every archive. The database's entry, too, which `pg_restore` heeds only when
    /// told.
    Setting,
    /// A table or what can stand in its place.
    Relation,
    /// Rows of a relation, or the statistics of its data: its tag is the relation's.
    Data,
    /// The state of a sequence: goes with it, always.
    SequenceState,
    /// Belongs to a relation and is part of its definition: a default, a check, what a view shows.
    Detail,
    /// Belongs to a relation and makes it faster or safer: indexes, keys, triggers.
    Attachment,
    /// Ties entries that are chosen for other reasons: foreign keys, partitions.
    Tie,
    /// Says something of an entry: comments, privileges.
    Remark,
    /// Large objects.
    LargeObject,
    /// Anything else: types, functions, extensions.
    Other,
}

impl Class {
    pub(super) fn of(entry: &Entry) -> Self {
        match entry.desc() {
            b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" | b"DATABASE" | b"DATABASE PROPERTIES" => {
                Self::Setting
            }
            b"TABLE" | b"FOREIGN TABLE" | b"VIEW" | b"MATERIALIZED VIEW" | b"SEQUENCE" => Self::Relation,
            b"TABLE DATA" | b"MATERIALIZED VIEW DATA" | b"STATISTICS DATA" => Self::Data,
            b"SEQUENCE SET" => Self::SequenceState,
            b"DEFAULT" | b"CHECK CONSTRAINT" => Self::Detail,
            // A view that had to wait for a key: the entry before it is a dummy.
            b"RULE" if entry.tag().ends_with(b" _RETURN") => Self::Detail,
            b"CONSTRAINT" | b"INDEX" | b"TRIGGER" | b"RULE" | b"POLICY" | b"ROW SECURITY" | b"STATISTICS" => {
                Self::Attachment
            }
            b"FK CONSTRAINT" | b"TABLE ATTACH" | b"INDEX ATTACH" => Self::Tie,
            b"ACL" | b"COMMENT" | b"SECURITY LABEL" | b"SEQUENCE OWNED BY" => Self::Remark,
            b"BLOB" | b"BLOBS" | b"BLOB METADATA" | b"BLOB COMMENTS" => Self::LargeObject,
            _ => Self::Other,
        }
    }
}
