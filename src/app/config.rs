//! `tramuntana.toml`: which sites, which brokers, where data go, where the page listens.
//!
//! Invariants: unknown keys are refused with their line; paths are relative to the file, but for `data_dir`, which is relative
//! to where the program is started; a password never stands in the file itself, only the name of the environment variable or of
//! the file that holds it.

use super::access::AccessSettings;
use super::alarms::NotifySettings;
use super::door::HttpsSettings;
use super::influx::InfluxSettings;
use super::lease::LeaseSettings;
use super::reports::ReportSettings;
use crate::ingest::mqtt::{BrokerAddress, MqttVersion};
use crate::site::{SiteFile, SiteFileError};
use crate::store::Keep;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of the format that this program reads.
pub const FORMAT: u32 = 1;

/// A refused configuration: where, what was expected, how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {why}; give another with --config, or start from sensors/tramuntana.toml", path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    #[error("{}, line {line}: {why}", path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    #[error("{}: {what}: {why}", path.display())]
    Meaning { path: PathBuf, what: String, why: String },
    #[error(transparent)]
    Site(#[from] SiteFileError),
}

/// Who we are to the brokers, and how we speak to them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    pub user: Option<String>,
    /// Name of the environment variable that holds the password.
    pub password_env: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// MQTT client identifier's prefix; the site's id follows it.
    pub client_id: Option<String>,
    /// `"3.1.1"` or `"5"`.
    pub version: Option<MqttVersion>,
    /// For `mqtts://`, PEM: the authority that signed the broker's certificate (absent = the system's), and for mutual TLS
    /// our certificate and its key.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Subscribe as a member of this group (`$share/<group>/…`): several processes share one stream.
    pub shared_group: Option<String>,
    /// Highest quality of service to subscribe at: 1 (default), or 0 where loss does not matter.
    pub qos: Option<u8>,
    /// The same keys for one broker, by `host:port`; what is not given there is taken from above.
    pub broker: BTreeMap<String, Mqtt>,
}

impl Mqtt {
    /// The settings of one broker.
    pub fn of(&self, address: &BrokerAddress) -> Mqtt {
        let own = self.broker.get(&format!("{}:{}", address.host, address.port)).cloned().unwrap_or_default();
        // A password belongs to its user, a key to its certificate: they are taken together.
        let whole = self.clone();
        let login = if own.user.is_some() || own.password_env.is_some() || own.password_file.is_some() { &own } else { &whole };
        let identity = if own.cert.is_some() { &own } else { &whole };
        Mqtt {
            user: login.user.clone(),
            password_env: login.password_env.clone(),
            password_file: login.password_file.clone(),
            cert: identity.cert.clone(),
            key: identity.key.clone(),
            client_id: own.client_id.or(whole.client_id.clone()),
            version: own.version.or(whole.version),
            ca: own.ca.or(whole.ca.clone()),
            shared_group: own.shared_group.or(whole.shared_group.clone()),
            qos: own.qos.or(whole.qos),
            broker: BTreeMap::new(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.password_env.is_some() && self.password_file.is_some() {
            return Err("give `password_env` or `password_file`, not both".into());
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err("`cert` and `key` belong together: the certificate that the broker asks for, and its private key".into());
        }
        if self.qos.is_some_and(|q| q > 1) {
            return Err("qos is 0 or 1: what comes twice is stored once, so that 2 would only cost".into());
        }
        if self.shared_group.as_ref().is_some_and(|g| g.is_empty() || g.contains(['/', '+', '#'])) {
            return Err("shared_group is one word without `/`, `+`, `#`".into());
        }
        for (name, own) in &self.broker {
            if !own.broker.is_empty() || !name.contains(':') {
                return Err(format!("broker.{name:?}: write [mqtt.broker.\"host:port\"] and the same keys as in [mqtt] below it"));
            }
            own.check().map_err(|why| format!("broker.{name:?}: {why}"))?;
        }
        Ok(())
    }
}

/// How long readings are kept where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Days kept in the hot store before a day is sealed into Parquet.
    pub hot_days: u32,
    /// Days that every reading is kept.
    pub raw_days: u32,
    /// Days that 1 min and 5 min means are kept.
    pub minute_days: u32,
    /// Days that 1 h means are kept.
    pub hour_days: u32,
    /// Days that every reading of the meters behind the KPIs (`[[meter]]` of a site file) is kept.
    pub meter_days: u32,
}

impl Default for StoreSettings {
    fn default() -> StoreSettings {
        let k = Keep::default();
        StoreSettings { hot_days: 3, raw_days: k.raw_days, minute_days: k.minute_days, hour_days: k.hour_days, meter_days: k.meter_days }
    }
}

impl StoreSettings {
    pub fn keep(&self) -> Keep {
        let StoreSettings { raw_days, minute_days, hour_days, meter_days, .. } = *self;
        Keep { raw_days, minute_days, hour_days, meter_days }
    }

