//! Arguments of what runs by itself: `schedule`, `history`, `audit`, `alert`, `metrics`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault schedule init >> dumpvault.toml    # a standard schedule to edit
  dumpvault schedule daemon                    # under systemd, or in a container
  dumpvault schedule list
  dumpvault schedule next --count 5
  dumpvault schedule explain '30 2 * * *' --time-zone Europe/Berlin
  dumpvault schedule trigger nightly
  dumpvault schedule pause nightly --for 3d
  dumpvault schedule resume nightly

  [job.nightly]
  sources = [\"app\"]
  cron = \"15 3 * * *\"
  time_zone = \"Europe/Berlin\"

A slot in a skipped hour runs at the end of the gap; a slot in a repeated hour runs
once, the first time. With `*` for the hour, real time counts. If slots were missed
while the machine was off, one run catches up, within `catch_up`.")]
pub(in crate::cli) struct ScheduleArgs {
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ScheduleCommand {
    /// Run the configured jobs on schedule until SIGTERM; SIGHUP reloads the configuration.
    Daemon,
    /// List jobs with their next and last run.
    List,
    /// List the next slots of all jobs.
    Next {
        /// Number of slots to list.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Explain a schedule and list its next 10 slots.
    Explain {
        /// Job, or cron expression in quotes.
        what: String,
        /// Time zone of the expression [default: `time_zone` of the configuration].
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
    },
    /// Ask the scheduler to run a job now.
    Trigger {
        /// Job to run.
        job: String,
    },
    /// Skip the slots of a job for some time.
    Pause {
        /// Job to pause.
        job: String,
        /// Length of the pause: 3h, 2d.
        #[arg(long = "for", value_name = "AGE", default_value = "24h")]
        time: String,
    },
    /// End a pause.
    Resume {
        /// Job to resume [default: all].
        job: Option<String>,
    },
    /// Print a standard schedule for the configured sources, to add to the file.
    Init,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault history list
  dumpvault history show 01KB2M
  dumpvault history export > history.csv
  dumpvault history rebuild             # after the state directory was lost

Each `backup` and `run` is recorded, also from cron and when it fails. The history is
kept in the state directory; no backup depends on it.")]
pub(in crate::cli) struct HistoryArgs {
    #[command(subcommand)]
    pub command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HistoryCommand {
    /// List backups, newest first.
    List {
        /// Number of backups to list.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
    },
    /// Show a run: its sources, and the end of its log.
    Show {
        /// Id prefix of the run.
        id: String,
    },
    /// Print the whole history as CSV; with --json, as JSON.
    Export,
    /// Look into the repository: add what the history lacks, and note what was forgotten or deleted.
    Rebuild,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault audit list
  dumpvault audit verify
  dumpvault audit export > audit.csv

Entries are chained by hashes, so a changed or removed entry is detected. A log that was
cut at its end is not: keep the newest hash of `audit verify` elsewhere.")]
pub(in crate::cli) struct AuditArgs {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum AuditCommand {
    /// List changes of jobs and of the clock.
    List,
    /// Check that no entry was changed or removed.
    Verify,
    /// Print the log as CSV; with --json, as JSON.
    Export,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault alert test ops
  dumpvault alert list                         # exit code 1 while something is wrong
  dumpvault alert ack nightly --note 'disk is ordered'

  [alert.ops]
  kind = \"email\"
  host = \"smtp.example.org\"
  from = \"backup@example.org\"
  to = [\"ops@example.org\"]

`dumpvault schedule daemon` and `dumpvault serve` send a message when something goes
wrong, remind once it has lasted, and send another when it is good again.
docs/service.md lists the topics.")]
pub(in crate::cli) struct AlertArgs {
    #[command(subcommand)]
    pub command: AlertCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AlertCommand {
    /// List what is wrong, and whether messages were delivered.
    List,
    /// Send a message for a test.
    Test {
        /// The alert of the configuration.
        channel: String,
        /// Print the message, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Acknowledge what is wrong, so that no reminders are sent until it is good again.
    Ack {
        /// What it is about: a job, or as `alert list` has it.
        subject: String,
        /// Only this topic.
        #[arg(long, value_name = "TOPIC")]
        condition: Option<String>,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault metrics
  dumpvault metrics --textfile /var/lib/prometheus/node-exporter/dumpvault.prom

Values come from the state directory; the repository is not opened. What is not known
is left out.")]
pub(in crate::cli) struct MetricsArgs {
    /// Replace this file as a whole, for the node exporter, instead of printing.
    #[arg(long, value_name = "PATH")]
    pub textfile: Option<PathBuf>,
}
