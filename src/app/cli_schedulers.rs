//! The command line of what faces schedulers: `slurm`, `kubernetes`, `simulate`, `placement`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `slurm`.
#[derive(Clone, Debug, Args)]
pub struct SlurmArgs {
    #[command(subcommand)]
    pub command: SlurmCommand,
}

/// What `slurm` does.
#[derive(Clone, Debug, Subcommand)]
pub enum SlurmCommand {
    /// Keep banded weights on nodes until ended; every node gets its own back at the end and when hints stay away
    Apply(SlurmApply),
    /// Give every node its own weight back, after a controller was killed
    Restore(SlurmRestore),
    /// Print the jobs that wait or run, as they are read from Slurm
    Jobs(SlurmJobs),
    /// Print job_submit.lua for a service's address
    Hook(SlurmHook),
}

/// Arguments of `slurm apply`.
#[derive(Clone, Debug, Args)]
pub struct SlurmApply {
    /// Address of the service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub api: String,
    /// File whose first line is a token of the role scheduler, where the service wants one; else TRAMUNTANA_TOKEN
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The site whose hints to follow
    #[arg(long)]
    pub site: String,
    /// Only nodes of these partitions, by id or scheduler name; repeat for several
    #[arg(long = "partition", value_name = "NAME")]
    pub partitions: Vec<String>,
    /// Where the nodes' own weights and the lease are kept; controllers that relieve one another share it
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-slurm")]
    pub state: PathBuf,
    /// Time between two looks
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    pub interval: String,
    /// Without fresh hints for so long, nodes get their own weights back
    #[arg(long, value_name = "SPAN", default_value = "2min")]
    pub give_up: String,
    /// Weights of bands 1 to 5; Slurm fills low weights first
    #[arg(long, value_name = "W,W,W,W,W", value_delimiter = ',', default_values_t = [100, 200, 300, 400, 500])]
    pub weights: Vec<u32>,
    /// Also set a feature tramuntana_bandN on nodes
    #[arg(long)]
    pub features: bool,
    /// Licence of slurm.conf of which one is one kW (Licenses=NAME:KW): what the site has no room for is held back in a reservation
    #[arg(long, value_name = "NAME")]
    pub power_licence: Option<String>,
    /// Where jobs are read from: squeue, sacct, a file, or slurmrestd's address of /jobs
    #[arg(long, value_name = "SOURCE", default_value = "squeue")]
    pub jobs_from: String,
    /// Do not tell the service which GPUs are free and what runs
    #[arg(long)]
    pub no_occupancy: bool,
    /// Print the commands, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One look, then end without giving back
    #[arg(long)]
    pub once: bool,
}

/// Arguments of `slurm restore`.
#[derive(Clone, Debug, Args)]
pub struct SlurmRestore {
    /// Where the nodes' own weights are kept
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-slurm")]
    pub state: PathBuf,
}

/// Arguments of `slurm jobs`.
#[derive(Clone, Debug, Args)]
pub struct SlurmJobs {
    /// squeue, sacct, a file, or slurmrestd's address of /jobs
    #[arg(long, value_name = "SOURCE", default_value = "squeue")]
    pub from: String,
}

/// Arguments of `slurm hook`.
#[derive(Clone, Debug, Args)]
pub struct SlurmHook {
    /// Address of the service, as http://IP:PORT
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub api: String,
    /// File on slurmctld's host whose first line is a token, where the service wants one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `kubernetes`.
#[derive(Clone, Debug, Args)]
pub struct KubernetesArgs {
    #[command(subcommand)]
    pub command: KubernetesCommand,
}

/// What `kubernetes` does.
#[derive(Clone, Debug, Subcommand)]
pub enum KubernetesCommand {
    /// Print a manifest of node labels and annotations, to look at and apply with kubectl; changes nothing
    Labels(KubernetesLabels),
}

/// Arguments of `kubernetes labels`.
#[derive(Clone, Debug, Args)]
pub struct KubernetesLabels {
    /// Address of the service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub api: String,
    /// File whose first line is a token of the role scheduler, where the service wants one; else TRAMUNTANA_TOKEN
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The site whose hints to print
    #[arg(long)]
    pub site: String,
}

/// Arguments of `simulate`.
#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// The site's folder, with twin.toml
    #[arg(long, value_name = "DIR", default_value = "sensors/bsc-hq")]
    pub site: PathBuf,
    /// Where to publish it
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub broker: String,
    /// Simulated seconds a second at most
    #[arg(long, default_value_t = 60.0)]
    pub pace: f64,
    /// Simulated time
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    pub span: String,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `placement`.
#[derive(Clone, Debug, Args)]
pub struct PlacementArgs {
    /// First seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seeds to run
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub seeds: u32,
    /// Simulated time per run
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    pub span: String,
    /// Cases: healthy, degraded, hot, cap, chiller; all where absent
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub cases: Vec<String>,
    /// Requests of real language models: CSV (or .gz) with TIMESTAMP, ContextTokens, GeneratedTokens
    #[arg(long, value_name = "FILE")]
    pub arrivals: Option<PathBuf>,
    /// Leave the arms with moving setpoints out
    #[arg(long)]
    pub placement_only: bool,
    /// Only these arms, besides first fit: "Slurm's order", random, hints, "hints that may delay" (they may hold a job back
    /// within its slack), "setpoints, first fit", "setpoints and hints". Give it once per arm
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Write every run as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
