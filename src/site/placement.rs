//! What placement must know of a site and metadata do not say: nodes of a rack, power caps, fast domains, price of energy.
//!
//! Words: a *cap* bounds the power of some racks (PDU, row) or of the whole site; a *domain* is a set of racks whose GPUs
//! see one another through one NVLink or leaf switch; a *hostlist* names nodes as Slurm does (`n[01-18,20]`).
//! Invariant: a list of racks names rack identifiers, a trailing `*` makes one a prefix.

use super::Selector;
use serde::{Deserialize, Serialize};

/// Nodes that one hostlist may name.
const HOSTS_MAX: usize = 100_000;
/// Digits of a number in a hostlist.
const DIGITS_MAX: usize = 12;

/// What a cap is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapKind {
    Pdu,
    Row,
    Site,
}

impl CapKind {
    pub fn text(self) -> &'static str {
        match self {
            CapKind::Pdu => "pdu",
            CapKind::Row => "row",
            CapKind::Site => "site",
        }
    }
}

/// A bound on power that jobs may not break.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerCap {
    pub id: String,
    pub kind: CapKind,
    /// Racks under it; for `pdu` and `row`.
    #[serde(default)]
    pub racks: Vec<String>,
    /// kW: of the racks' power for `pdu` and `row`, of the site's total with cooling and losses for `site`.
    #[serde(default)]
    pub max_kw: Option<f64>,
    /// Role whose value is the bound, kW, where the grid or an operator sets it (a DSX Flex load target); the lower of both
    /// counts, and an unknown value bounds nothing.
    #[serde(default)]
    pub role: Option<String>,
}

/// Racks whose GPUs see one another fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    pub id: String,
    pub racks: Vec<String>,
}

/// Which nodes a rack has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RackNodes {
    pub rack: String,
    /// Hostlists (`n[01-18]`).
    pub nodes: Vec<String>,
}

/// A set of racks that one scheduler partition runs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    pub id: String,
    pub name: String,
    /// Selects one point per rack (its `RackPower`).
    pub racks: Selector,
    pub gpus_per_rack: u32,
    /// Electrical rating of one rack, kW.
    pub rack_rating_kw: f64,
    /// Job classes that the partition takes (`training`, `inference`).
    pub job_classes: Vec<String>,
    /// Its name in Slurm or Kubernetes; `id` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Which nodes each rack has; a rack that is not listed is one node of its own name.
    #[serde(default, rename = "rack", skip_serializing_if = "Vec::is_empty")]
    pub racks_nodes: Vec<RackNodes>,
}

impl Partition {
    /// Nodes of a rack, as the scheduler names them.
    pub fn nodes_of(&self, rack: &str) -> Vec<String> {
        let listed = self.racks_nodes.iter().find(|r| r.rack == rack);
        listed.map_or_else(|| vec![rack.to_owned()], |r| r.nodes.iter().filter_map(|n| hosts(n).ok()).flatten().collect())
    }
    pub fn scheduler_name(&self) -> &str {
        self.scheduler_name.as_deref().unwrap_or(&self.id)
    }
}

/// Price and carbon of a kWh where no signal says better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Energy {
    pub eur_per_kwh: Option<f64>,
    /// Location-based.
    pub g_co2_per_kwh: Option<f64>,
}

/// Does a list of racks name this one?
pub fn names_rack(list: &[String], rack: &str) -> bool {
    list.iter().any(|p| p.strip_suffix('*').map_or(p == rack, |prefix| rack.starts_with(prefix)))
}

/// Spells out a hostlist: `n[01-03,07]` is n01, n02, n03, n07.
pub fn hosts(list: &str) -> Result<Vec<String>, String> {
    let Some(open) = list.find('[') else { return Ok(vec![list.to_owned()]) };
    let bad = |why: &str| Err(format!("hostlist {list:?} {why}; write it as n[01-18,20]"));
    let Some(close) = list[open..].find(']').map(|c| open + c) else { return bad("has no closing bracket") };
    let (head, inner, tail) = (&list[..open], &list[open + 1..close], &list[close + 1..]);
    if tail.contains(['[', ']']) {
        return bad("has two brackets");
    }
    let mut out = vec![];
    for part in inner.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(a), Ok(b)) = (from.parse::<usize>(), to.parse::<usize>()) else { return bad("has a part that is no number") };
        // A number's width is that of its names: of thousands of digits no node is called.
        if b < a || b - a >= HOSTS_MAX || out.len() >= HOSTS_MAX || from.len() > DIGITS_MAX {
            return bad("runs backwards, names too many nodes or has too long a number");
        }
        out.extend((a..=b).map(|n| format!("{head}{n:0width$}{tail}", width = from.len())));
    }
    Ok(out)
}

/// What is wrong with a cap, in the form (what, why).
pub(super) fn check_cap(c: &PowerCap) -> Result<(), (String, String)> {
    let fail = |why: &str| Err((format!("cap {:?}", c.id), why.to_owned()));
    if c.max_kw.is_none() && c.role.is_none() {
        return fail("give `max_kw`, or the `role` that says it");
    }
    if c.max_kw.is_some_and(|v| !(v > 0.0)) {
        return fail("`max_kw` must be above 0");
    }
    if (c.kind == CapKind::Site) != c.racks.is_empty() {
        return fail("a pdu or row lists its `racks`; a site cap lists none");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostlists_and_rack_lists() {
        assert_eq!(hosts("n[01-03,07]").unwrap(), ["n01", "n02", "n03", "n07"]);
        assert_eq!(hosts("gpu7").unwrap(), ["gpu7"]);
        assert_eq!(hosts("a[9-10]b").unwrap(), ["a9b", "a10b"]);
        for bad in ["n[1-", "n[3-1]", "n[x]", "n[1][2]"] {
            assert!(hosts(bad).unwrap_err().contains("n[01-18,20]"), "{bad}");
        }
        let list = ["hq-T0*".to_owned(), "hq-T11".to_owned()];
        assert!(names_rack(&list, "hq-T07") && names_rack(&list, "hq-T11") && !names_rack(&list, "hq-T12"));
    }
}
