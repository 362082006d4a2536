//! A forecaster on disk: `models/<name>/<version>/{model.json, card.toml, score.json}`.
//!
//! The same seed and data give the same bytes. Loading refuses a model whose bytes are not those of its card, whose
//! features this program would compute differently, or whose targets are not the site's.

use super::ForecastError;
use super::forecaster::{Forecaster, Model};
use super::score::Row;
use super::train::check_name;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the format of `model.json`.
pub(super) const FORMAT: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    name: String,
    about: String,
    methods: Vec<String>,
    targets: Vec<String>,
    features: Vec<String>,
    step_s: f64,
    seed: u64,
    trained_from: String,
    trained_to: String,
    /// blake3 of the training values (bits, target by target).
    data_blake3: String,
    model_blake3: String,
    data: String,
}

impl Forecaster {
    /// Writes the three files to `models_dir/<name>/<version>/`. `data` says in a sentence what it was trained on.
    pub fn save(&self, models_dir: &Path, data: &str) -> Result<PathBuf, ForecastError> {
        check_name(&self.model.name)?;
        let dir = models_dir.join(&self.model.name);
        let write = |file: &str, bytes: &[u8]| {
            let path = dir.join(file);
            std::fs::write(&path, bytes).map_err(|e| ForecastError::File { path, why: e.to_string() })
        };
        let text = |file: &str, e: String| ForecastError::File { path: dir.join(file), why: e };
        std::fs::create_dir_all(&dir).map_err(|e| text("", e.to_string()))?;
        let mut model = serde_json::to_vec(&self.model).map_err(|e| text("model.json", e.to_string()))?;
        model.push(b'\n');
        let mut score = serde_json::to_vec_pretty(&self.score).map_err(|e| text("score.json", e.to_string()))?;
        score.push(b'\n');
        let card = Card {
            name: self.model.name.clone(),
            about: "Change of each target from now, per horizon: a blend of naive forecasts, ridges and trees by what each was worth"
                .into(),
            methods: vec![
                "ridge by recursive least squares with forgetting and robust weights (linfa-linalg)".into(),
                "trees, on the change and on what the ridges leave over: gradient boosting for the absolute error, Friedman 2001".into(),
                "blend: ML-Poly, Gaillard, Stoltz & van Erven 2014, with inverse errors".into(),
                "bands: quantile tracking of conformal PID control, Angelopoulos, Candès & Tibshirani 2023".into(),
                "p99 of ramps: conformal rank of the load's own rises, Lei et al. 2018".into(),
            ],
            targets: self.targets().map(String::from).collect(),
            features: self.model.features.clone(),
            step_s: self.model.spec.step.as_secs_f64(),
            seed: self.model.seed,
            trained_from: self.model.trained_from.to_string(),
            trained_to: self.model.trained_to.to_string(),
            data_blake3: self.model.data_digest.clone(),
            model_blake3: blake3::hash(&model).to_hex().to_string(),
            data: data.to_owned(),
        };
        let card = toml::to_string(&card).map_err(|e| text("card.toml", e.to_string()))?;
        write("model.json", &model)?;
        write("score.json", &score)?;
        write("card.toml", card.as_bytes())?;
        Ok(dir)
    }

    /// Reads `models_dir/<name>/<version>/`. With `targets`, the model must have exactly these.
    pub fn load(models_dir: &Path, name: &str, targets: Option<&[String]>) -> Result<Forecaster, ForecastError> {
        check_name(name)?;
        let dir = models_dir.join(name);
        let read = |file: &str| {
            let path = dir.join(file);
            std::fs::read(&path).map_err(|e| ForecastError::File { path, why: format!("cannot be read: {e}") })
        };
        let bad = |file: &str, why: String| ForecastError::File { path: dir.join(file), why };
        let bytes = read("model.json")?;
        let card_text = String::from_utf8(read("card.toml")?).map_err(|_| bad("card.toml", "is not UTF-8".into()))?;
        let card: Card = toml::from_str(&card_text).map_err(|e| bad("card.toml", e.message().to_owned()))?;
        let mismatch =
            |what, found: String, expected: String| Err(ForecastError::Mismatch { path: dir.join("model.json"), what, found, expected });
        let digest = blake3::hash(&bytes).to_hex().to_string();
        if digest != card.model_blake3 {
            return mismatch("the digest", digest, format!("{} (card.toml)", card.model_blake3));
        }
        let model: Model = serde_json::from_slice(&bytes).map_err(|e| bad("model.json", e.to_string()))?;
        if model.format != FORMAT {
            return mismatch("format", model.format.to_string(), FORMAT.to_string());
        }
        if model.name != name {
            return mismatch("name", model.name, name.to_owned());
        }
        let expected = model.spec.names();
        if model.features != expected {
            return mismatch("the list of features", model.features.join(", "), expected.join(", "));
        }
        if model.spec.horizons.is_empty() || model.spec.step.0 <= 0 {
            return mismatch("the list of horizons", "empty, or the step is".into(), "some".into());
        }
        if !model.targets.iter().all(|t| t.lanes.len() == model.spec.horizons.len() && t.lanes.iter().all(|l| l.lane.sound(expected.len())))
        {
            return mismatch("a weight vector or a tree", "of another size".into(), format!("one for {} features", expected.len()));
        }
        if let Some(wanted) = targets {
            let mut have: Vec<&str> = model.targets.iter().map(|t| t.name.as_str()).collect();
            let mut want: Vec<&str> = wanted.iter().map(String::as_str).collect();
            have.sort_unstable();
            want.sort_unstable();
            if have != want {
                return mismatch("the list of targets", have.join(", "), format!("{} (the site's loops)", want.join(", ")));
            }
        }
        let score: Vec<Row> = serde_json::from_slice(&read("score.json")?).map_err(|e| bad("score.json", e.to_string()))?;
        Forecaster::new(model, score)
    }
}
