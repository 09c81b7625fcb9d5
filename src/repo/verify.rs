//! Checking everything.
