//! Arguments of what runs by itself: `schedule`, `history`, `audit`, `alert`, `metrics`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault schedule init >> dumpvault.toml    # a standard plan, to be edited
  dumpvault schedule daemon                    # under systemd, or in a container
  dumpvault schedule list
  dumpvault schedule explain '30 2 * * *' --time-zone Europe/Berlin
  dumpvault schedule trigger nightly
  dumpvault schedule pause nightly --for 3d

  [job.nightly]
  sources = [\"app\"]
  cron = \"15 3 * * *\"
  time_zone = \"Europe/Berlin\"

A slot in an hour that clocks skip runs at the end of the gap; one in an hour that
comes twice runs the first time. With `*` for the hour, real time counts. Slots missed
while the machine was off are made up for by one run, if `catch_up` allows.")]
pub(in crate::cli) struct ScheduleArgs {
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ScheduleCommand {
    /// Run the jobs of the configuration at their times, until SIGTERM. SIGHUP reads the configuration again.
    Daemon,
    /// List the jobs: when they run next, and how the last run went.
    List,
    /// List the next slots of all jobs.
    Next {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Say what a schedule means, with its next ten slots.
    Explain {
        /// A job, or a cron expression in quotes.
        what: String,
        /// Time zone of the expression [default: that of the configuration].
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
    },
    /// Ask the scheduler to run a job now.
    Trigger {
        /// The job.
        job: String,
    },
    /// Skip the slots of a job for a while.
    Pause {
        /// The job.
        job: String,
        /// How long: 3h, 2d.
        #[arg(long = "for", value_name = "AGE", default_value = "24h")]
        time: String,
    },
    /// End a pause.
    Resume {
        /// The job; all where none is named.
        job: Option<String>,
    },
    /// Print a standard plan for the sources of the configuration, to be added to the file.
    Init,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault history list
  dumpvault history show 01KB2M
  dumpvault history export > history.csv

Each `backup` and `run` writes here, also from cron and when it fails. The history lies
in the state directory. It may be lost: the repository is the truth.")]
pub(in crate::cli) struct HistoryArgs {
    #[command(subcommand)]
    pub command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HistoryCommand {
    /// List backups, newest first.
    List {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
    },
    /// Show a command: its sources, and the end of its log.
    Show {
        /// The beginning of its id.
        id: String,
    },
    /// Print the whole history as CSV, or as JSON with --json.
    Export,
    /// Look into the repository: add what the history lacks, and note what was forgotten or deleted.
    Rebuild,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault audit list
  dumpvault audit verify
  dumpvault audit export > audit.csv

Entries are chained by their hashes: one that is changed or taken out is noticed. A cut
at the end is not: keep the newest hash of `audit verify` elsewhere.")]
pub(in crate::cli) struct AuditArgs {
    #[command(subcommand)]
    pub command: AuditCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum AuditCommand {
    /// List who did what to jobs, and what happened to the clock.
    List,
    /// Check that no entry was changed or taken out.
    Verify,
    /// Print the log as CSV, or as JSON with --json.
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

`dumpvault schedule daemon` tells what goes wrong: once, then as a reminder, then that
it is good again. docs/service.md lists the topics.")]
pub(in crate::cli) struct AlertArgs {
    #[command(subcommand)]
    pub command: AlertCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AlertCommand {
    /// List what is wrong, and what became of messages.
    List,
    /// Send a message for a test.
    Test {
        /// The alert of the configuration.
        channel: String,
    },
    /// Acknowledge what is wrong: no reminders until it is good again.
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
    /// Write to this file at once as a whole, for the node exporter, instead of standard output.
    #[arg(long, value_name = "PATH")]
    pub textfile: Option<PathBuf>,
}
