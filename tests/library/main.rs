//! The library: repositories, storages and dumps without the command line.

mod archive_parts;
mod bit_rot;
mod content_rotation;
mod copies;
mod crash_steps;
mod damaged_packs;
mod delta;
mod engine;
mod extents;
mod files;
mod format_hostile;
mod fuzz_replay;
mod golden;
mod hollow_packs;
mod hostile_storage;
mod json_schemas;
mod many_tables;
mod pgarchive;
mod pgarchive_stream;
mod prune;
mod prune_unseen;
mod psql_filter;
mod rdb;
mod repository;
mod sample_archive;
mod schedule_zones;
mod scheduler_simulation;
mod simulation;
mod source_kind;
mod source_process;
mod storage_conformance;
mod storage_local;
mod storage_scheme;
#[path = "../support/mod.rs"]
mod support;
mod transfer;
