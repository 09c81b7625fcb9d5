//! Values that every floor shares: ids, names, times, what is told while work goes on. Nothing here does input or
//! output but `secret` and `unfinished`, and nothing here imports another floor.

pub mod calendar;
pub mod clock;
pub mod event;
pub mod fault;
pub mod id;
pub(crate) mod level;
pub mod name;
pub mod numbers;
pub mod objects;
pub(crate) mod pattern;
pub(crate) mod permits;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod series;
pub mod setting;
pub(crate) mod unfinished;
pub mod unit;
pub(crate) mod words;
