//! The dumpvault binary: parse, run, exit code.

fn main() -> std::process::ExitCode {
    dumpvault::cli::main()
}
