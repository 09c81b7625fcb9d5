//! Values that every floor shares: ids, names, times, what is told while work goes on. Nothing here does input or
//! output but `secret` and `unfinished`, and nothing here imports another floor.

pub mod calendar;
pub mod clock;
pub mod event;
pub mod fault;
pub mod id;
pub mod level;
pub mod name;
pub mod numbers;
pub mod objects;
pub mod pattern;
pub mod permits;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod setting;
pub mod unfinished;
pub mod unit;
pub mod words;
