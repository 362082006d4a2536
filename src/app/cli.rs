//! The command line.

pub use super::cli_schedulers::*;
use crate::api::access::Role;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Forecasts thermal load and recommends cooling setpoints and job placement, over MQTT.
#[derive(Debug, Parser)]
#[command(name = "tramuntana", version, about, after_help = "Logs go to stderr; TRAMUNTANA_LOG=tramuntana=debug shows more of them.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Two simulated sites, an embedded broker, the whole service: baseline against recommendations
    Demo(DemoArgs),
    /// Run the service against a real broker
    Serve(ServeArgs),
    /// Validate the configuration, the site files, the brokers and InfluxDB without starting
    Check(CheckArgs),
    /// Publish a recorded DSX exchange (CSV: offset,topic,payload) to a broker
    Replay(ReplayArgs),
    /// Back up a data directory, running or not; restore, import, export, inspect, verify or compact one that no service has open
    Store(StoreArgs),
    /// Make, list or revoke the tokens that open page and API (client certificates get roles in [[access.client_certificate]])
    Token(TokenArgs),
    /// Show the audit trail, or verify that nothing in it was changed
    Audit(AuditArgs),
    /// Learn a site's plant from the store: fit, intervals, what is not identified; --sim makes the shipped models anew
    Identify(IdentifyArgs),
    /// Compare this service with other ways to run a plant, in closed loop, or break things (--campaign)
    Evaluate(EvaluateArgs),
    /// Train the load forecast models of sites, from the store or from simulated days, and write them under models/
    Train(TrainArgs),
    /// Keep Slurm's node weights in line with the placement hints; read its jobs; write its submit hook
    Slurm(SlurmArgs),
    /// Placement hints as labels of Kubernetes nodes
    Kubernetes(KubernetesArgs),
    /// A simulated plant on a broker, as its building management system would speak
    Simulate(SimulateArgs),
    /// What placement brings on simulated plants: hints against first fit, Slurm's order and random, with intervals
    Placement(PlacementArgs),
    /// Forecast one series of a file or of the store and print each model's errors on its last part
    Backtest(BacktestArgs),
    /// Report energy, water and carbon of a year for filing: JSON, CSV, spreadsheet, page and PDF
    Report(super::report_cli::ReportArgs),
    /// Verify a saving against a baseline period: model, gates, 95 % interval, or a refusal with its reasons
    VerifySavings(super::savings_cli::SavingsArgs),
    /// Write a site's model for other tools: Brick 1.4 (Turtle) or Haystack 4 (JSON)
    ExportModel(super::model_cli::ModelArgs),
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where the store goes; each run replaces <DIR>/demo/seed-<N>
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-data")]
    pub data_dir: PathBuf,
    /// Address of the page and the API; port 0 = any free one, printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// First seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seeds to run, one after the other; from 2 on the table gives the difference's 95 % interval
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seeds: u32,
    /// Simulated time per run
    #[arg(long, value_name = "SPAN", default_value = "2d")]
    pub span: String,
    /// First simulated instant
    #[arg(long, value_name = "TIME", default_value = "2026-07-14T00:00:00Z")]
    pub start: String,
    /// Measured heat instead of simulated jobs: CSV (or .gz) with t_s and one column per group, in W or kW
    #[arg(long, value_name = "FILE")]
    pub load: Option<PathBuf>,
    /// Hourly weather instead of the synthetic one: TMY3 CSV (or .gz)
    #[arg(long, value_name = "FILE")]
    pub weather: Option<PathBuf>,
    /// Also search the optimum with perfect foresight on the same twin (takes minutes)
    #[arg(long)]
    pub optimum: bool,
    /// Number of points per site pair (extra rack sensors); as in the site files where absent
    #[arg(long, value_name = "N")]
    pub points: Option<usize>,
    /// Write the table as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the report page into this folder; <data-dir>/report where absent
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Stop after the table instead of serving the page until Ctrl-C
    #[arg(long)]
    pub exit: bool,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The configuration file; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "tramuntana.toml")]
    pub config: PathBuf,
    /// Broker for all sites, e.g. mqtt://user@127.0.0.1:1883 (overrides the files)
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Where the store goes (overrides the file)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the page and the API (overrides the file); port 0 = any free one, printed
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Readings from before, to learn a plant from: Parquet as `store export` writes it (point, at_ms, value, …)
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
}

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The configuration file; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "tramuntana.toml")]
    pub config: PathBuf,
    /// Broker for all sites (overrides the files)
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Do not try the brokers and InfluxDB
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The recording
    pub file: PathBuf,
    /// Where to publish it
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    pub broker: String,
    /// Multiple of the recorded pace, or `max`
    #[arg(long, default_value = "1")]
    pub speed: String,
    /// First instant of the replay (RFC 3339); now where absent
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// User name; the password comes from the environment variable TRAMUNTANA_PASSWORD
    #[arg(long)]
    pub user: Option<String>,
}

