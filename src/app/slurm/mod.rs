//! `slurm`: keeps Slurm's node weights in line with the placement hints, reads its jobs, writes its submit hook.
//!
//! ```text
//! scontrol show node ─┐                              ┌─▶ scontrol update NodeName=… Weight=…
//! GET hints ──────────┼─▶ keeper (bands, originals) ─┤
//! squeue --json ──────┘        state on disk         └─▶ POST occupancy
//! ```
//! Invariants: what a node carried before is on disk before Slurm is touched; without fresh hints for `--give-up`, on
//! SIGTERM and on Ctrl-C every node gets its own back; two controllers on one state directory never both write (a lease
//! decides); no command and no request is waited for without an end.

mod apply;
mod cluster;
mod hook;
mod lease;

use super::cli::{SlurmArgs, SlurmCommand};

/// Runs the command.
pub fn run(args: SlurmArgs) -> Result<(), String> {
    match args.command {
        SlurmCommand::Apply(a) => apply::run(&a),
        SlurmCommand::Restore(a) => apply::restore(&a),
        SlurmCommand::Jobs(a) => cluster::print_jobs(&a.from),
        SlurmCommand::Hook(a) => hook::print(&a.api, a.token_file.as_deref()),
    }
}
