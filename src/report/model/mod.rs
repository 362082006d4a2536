//! The site model for others: its loops, meters, racks, plant objects and points as Brick 1.4 and as Haystack 4.
//!
//! Everything comes from the site file and the points' own metadata; nothing about a plant is code. A point that no class
//! describes better is a plain `Point` or a sensor of its quantity. Invariant: each point is there once, and points at its object.

mod brick;
mod haystack;

pub use brick::turtle;
pub use haystack::json;

use crate::site::{Catalogue, Point, SiteFile};
use std::collections::BTreeMap;

/// One thing that points belong to.
#[derive(Clone, Debug, PartialEq)]
struct Thing {
    id: String,
    name: String,
    /// As the metadata say: `Rack`, `CDU`, `Chiller`, `PowerMeter`, …
    object_type: String,
    /// Identifiers of what it serves.
    serves: Vec<String>,
}

/// The objects that a site's points belong to, by identifier; points without one belong to the site.
fn things(catalogue: &Catalogue) -> BTreeMap<String, Thing> {
    let mut out = BTreeMap::<String, Thing>::new();
    for p in catalogue.iter().filter(|p| !p.object_id.is_empty()) {
        let t = out.entry(p.object_id.clone()).or_insert_with(|| Thing {
            id: p.object_id.clone(),
            name: if p.object_name.is_empty() { p.object_id.clone() } else { p.object_name.clone() },
            object_type: if p.associated { String::new() } else { p.object_type.clone() },
            serves: vec![],
        });
        // A point of another object says nothing of what this one is.
        if t.object_type.is_empty() && !p.associated {
            t.object_type.clone_from(&p.object_type);
        }
        for s in &p.serves_id {
            if !t.serves.contains(s) {
                t.serves.push(s.clone());
            }
        }
    }
    out
}

/// Whether a text stands among what a point's metadata say of its place and purpose.
fn about(p: &Point, word: &str) -> bool {
    p.process_area.iter().any(|a| a.to_ascii_lowercase().contains(word)) || p.point_type.to_ascii_lowercase().contains(word)
}

/// Meters of the site file with the points that they select.
fn meters<'a>(site: &'a SiteFile, catalogue: &'a Catalogue) -> Vec<(&'a crate::site::Meter, Vec<&'a Point>)> {
    site.meters.iter().map(|m| (m, catalogue.select(&m.select).collect())).collect()
}
