//! Writes the dump of one day of the sample order database to standard output.
//!
//! ```text
//! cargo run --profile dist --example orderdb -- --mb 1000 --day 3 | pg_restore -l
//! ```
//!
//! `benches/compare.sh` makes its dump series with it. `--discard` writes nothing and reports how fast the generator
//! is.

use clap::Parser;
use dumpvault::source::sample::{Churn, SampleConfig, SampleDump};
use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Writes the dump of one day of a sample order database", version)]
struct Args {
    /// Size of the dump of day 0 in MB (1,000,000 bytes)
    #[arg(long, default_value_t = 128)]
    mb: u64,
    /// Which day's dump
    #[arg(long, default_value_t = 0)]
    day: u16,
    /// Another seed, another database
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Rows updated a day, in millionths
    #[arg(long, default_value_t = Churn::default().update_ppm)]
    update_ppm: u32,
    /// Rows inserted a day, in millionths
    #[arg(long, default_value_t = Churn::default().insert_ppm)]
    insert_ppm: u32,
    /// Rows deleted a day, in millionths
    #[arg(long, default_value_t = Churn::default().delete_ppm)]
    delete_ppm: u32,
    /// Write nothing; report bytes and speed on standard error
    #[arg(long)]
    discard: bool,
    /// List the tables with their rows instead
    #[arg(long)]
    tables: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let churn =
        Churn { update_ppm: args.update_ppm, insert_ppm: args.insert_ppm, delete_ppm: args.delete_ppm };
    let bytes_target = args.mb.saturating_mul(1_000_000);
    let mut dump = SampleDump::new(SampleConfig { seed: args.seed, bytes_target, day: args.day, churn })?;
    let mut out = io::stdout().lock();
    if args.tables {
        for table in dump.tables() {
            writeln!(out, "{}.{}\t{}", table.schema, table.name, table.rows)?;
        }
        return Ok(());
    }
    let started = Instant::now();
    let mut buf = vec![0; 256 << 10];
    let mut bytes = 0u64;
    loop {
        let len = dump.read(&mut buf)?;
        if len == 0 {
            break;
        }
        bytes += len as u64;
        if !args.discard {
            out.write_all(buf.get(..len).unwrap_or_default())?;
        }
    }
    out.flush()?;
    if args.discard {
        let seconds = started.elapsed().as_secs_f64();
        writeln!(io::stderr(), "{bytes} bytes in {seconds:.2} s, {:.0} MB/s", bytes as f64 / 1e6 / seconds)?;
    }
    Ok(())
}
