//! Parts of an archive: chosen by its table of contents, read by their ranges, put together to an archive that
//! `pg_restore` takes.

mod inert;
mod jobs;
mod proof;

pub use jobs::Jobs;
pub(super) use jobs::{Parts, needs_one_session, tell_one_session};
pub use proof::{Compared, Expected, Findings};

use super::Chosen;
use crate::base::event::{Cancel, Event, Observer};
use crate::content::inspect::{Inspector, ObjectFinder, Verdict};
use crate::content::pg::{
    Copied, DataKind, DatabaseEntry, DumpForm, Entry, LargeObject, Omitted, Section, Selection,
    StatementKind, Synthesis, TableData, TableMap, Toc, TocReader, WithData, needs_mending, select,
    synthesise, synthesised_bytes,
};
use crate::engine::OpError;
use crate::engine::tables::table_map;
use crate::source::postgres::{DatabasePlan, PlanStatement};
use crate::vault::RepoError;
use crate::vault::reader::{ReadSettings, ReadStats};
use crate::vault::snapshot::Stream;

/// Wanted ranges with no more than this between them are read as one: the block in between would be opened anyway.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Plain bytes of open blocks at a time while a table of contents is read, to begin with: it grows in memory meanwhile.
const HEAD_OPEN_BYTES: u64 = 16 << 20;

/// An archive in the repository: its table of contents in memory, its data where it is.
pub struct Archive {
    toc: Toc,
    map: TableMap,
    /// Where a tar archive's large objects are. A custom archive's lie in one block, and need not be told apart.
    objects: Vec<LargeObject>,
}

/// A part of an archive that was chosen.
pub struct Part {
    /// Places in the table of contents, in the order of the restore.
    pub entries: Vec<usize>,
    /// What belongs to it and was left out, in words: `FK CONSTRAINT public.x: TABLE public.y is not restored`.
    pub omitted: Vec<String>,
    /// Of rows alone: the tables whose foreign keys refer to each other in a circle.
    pub circular: Vec<String>,
    /// The chosen tables and large objects that have data: places in the map.
    pub(super) tables: Vec<u32>,
}

impl Archive {
    /// The table of contents.
    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Where everything is.
    pub fn map(&self) -> &TableMap {
        &self.map
    }

    /// The large objects of a tar archive.
    pub(super) fn objects(&self) -> &[LargeObject] {
        &self.objects
    }

