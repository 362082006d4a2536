//! `export-model`: a site's model for other tools, out of its site file and the points that the store knows.

use super::config::{Config, Overrides};
use super::reports::chosen;
use crate::report::model;
use crate::store::{Embedded, Store};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelFormat {
    /// Brick 1.4, Turtle
    Brick,
    /// Project Haystack 4, JSON
    Haystack,
}

/// Arguments of `export-model`.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A site of the configuration, by its id
    #[arg(long, value_name = "SITE")]
    pub site: String,
    #[arg(long, value_enum)]
    pub format: ModelFormat,
    /// The configuration file; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "tramuntana.toml")]
    pub config: PathBuf,
    /// Where the store is (overrides the file); no service may have it open
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Namespace of the Brick entities
    #[arg(long, value_name = "IRI", default_value = "https://example.org/tramuntana#")]
    pub namespace: String,
    /// The file
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Writes the model.
///
/// # Errors
/// The configuration or the store cannot be read, the file not be written.
pub fn run(a: &ModelArgs) -> Result<(), String> {
    let overrides = Overrides { data_dir: a.data_dir.clone(), ..Overrides::default() };
    let config = Config::load(&a.config, &overrides).map_err(|e| e.to_string())?;
    let bad = |c: char| c.is_whitespace() || "<>\"{}|^`\\".contains(c);
    if a.namespace.contains(bad) || !a.namespace.contains(':') {
        return Err(format!("--namespace {:?}: not an IRI, such as https://example.org/site#", a.namespace));
    }
    let store = Embedded::open(&config.data_dir).map_err(|e| e.to_string())?;
    let site = *chosen(&config, &store, Some(&a.site))?.first().ok_or("no such site")?;
    let catalogue = store.catalogue(&a.site).map_err(|e| e.to_string())?;
    let text = match a.format {
        ModelFormat::Brick => model::turtle(&site.file, &catalogue, &a.namespace),
        ModelFormat::Haystack => serde_json::to_string_pretty(&model::json(&site.file, &catalogue)).map_err(|e| e.to_string())?,
    };
    std::fs::write(&a.out, text).map_err(|e| format!("{}: cannot be written: {e}", a.out.display()))?;
    println!("{}: {} points of {}", a.out.display(), catalogue.len(), a.site);
    Ok(())
}
