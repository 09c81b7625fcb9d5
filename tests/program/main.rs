//! The program as a person runs it.

mod cli_backup;
mod cli_beside;
mod cli_check;
mod cli_children;
mod cli_clean;
mod cli_config;
mod cli_crash;
mod cli_damage;
mod cli_files;
mod cli_forget;
mod cli_names;
mod cli_postgres;
mod cli_postgres_databases;
mod cli_postgres_faults;
mod cli_postgres_hard;
mod cli_postgres_leftovers;
mod cli_postgres_parts;
mod cli_postgres_said;
mod cli_postgres_scripts;
mod cli_postgres_server;
mod cli_postgres_swap;
mod cli_postgres_versions;
mod cli_redis;
mod cli_redis_restore;
mod cli_repository;
mod cli_restore;
mod cli_snapshots;
mod cli_suspect;
mod cli_system;
mod cli_tables;
mod cli_terminal;
mod demo;
mod runbook;
#[path = "../support/mod.rs"]
mod support;
mod trust;
