//! Kinds of storages that this build was made without: their addresses are known, and refused in plain words.

use super::scheme::{Location, Scheme};
use crate::base::objects::{Objects, ObjectsError, Place, Reach, Reached, Trouble};
use crate::base::run::Run;
use crate::base::setting::Problem;
use std::path::Path;
use std::sync::Arc;

/// A kind that is not here.
pub(crate) struct LeftOut {
    /// Its word, which is the name of its cargo feature, too.
    name: &'static str,
    /// What its addresses begin with.
    prefix: &'static str,
    /// How they are written.
    shown: &'static str,
}

/// Buckets of S3.
pub(crate) const S3: LeftOut = LeftOut { name: "s3", prefix: "s3:", shown: "s3://" };

impl LeftOut {
    fn problem(&self) -> Problem {
        Problem::new(format!("this build has no support for {}", self.shown))
            .next(format!("use a build with the cargo feature `{}`", self.name))
    }
}

impl Scheme for LeftOut {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Nobody is led to it.
    fn forms(&self) -> &'static str {
        ""
    }

    fn is_meant(&self, address: &str) -> bool {
        address.starts_with(self.prefix)
    }

    fn location(&self, _address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        Err(self.problem())
    }
}

impl Reach for LeftOut {
    fn place(&self, _reached: &Reached) -> Result<Place, Problem> {
        Err(self.problem())
    }

    fn open(&self, reached: &Reached, _run: &Run) -> Result<Arc<dyn Objects>, ObjectsError> {
        Err(ObjectsError {
            operation: "open",
            object: reached.address.clone(),
            what: self.problem().text,
            trouble: Trouble::Invalid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_kind_that_was_left_out_says_so() {
        assert!(S3.is_meant("s3://bucket/x") && S3.is_meant("s3:https://host/bucket") && !S3.is_meant("/s3"));
        let problem = S3.location("s3://bucket/x", Path::new("/")).unwrap_err();
        assert_eq!(problem.text, "this build has no support for s3://");
        assert_eq!(problem.next.as_deref(), Some("use a build with the cargo feature `s3`"));
        assert_eq!(Reach::place(&S3, &Reached::default()).unwrap_err().text, problem.text);
    }
}