    /// What an archive holds that has nothing to go into: one of `pg_dump --data-only` or `--statistics-only`.
    pub(super) fn lacks_definitions(&self) -> Option<&'static str> {
        let toc = self.toc();
        let has = |desc: &[u8]| toc.entries().iter().any(|entry| entry.desc() == desc);
        let is_definition = |entry: &Entry| {
            let is_setting = matches!(
                entry.desc(),
                b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" | b"DATABASE" | b"DATABASE PROPERTIES"
            );
            entry.section == Section::PreData && !is_setting
        };
        match toc.entries().iter().any(|entry| is_definition(&entry)) {
            true => None,
            false if has(b"TABLE DATA") => Some("rows"),
            false if has(b"STATISTICS DATA") => Some("statistics"),
            false => None,
        }
    }

    /// The archive of chosen entries: what is restored of a [`Part`].
    ///
    /// # Errors
    /// When data of an entry is missing in the map.
    pub fn synthesise(&self, entries: &[usize]) -> Result<Synthesis, OpError> {
        Ok(synthesise(self.toc(), &self.map, &self.objects, entries, WithData::Yes)?)
    }

    /// Its length.
    pub(super) fn bytes_of(&self, entries: &[usize]) -> Result<u64, OpError> {
        Ok(synthesised_bytes(self.toc(), &self.map, &self.objects, entries)?)
    }

    /// The whole archive, mended, where `pg_restore --clean` would fail on it as it is.
    ///
    /// # Errors
    /// When data of an entry is missing in the map.
    pub(super) fn mended(&self) -> Result<Option<Synthesis>, OpError> {
        let toc = self.toc();
        let all: Vec<usize> = (0..toc.entries().len()).collect();
        let mended =
            needs_mending(toc).then(|| synthesise(toc, &self.map, &self.objects, &all, WithData::Yes));
        Ok(mended.transpose()?)
    }

    /// How a database is to be made for a restore; `None` if the archive does not say. What was set for the dump's
    /// database comes with a restore of the whole, to be made like it; else it is its encoding and locale alone.
    pub fn database_plan(&self, with_properties: bool) -> Option<DatabasePlan> {
        let entry = DatabaseEntry::of(self.toc())?;
        let mut plan = DatabasePlan { options: entry.options, ..DatabasePlan::default() };
        if with_properties {
            plan.owner = entry.owner;
            plan.lost = entry.unreadable.iter().map(|what| format!("{what}, which is not UTF-8")).collect();
            let each = entry.statements.into_iter().map(|statement| PlanStatement {
                is_privilege: statement.kind == StatementKind::Privilege,
                pieces: statement.pieces,
                setting: statement.setting,
            });
            plan.statements = each.collect();
        }
        Some(plan)
    }

    /// Chooses a part.
    ///
    /// # Errors
    /// When a name matches nothing.
    pub fn select(&self, selection: &Selection) -> Result<Part, OpError> {
        let toc = self.toc();
        let chosen = select(toc, selection)?;
        Ok(Part {
            omitted: chosen.omitted.iter().map(Omitted::told).collect(),
            circular: chosen.circular,
            tables: self.tables_of(&chosen.entries),
            entries: chosen.entries,
        })
    }

    /// Where the tables and large objects of entries stand in the map.
    fn tables_of(&self, entries: &[usize]) -> Vec<u32> {
        let mut is_chosen = vec![false; self.toc.entries().len()];
        for index in entries {
            if let Some(flag) = is_chosen.get_mut(*index) {
                *flag = true;
            }
        }
        let has =
            |dump_id| self.toc.find(dump_id).and_then(|index| is_chosen.get(index)).is_some_and(|is| *is);
        let places = || self.map.tables.iter().zip(0..).filter(|(table, _)| has(table.dump_id));
        // Counted first: what grows leaves holes behind.
        let mut chosen = Vec::with_capacity(places().count());
        chosen.extend(places().map(|(_, place)| place));
        chosen
    }

    /// The tables and large objects of a part that have data.
    pub fn tables(&self, part: &Part) -> impl ExactSizeIterator<Item = TableData<'_>> + Clone {
        // Every place is one of the map's.
        part.tables.iter().map(|place| self.map.tables.get(*place as usize).unwrap_or(TableData::NONE))
    }
}

