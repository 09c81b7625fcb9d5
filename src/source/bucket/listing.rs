//! The listing of a bucket, in the order of the keys, a few pages ahead of whoever takes them.

use super::BucketError;
use crate::base::event::Cancel;
use crate::base::objects::{Object, Objects, Page};
use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Pages of a thousand objects that wait to be taken.
const PAGES: usize = 4;

/// Objects one after another.
pub(crate) struct Listing {
    pages: Option<Receiver<Vec<Object>>>,
    page: std::vec::IntoIter<Object>,
    lister: Option<JoinHandle<Result<(), BucketError>>>,
}

impl Listing {
    /// Begins to list; with versions that are not current where these are wanted.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        objects: Arc<dyn Objects>,
        versions: bool,
        cancel: Cancel,
    ) -> Result<Self, BucketError> {
        let (pages_in, pages) = crossbeam_channel::bounded(PAGES);
        let thread = std::thread::Builder::new().name("list".to_owned());
        let lister = thread.spawn(move || list(objects.as_ref(), versions, &pages_in, &cancel));
        let lister = lister.map_err(|source| BucketError::Thread { source })?;
        Ok(Self { pages: Some(pages), page: Vec::new().into_iter(), lister: Some(lister) })
    }

    /// The next object; `None` after the last, once all pages were there.
    ///
    /// # Errors
    /// When a page could not be had: the objects until then are not all.
    pub(crate) fn object(&mut self) -> Result<Option<Object>, BucketError> {
        loop {
            if let Some(object) = self.page.next() {
                return Ok(Some(object));
            }
            if let Some(page) = self.pages.as_ref().and_then(|pages| pages.recv().ok()) {
                self.page = page.into_iter();
                continue;
            }
            self.pages = None;
            let Some(lister) = self.lister.take() else { return Ok(None) };
            let panicked = |_| BucketError::Thread { source: io::Error::other("the listing ended early") };
            lister.join().map_err(panicked)??;
        }
    }
}

fn list(
    objects: &dyn Objects,
    versions: bool,
    pages: &Sender<Vec<Object>>,
    cancel: &Cancel,
) -> Result<(), BucketError> {
    let (mut next, mut last): (Option<String>, Option<Vec<u8>>) = (None, None);
    loop {
        if cancel.is_cancelled() {
            return Err(BucketError::Cancelled);
        }
        let Page { objects: page, next: behind } = objects.page(next.as_deref(), versions)?;
        let mut before = last.as_ref();
        for object in &page {
            let is_version = object.is_old && before == Some(&object.key);
            if !is_version && before.is_some_and(|before| *before >= object.key) {
                return match last.is_none() && !versions {
                    true => sorted(objects, Page { objects: page, next: behind }, pages, cancel),
                    false => Err(BucketError::Unsorted { place: objects.place().to_string() }),
                };
            }
            before = Some(&object.key);
        }
        last = page.last().map(|object| object.key.clone()).or(last);
        // Nobody takes it any more: whoever dropped the listing knows why.
        if pages.send(page).is_err() || behind.is_none() {
            return Ok(());
        }
        next = behind;
    }
}

/// Some services list folder by folder, or in no order: all is listed, and sorted, before anything is given.
fn sorted(
    objects: &dyn Objects,
    first: Page,
    pages: &Sender<Vec<Object>>,
    cancel: &Cancel,
) -> Result<(), BucketError> {
    let Page { objects: mut all, mut next } = first;
    while let Some(from) = next {
        if cancel.is_cancelled() {
            return Err(BucketError::Cancelled);
        }
        let page = objects.page(Some(&from), false)?;
        all.extend(page.objects);
        next = page.next;
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all.dedup_by(|later, first| later.key == first.key);
    // Safe to ignore because whoever dropped the listing knows why.
    let _ = pages.send(all);
    Ok(())
}