/// Arguments of `store`.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-data", global = true)]
    pub data_dir: PathBuf,
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What `store` does.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Take in CSV (header: at_ms or time, point, value[, ns, unit, quality]), Parquet with the same columns, or line protocol
    Import(StoreImport),
    /// Write readings, or steps of them, as CSV or Parquet
    Export(StoreExport),
    /// List sites, days, rows and bytes
    Inspect {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read everything through; fails where something is damaged
    Verify {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy the whole data directory as of now, also while a service has it open
    Backup {
        /// A folder that does not exist yet, outside of the data directory
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a data directory of a backup; every digest is compared
    Restore {
        /// The backup
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Seal finished days, merge late readings into sealed ones, give back space
    Compact {
        /// Only days before this one; all where absent
        #[arg(long, value_name = "DAY")]
        before: Option<String>,
    },
}

/// Arguments of `store import`.
#[derive(Clone, Debug, Args)]
pub struct StoreImport {
    /// The site that the readings belong to
    #[arg(long)]
    pub site: String,
    /// Files that end in .csv, .parquet or .lp (line protocol, ns)
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// Arguments of `store export`.
#[derive(Clone, Debug, Args)]
pub struct StoreExport {
    /// The site
    #[arg(long)]
    pub site: String,
    /// A point's path; repeat for several. All points where nothing is chosen
    #[arg(long = "point", value_name = "PATH")]
    pub points: Vec<String>,
    /// Points of a role of the site file; repeat for several
    #[arg(long = "role", value_name = "NAME", requires = "config")]
    pub roles: Vec<String>,
    /// The configuration whose site file says what a role means
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Points of objects of this type (CDU, Rack, PowerMeter, …)
    #[arg(long, value_name = "TYPE")]
    pub object_type: Option<String>,
    /// Points of this type (LiquidTemperature, RackPower, …)
    #[arg(long, value_name = "TYPE")]
    pub point_type: Option<String>,
    /// First instant
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The instant to end before
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Means, extremes and counts over steps of this length (1min, 5min, 1h, …) instead of every reading
    #[arg(long, value_name = "SPAN")]
    pub step: Option<String>,
    /// A file that ends in .csv or .parquet; `-` = CSV on the standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
}

/// Arguments of `token`.
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// The data directory; the service may have it open
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-data", global = true)]
    pub data_dir: PathBuf,
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What `token` does.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// Who will use it; acts are filed under this name
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// Ends by itself after this time, e.g. 90d
        #[arg(long, value_name = "SPAN")]
        expires: Option<String>,
    },
    /// List names, roles and states
    List,
    /// End a token at once
    Revoke {
        /// Its name
        name: String,
    },
}

/// Arguments of `audit`.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// The data directory; no service may have it open
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-data", global = true)]
    pub data_dir: PathBuf,
    /// Only this site; repeat for several
    #[arg(long = "site", value_name = "SITE", global = true)]
    pub sites: Vec<String>,
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What `audit` does.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum AuditCommand {
    /// Print every act
    Show,
    /// Follow the hash chain; fails where an entry was changed, removed or inserted
    Verify,
}

/// Arguments of `identify`.
#[derive(Clone, Debug, Args)]
pub struct IdentifyArgs {
    /// A site of the configuration by its id (all where absent); with --sim the folders of sites with a twin.toml
    #[arg(long = "site", value_name = "SITE")]
    pub sites: Vec<PathBuf>,
    /// The configuration file; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "tramuntana.toml")]
    pub config: PathBuf,
    /// Where the store is (overrides the file)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Use readings since this time only, e.g. 2026-07-01
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Identify the shipped sites from simulated telemetry instead, and write their models under --out
    #[arg(long)]
    pub sim: bool,
    /// With --sim: where the models go
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    /// With --sim: first seed of the simulated telemetry; the demo's own seeds begin at 1, these must not be among them
    #[arg(long, default_value_t = crate::sim::excite::SHIPPED_SEED)]
    pub seed: u64,
}

/// Arguments of `evaluate`.
#[derive(Clone, Debug, Args)]
pub struct EvaluateArgs {
    /// The plant's command; --seed and --json are added to it, and an arm's arguments or --host and --port of a broker. Without
    /// it the shipped simulated plants are run, in process
    #[arg(long, value_name = "CMD")]
    pub plant: Option<String>,
    /// Break things instead: this many seeded faults, each with and without us, and whether a limit was broken by our action
    #[arg(long, value_name = "N")]
    pub campaign: Option<usize>,
    /// With --campaign: only faults whose name contains this (pump, broker, …); repeat for several
    #[arg(long = "fault", value_name = "WORD", requires = "campaign")]
    pub faults: Vec<String>,
    /// The configuration with the plant's site; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "sensors/liquid-hall/tramuntana.toml")]
    pub config: PathBuf,
    /// One of the plant's own ways: a name and the arguments that choose it; repeat for several. The first is compared with
    #[arg(long = "arm", value_name = "NAME:ARGS", default_values = ["fixed:--policy fixed", "trim:--policy trim", "reset:--policy reset"])]
    pub arms: Vec<String>,
    /// First seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seeds to run, one after the other; from 2 on differences come with their 95 % interval
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seeds: u32,
    /// On the simulated plants: time of each run
    #[arg(long, value_name = "SPAN", default_value = "25h")]
    pub span: String,
    /// On the simulated plants: first instant
    #[arg(long, value_name = "TIME", default_value = "2026-07-14T00:00:00Z")]
    pub start: String,
    /// On the simulated plants: shift of the July weather, K
    #[arg(long, value_name = "K", default_value_t = 0.0, allow_negative_numbers = true)]
    pub offset_k: f64,
    /// On the simulated plants: also search the best with perfect foresight (takes minutes)
    #[arg(long)]
    pub optimum: bool,
    /// The arm whose saving the others' are told as a share of (rule, where the plant has a tuned one)
    #[arg(long, value_name = "NAME", default_value = "optimum")]
    pub reference: String,
    /// Where the stores go; each run replaces <DIR>/evaluate/seed-<N>
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-data")]
    pub data_dir: PathBuf,
    /// Write every figure as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `train`.
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// Train the sites of this configuration on what its store has; without it, on simulated days of the shipped sites
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// With --config: only these sites (by id); without: folders with site.toml and twin.toml
    #[arg(long = "site", value_name = "SITE")]
    pub sites: Vec<String>,
    /// With --config: where the store is (overrides the file)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// With --config: how much of the newest data to train on
    #[arg(long, value_name = "SPAN", default_value = "28d")]
    pub span: String,
    /// Where the models go; the configuration's folder, or models/, where absent
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of the trees, and of the simulated days (the demo's own seeds begin at 1)
    #[arg(long, default_value_t = crate::sim::excite::SHIPPED_SEED)]
    pub seed: u64,
}

/// Arguments of `backtest`.
#[derive(Clone, Debug, Args)]
pub struct BacktestArgs {
    /// CSV, CSV.gz or Parquet; without it, --site and --point name a series of the store
    pub file: Option<PathBuf>,
    /// Column of the time: timestamps, or seconds since --origin
    #[arg(long, value_name = "COL", default_value = "time")]
    pub time: String,
    /// Instant of second 0
    #[arg(long, value_name = "TIME")]
    pub origin: Option<String>,
    /// Column of the load; several (a,b or prefix*) are summed
    #[arg(long, value_name = "COLS", default_value = "value")]
    pub target: String,
    /// Step of the series, e.g. 10min
    #[arg(long, value_name = "SPAN")]
    pub step: String,
    /// Targets before this instant are trained on, those from it on are the test
    #[arg(long, value_name = "TIME")]
    pub train_until: String,
    /// End of the test; the series' where absent
    #[arg(long, value_name = "TIME")]
    pub test_until: Option<String>,
    /// How far ahead, e.g. 20min,1h,6h,24h
    #[arg(long, value_name = "SPANS", value_delimiter = ',', required = true)]
    pub horizons: Vec<String>,
    /// Columns that are known at the origin (weather)
    #[arg(long, value_name = "COLS", default_value = "")]
    pub weather: String,
    /// How far back features look; shorten it for a short series
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    pub max_lag: String,
    /// Which models take part; all where absent
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub models: Vec<String>,
    /// Time zone of the calendar; timestamps without a zone are read as UTC
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,
    /// Dates that count as Sundays, YYYY-MM-DD
    #[arg(long, value_name = "DATES", value_delimiter = ',')]
    pub holidays: Vec<String>,
    /// Seed of the trees
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the chosen model's predictions as CSV
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Draw fans, calibration, errors and weights into this folder (SVG and PNG)
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Site of the store
    #[arg(long)]
    pub site: Option<String>,
    /// Points of the store, by path; several (a,b or prefix*) are summed
    #[arg(long, value_name = "PATHS")]
    pub point: Option<String>,
    /// Where the store is
    #[arg(long, value_name = "DIR", default_value = "./tramuntana-data")]
    pub data_dir: PathBuf,
}

/// Runs the program: reads the command line, runs the command, turns an error into one line on stderr.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    super::log::start("info");
    let result = match cli.command {
        Command::Demo(args) => super::demo::run(args),
        Command::Serve(args) => super::service::run(args),
        Command::Check(args) => super::check::run(args),
        Command::Replay(args) => super::replay::run(args),
        Command::Token(args) => super::access::run(args),
        Command::Audit(args) => super::audit::run(args),
        Command::Identify(args) if args.sim => super::train::identify(args),
        Command::Identify(args) => super::identify::run(&args),
        Command::Evaluate(args) => super::evaluate::run(&args),
        Command::Store(args) => super::store_cli::run(args),
        Command::Train(args) => super::train::train(args),
        Command::Backtest(args) => super::backtest::run(args),
        Command::Slurm(args) => super::slurm::run(args),
        Command::Kubernetes(KubernetesArgs { command: KubernetesCommand::Labels(args) }) => super::kubernetes::run(&args),
        Command::Simulate(args) => super::simulate::run(&args),
        Command::Placement(args) => super::study::run(&args),
        Command::Report(args) => super::report_cli::run(&args),
        Command::VerifySavings(args) => super::savings_cli::run(&args),
        Command::ExportModel(args) => super::model_cli::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tramuntana: {why}");
            ExitCode::FAILURE
        }
    }
}