impl Chosen {
    /// Reads what is needed to choose parts of a stream: its map, and the head of the archive. A dump that was stored
    /// by a program that made no maps is read once as a whole.
    ///
    /// # Errors
    /// When the stream is no archive of `pg_dump -Fc` or `-Ft`, or cannot be read.
    pub fn archive(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Archive, OpError> {
        let map = self.map(stream, observer, cancel)?;
        self.archive_of(map, stream, cancel)
    }

    /// The same; the stream's map becomes the archive's, where there is one to be had. As it is stored, the map of a
    /// million tables is large, and is gone before all else is read.
    ///
    /// # Errors
    /// As [`Chosen::archive`].
    pub(super) fn take_archive(
        &self,
        stream: &mut Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Archive, OpError> {
        let map = self.map(stream, observer, cancel)?;
        check_archive(&map, stream)?;
        stream.table_map = None;
        self.archive_of(map, stream, cancel)
    }

    fn archive_of(&self, map: TableMap, stream: &Stream, cancel: &Cancel) -> Result<Archive, OpError> {
        let archive = self.archive_without_its_objects(map, stream, cancel)?;
        let objects = self.large_objects(stream, &archive.map, cancel)?;
        Ok(Archive { objects, ..archive })
    }

    /// The map of a stream: the one that was stored, or one made by reading all of it.
    ///
    /// # Errors
    /// When the stream is no whole dump of PostgreSQL's, or cannot be read.
    pub(super) fn map(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<TableMap, OpError> {
        match table_map(stream) {
            Ok(Some(map)) => Ok(map),
            // Too new, or not there: what it says can be found out again.
            Ok(None) | Err(_) => self.survey(stream, observer, cancel),
        }
    }

    /// What a stream says of its database; `None` where it is no archive, or where all of it would have to be read for
    /// that.
    ///
    /// # Errors
    /// When the archive's table of contents cannot be read.
    pub fn database_plan(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<DatabasePlan>, OpError> {
        match table_map(stream) {
            Ok(Some(map)) if matches!(map.form, DumpForm::Archive | DumpForm::Tar) => {
                Ok(self.archive_without_objects(stream, observer, cancel)?.database_plan(false))
            }
            _ => Ok(None),
        }
    }

    /// The same archive, if nothing is to be taken of its data.
    pub(super) fn archive_without_objects(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Archive, OpError> {
        let map = self.map(stream, observer, cancel)?;
        self.archive_without_its_objects(map, stream, cancel)
    }

    fn archive_without_its_objects(
        &self,
        map: TableMap,
        stream: &Stream,
        cancel: &Cancel,
    ) -> Result<Archive, OpError> {
        check_archive(&map, stream)?;
        let mut head = TocReader::new();
        let mut output = |bytes: &[u8]| {
            head.push(bytes);
            Ok(())
        };
        let settings =
            ReadSettings { open_bytes: self.settings.open_bytes.min(HEAD_OPEN_BYTES), ..self.settings };
        self.repo.reader().read_range(
            &self.locator,
            stream,
            0..map.head_bytes,
            settings,
            cancel,
            &mut output,
        )?;
        Ok(Archive { toc: head.finish()?, map, objects: Vec::new() })
    }

    /// Finds a tar archive's large objects, each of which is a file: that takes reading them once.
    fn large_objects(
        &self,
        stream: &Stream,
        map: &TableMap,
        cancel: &Cancel,
    ) -> Result<Vec<LargeObject>, OpError> {
        let mut objects = Vec::new();
        let blocks = map.tables.iter().filter(|table| table.kind == DataKind::LargeObjects);
        for block in blocks.filter(|_| map.form == DumpForm::Tar) {
            let mut finder = ObjectFinder::at(block.offset);
            let mut output = |bytes: &[u8]| {
                finder.push(bytes);
                Ok(())
            };
            let range = block.range();
            self.repo.reader().read_range(
                &self.locator,
                stream,
                range,
                self.settings,
                cancel,
                &mut output,
            )?;
            objects.extend(finder.finish());
        }
        Ok(objects)
    }

    fn survey(&self, stream: &Stream, observer: &dyn Observer, cancel: &Cancel) -> Result<TableMap, OpError> {
        let what = format!("reading all of `{}`: it was stored without a map of its tables", stream.name);
        observer.observe(Event::Step { what });
        let mut survey = Inspector::new();
        let mut output = |bytes: &[u8]| {
            survey.push(bytes);
            Ok(())
        };
        self.repo.reader().read_stream(
            &self.locator,
            stream,
            self.settings,
            &crate::base::event::Silent,
            cancel,
            &mut output,
        )?;
        match survey.finish().verdict {
            Verdict::Whole(Some(map)) => Ok(*map),
            Verdict::Incomplete(source) => Err(OpError::Incomplete {
                stream: stream.name.clone(),
                exited: crate::vault::snapshot::Proof::Unproven,
                source,
            }),
            Verdict::Unreadable(error) => Err(error.into()),
            Verdict::Whole(None) | Verdict::Unknown => {
                Err(OpError::NoParts { stream: stream.name.clone(), what: "not a PostgreSQL dump" })
            }
        }
    }

    /// Writes an archive made of parts of a stream, reading no more of the stream than that.
    pub(super) fn read_parts(
        &self,
        stream: &Stream,
        synthesis: &Synthesis,
        settings: ReadSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<ReadStats, RepoError> {
        let mut stats = ReadStats::default();
        let mut written = 0u64;
        let mut pass = |bytes: &[u8]| {
            written += bytes.len() as u64;
            observer.observe(Event::Advanced { bytes: bytes.len() as u64, bytes_known: 0 });
            output(bytes)
        };
        pass(&synthesis.head).map_err(|source| RepoError::Output { source })?;
        for run in runs(&synthesis.copies) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let mut at = first.range.start;
            pass(&first.before).map_err(|source| RepoError::Output { source })?;
            let mut wanted = run.iter();
            let mut present = wanted.next();
            let mut filter = |mut bytes: &[u8]| {
                while let Some(Copied { range, .. }) = present.filter(|_| !bytes.is_empty()) {
                    let skipped = range.start.saturating_sub(at).min(bytes.len() as u64);
                    let (_, rest) = bytes.split_at(skipped as usize);
                    at += skipped;
                    let taken = range.end.saturating_sub(at).min(rest.len() as u64);
                    let (mine, rest) = rest.split_at(taken as usize);
                    if !mine.is_empty() {
                        pass(mine)?;
                    }
                    at += taken;
                    bytes = rest;
                    if at >= range.end {
                        present = wanted.next();
                        if let Some(next) = present.filter(|next| !next.before.is_empty()) {
                            pass(&next.before)?;
                        }
                    }
                }
                at += bytes.len() as u64;
                Ok(())
            };
            let range = first.range.start..last.range.end;
            let read =
                self.repo.reader().read_range(&self.locator, stream, range, settings, cancel, &mut filter)?;
            stats.blocks_opened += read.blocks_opened;
            stats.bytes_fetched += read.bytes_fetched;
        }
        pass(&synthesis.tail).map_err(|source| RepoError::Output { source })?;
        stats.bytes = written;
        if written != synthesis.len() {
            let what = format!("{written} bytes of its parts were read, and they have {}", synthesis.len());
            return Err(RepoError::Inconsistent { object: format!("stream {}", stream.name), what });
        }
        Ok(stats)
    }
}

/// Refuses what has no parts, and a map that says nothing of the stream.
fn check_archive(map: &TableMap, stream: &Stream) -> Result<(), OpError> {
    if !matches!(map.form, DumpForm::Archive | DumpForm::Tar) {
        let what = "it is an SQL script";
        return Err(OpError::NoParts { stream: stream.name.clone(), what });
    }
    if map.stream_bytes != stream.bytes {
        let what = "its table map is that of another stream".to_owned();
        return Err(RepoError::Inconsistent { object: format!("stream {}", stream.name), what }.into());
    }
    Ok(())
}

/// Ranges that are read as one: ascending, with small gaps.
fn runs(copies: &[Copied]) -> impl Iterator<Item = &[Copied]> {
    let gap = |before: &Copied, after: &Copied| after.range.start.checked_sub(before.range.end);
    copies.chunk_by(move |before, after| gap(before, after).is_some_and(|gap| gap <= GAP_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_lie_close_are_read_as_one() {
        let far = GAP_BYTES_MAX + 20;
        let ranges = [0..10, 15..20, 20 + GAP_BYTES_MAX..20 + far, 3 * far..3 * far + 1, 5..6];
        let copies: Vec<Copied> = ranges.map(|range| Copied { before: Vec::new(), range }).into();
        let sizes: Vec<usize> = runs(&copies).map(<[_]>::len).collect();
        assert_eq!(sizes, [3, 1, 1]);
    }
}