    fn check(&self) -> Result<(), String> {
        if self.raw_days <= self.hot_days {
            return Err(format!("raw_days = {} must be above hot_days = {}", self.raw_days, self.hot_days));
        }
        if self.raw_days > self.minute_days || self.minute_days > self.hour_days {
            return Err("coarser rows live longer: raw_days <= minute_days <= hour_days".into());
        }
        Ok(())
    }
}

/// Days that a load model can be trained on, least and most: fewer are never trained on, more are not read from the store at once.
const TRAIN_DAYS: [u32; 2] = [3, 340];

/// When load models are trained anew.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForecastSettings {
    /// Hours of a site's clock between two trainings; 0 = never.
    pub retrain_hours: u32,
    /// Days of the newest data that a model is trained on.
    pub train_days: u32,
}

impl Default for ForecastSettings {
    fn default() -> ForecastSettings {
        ForecastSettings { retrain_hours: 24, train_days: 28 }
    }
}

impl ForecastSettings {
    fn check(&self) -> Result<(), String> {
        let [least, most] = TRAIN_DAYS;
        if self.retrain_hours > 0 && !(least..=most).contains(&self.train_days) {
            return Err(format!("train_days = {}: give {least} to {most}, or retrain_hours = 0 for no training", self.train_days));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: u32,
    broker: String,
    #[serde(default)]
    mqtt: Mqtt,
    #[serde(default = "default_data_dir")]
    data_dir: PathBuf,
    #[serde(default = "default_listen")]
    listen: String,
    #[serde(default)]
    models_dir: Option<PathBuf>,
    #[serde(default)]
    sites: Vec<PathBuf>,
    /// Whole site files written into the configuration.
    #[serde(default)]
    inline: Vec<toml::Table>,
    #[serde(default)]
    store: StoreSettings,
    #[serde(default)]
    forecast: ForecastSettings,
    influx: Option<InfluxSettings>,
    lease: Option<LeaseSettings>,
    #[serde(default)]
    access: AccessSettings,
    #[serde(default)]
    https: HttpsSettings,
    #[serde(default)]
    notify: NotifySettings,
    #[serde(default)]
    reports: ReportSettings,
}

fn default_data_dir() -> PathBuf {
    "./tramuntana-data".into()
}
fn default_listen() -> String {
    "127.0.0.1:8080".into()
}

/// A site with the folder that its file stands in.
#[derive(Clone, Debug)]
pub struct ConfiguredSite {
    pub file: SiteFile,
    pub dir: PathBuf,
}

/// The configuration, checked, with command-line overrides applied.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    pub broker: String,
    pub mqtt: Mqtt,
    pub data_dir: PathBuf,
    pub listen: String,
    pub models_dir: PathBuf,
    pub sites: Vec<ConfiguredSite>,
    pub store: StoreSettings,
    pub forecast: ForecastSettings,
    /// InfluxDB 2 as a mirror, a history or both.
    pub influx: Option<InfluxSettings>,
    /// Several services of one plant, of which one is in charge.
    pub lease: Option<LeaseSettings>,
    /// Who may use page and API.
    pub access: AccessSettings,
    pub https: HttpsSettings,
    /// Who is told of alarms.
    pub notify: NotifySettings,
    /// How many reports are kept, and how long.
    pub reports: ReportSettings,
}

/// What the command line may override.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub broker: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub listen: Option<String>,
}

impl Config {
    /// Finds the file that a `--config` value means: the path itself, else, for a bare file name, the one in `sensors/`.
    pub fn locate(path: &Path) -> PathBuf {
        let shipped = Path::new("sensors").join(path);
        if !path.exists() && path.components().count() == 1 && shipped.exists() { shipped } else { path.to_owned() }
    }

    /// Reads and checks the configuration and every site file that it names.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
        let path = &Config::locate(path);
        let text = std::fs::read_to_string(path).map_err(|why| ConfigError::Unreadable { path: path.clone(), why })?;
        let raw: Raw = toml::from_str(&text).map_err(|e| ConfigError::Syntax {
            path: path.clone(),
            line: e.span().map_or(1, |s| 1 + text[..s.start.min(text.len())].matches('\n').count()),
            why: e.message().to_owned(),
        })?;
        let base = path.parent().unwrap_or(Path::new(".")).to_owned();
        let named = raw.sites.iter().map(|p| {
            let p = base.join(p);
            Ok(ConfiguredSite { file: SiteFile::load(&p)?, dir: p.parent().unwrap_or(&base).to_owned() })
        });
        let inline =
            raw.inline.iter().map(|table| Ok(ConfiguredSite { file: SiteFile::parse(path, &table.to_string())?, dir: base.clone() }));
        let sites = named.chain(inline).collect::<Result<_, SiteFileError>>()?;
        let config = Config {
            path: path.clone(),
            broker: overrides.broker.clone().unwrap_or(raw.broker),
            mqtt: raw.mqtt,
            data_dir: overrides.data_dir.clone().unwrap_or(raw.data_dir),
            listen: overrides.listen.clone().unwrap_or(raw.listen),
            models_dir: raw.models_dir.map_or_else(|| default_models_dir(&base), |m| base.join(m)),
            sites,
            store: raw.store,
            forecast: raw.forecast,
            influx: raw.influx,
            lease: raw.lease,
            access: raw.access,
            https: raw.https,
            notify: raw.notify,
            reports: raw.reports,
        };
        config.check(raw.format).map_err(|(what, why)| ConfigError::Meaning { path: path.clone(), what, why })?;
        Ok(config)
    }

    fn check(&self, format: u32) -> Result<(), (String, String)> {
        if format != FORMAT {
            return Err((format!("format = {format}"), format!("this program reads format {FORMAT}")));
        }
        if self.sites.is_empty() {
            return Err((
                "sites".into(),
                "names no site; give at least one site file (or an [[inline]] one), e.g. sites = [\"bsc-hq/site.toml\"]".into(),
            ));
        }
        for (i, site) in self.sites.iter().enumerate() {
            if self.sites[..i].iter().any(|s| s.file.site.id == site.file.site.id) {
                return Err((format!("site {:?}", site.file.site.id), "is there twice; give each site its own id".into()));
            }
        }
        self.mqtt.check().map_err(|why| ("mqtt".into(), why))?;
        self.store.check().map_err(|why| ("store".into(), why))?;
        self.forecast.check().map_err(|why| ("forecast".into(), why))?;
        if let Some(influx) = &self.influx {
            influx.check()?;
        }
        if let Some(lease) = &self.lease {
            lease.check().map_err(|why| ("lease".into(), why))?;
        }
        self.access.check().map_err(|why| ("access".into(), why))?;
        if !self.access.client_certificate.is_empty() && self.https.client_ca.is_none() {
            let why = "needs client_ca in [https]: who signed the certificates; without it none is asked for".to_owned();
            return Err(("access.client_certificate".into(), why));
        }
        self.notify.check().map_err(|why| ("notify".into(), why))?;
        self.https.check().map_err(|why| ("https".into(), why))?;
        self.reports.check().map_err(|why| ("reports".into(), why))?;
        self.listen_addr().map(|_| ()).map_err(|why| ("listen".into(), why))
    }

    /// The address that the page and the API listen on.
    pub fn listen_addr(&self) -> Result<std::net::SocketAddr, String> {
        parse_listen(&self.listen)
    }

    /// Broker of a site: its own, unless the command line overrode all.
    pub fn broker_of(&self, site: &SiteFile, overridden: bool) -> String {
        if overridden { self.broker.clone() } else { site.bus.broker.clone().unwrap_or_else(|| self.broker.clone()) }
    }

    /// The password of a broker's settings, from where the file says it is.
    pub fn password_of(&self, mqtt: &Mqtt) -> Result<Option<String>, ConfigError> {
        let fail = |what: String, why: String| ConfigError::Meaning { path: self.path.clone(), what, why };
        if let Some(name) = &mqtt.password_env {
            return std::env::var(name)
                .map(Some)
                .map_err(|e| fail(format!("mqtt.password_env = {name:?}"), format!("{e}; export that variable before the start")));
        }
        if let Some(file) = &mqtt.password_file {
            let file = self.beside(file);
            let text = std::fs::read_to_string(&file)
                .map_err(|e| fail(format!("mqtt.password_file = {:?}", file.display().to_string()), format!("cannot be read: {e}")))?;
            return Ok(Some(text.lines().next().unwrap_or("").to_owned()));
        }
        Ok(None)
    }

    /// A path of the file, relative to it.
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }
}

fn default_models_dir(base: &Path) -> PathBuf {
    let beside = base.join("models");
    let above = base.join("..").join("models");
    let two_above = base.join("../..").join("models");
    [beside, above, two_above].into_iter().find(|p| p.is_dir()).unwrap_or_else(|| PathBuf::from("models"))
}

/// Reads `--listen`: `ADDRESS:PORT`; port 0 = any free one.
pub fn parse_listen(text: &str) -> Result<std::net::SocketAddr, String> {
    use std::net::ToSocketAddrs;
    text.to_socket_addrs().ok().and_then(|mut a| a.next()).ok_or_else(|| {
        format!("{text:?} is not an address with a port; for example --listen 127.0.0.1:8080, or :0 as port for any free one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_needs_a_port() {
        assert!(parse_listen("127.0.0.1:0").is_ok());
        assert!(parse_listen("127.0.0.1").unwrap_err().contains("--listen"));
    }

    #[test]
    fn days_that_no_model_is_trained_on_are_refused() {
        let check = |retrain_hours, train_days| ForecastSettings { retrain_hours, train_days }.check();
        assert!(ForecastSettings::default().check().is_ok() && check(24, 3).is_ok() && check(0, 0).is_ok());
        assert!(check(24, 2).unwrap_err().contains("train_days = 2") && check(24, 400).is_err());
    }

    #[test]
    fn a_missing_file_names_itself_and_the_way_out() {
        let e = Config::load(Path::new("no/such.toml"), &Overrides::default()).unwrap_err().to_string();
        assert!(e.contains("no/such.toml") && e.contains("--config"), "{e}");
    }
}
