//! Kubernetes: the scheduler extender's messages, and labels for nodes.
//!
//! Wire: `ExtenderArgs` and `HostPriorityList` of kube-scheduler (k8s.io/kube-scheduler/extender/v1), whose keys are
//! capitalised without tags in old releases and lower case in JSON of others: both are read, capitals are written.
//! Invariants: a node that no fresh hint speaks of passes the filter and gets the middle score: fail open; a node is
//! filtered out only where its rack has no room for the pod's GPUs or no thermal headroom.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Highest score of an extender.
pub const SCORE_MAX: i64 = 10;
/// Score of a node of which nothing is known.
const SCORE_UNKNOWN: i64 = 5;
/// Nodes that one message may name.
pub const NODES_MAX: usize = 50_000;

/// What the hints say of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeHint {
    pub band: u8,
    pub marginal_kwh_per_gpu_hour: f64,
    /// GPUs that its rack has room for, by power and cooling.
    pub room_gpus: u32,
    /// The first reason why it has none.
    pub why: String,
    pub site: String,
    pub rack: String,
}

/// What kube-scheduler asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    pub gpus: u32,
    pub nodes: Vec<String>,
    /// The whole node objects, where they were sent (`nodeCacheCapable: false`).
    pub items: Option<Vec<Value>>,
}

/// The answer to a filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilterAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_names: Option<Vec<String>>,
    pub failed_nodes: BTreeMap<String, String>,
    pub error: String,
}

/// One node's score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostPriority {
    pub host: String,
    pub score: i64,
}

fn get<'a>(v: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|n| v.get(n)).filter(|v| !v.is_null())
}

/// Reads a message; `Err` says which field is wrong.
pub fn args(v: &Value) -> Result<Args, (String, String)> {
    let pod = get(v, &["Pod", "pod"]).filter(|p| p.is_object()).ok_or(("Pod".to_owned(), "is missing".to_owned()))?;
    let names = match get(v, &["NodeNames", "nodeNames", "nodenames"]) {
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
            Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
        }
        Some(_) => return Err(("NodeNames".into(), "is no list of names".into())),
        None => None,
    };
    let items = get(v, &["Nodes", "nodes"]).and_then(|n| get(n, &["Items", "items"])).and_then(Value::as_array).cloned();
    let name_of = |n: &Value| {
        get(n, &["metadata", "Metadata", "ObjectMeta"]).and_then(|m| get(m, &["name", "Name"])).and_then(Value::as_str).map(str::to_owned)
    };
    let nodes = match (names, &items) {
        (Some(names), _) => names,
        (None, Some(items)) => items.iter().filter_map(name_of).collect(),
        (None, None) => return Err(("NodeNames".into(), "and Nodes are both missing".into())),
    };
    if nodes.len() > NODES_MAX {
        return Err(("NodeNames".into(), format!("names {} nodes; at most {NODES_MAX} are taken", nodes.len())));
    }
    Ok(Args { gpus: gpus_of(pod), nodes, items })
}

/// GPUs that a pod asks for: any resource whose name ends in `/gpu`; the sum over containers, or the largest of an init
/// container where that is more.
fn gpus_of(pod: &Value) -> u32 {
    let spec = get(pod, &["spec", "Spec"]).cloned().unwrap_or_default();
    let of = |c: &Value| -> u64 {
        let r = get(c, &["resources", "Resources"]).cloned().unwrap_or_default();
        let side = get(&r, &["limits", "Limits"]).or_else(|| get(&r, &["requests", "Requests"]));
        let count = |q: &Value| q.as_u64().or_else(|| q.as_str().and_then(|s| s.parse().ok())).unwrap_or(0);
        side.and_then(Value::as_object)
            .map_or(0, |o| o.iter().filter(|(k, _)| k.ends_with("/gpu")).map(|(_, q)| count(q)).fold(0, u64::saturating_add))
    };
    let list = |names: &[&str]| get(&spec, names).and_then(Value::as_array).cloned().unwrap_or_default();
    let sum: u64 = list(&["containers", "Containers"]).iter().map(of).fold(0, u64::saturating_add);
    let init = list(&["initContainers", "InitContainers"]).iter().map(of).max().unwrap_or(0);
    u32::try_from(sum.max(init)).unwrap_or(u32::MAX)
}

/// Which nodes may take the pod.
pub fn filter(a: &Args, hints: &BTreeMap<String, NodeHint>) -> FilterAnswer {
    let mut failed = BTreeMap::new();
    for n in &a.nodes {
        if let Some(h) = hints.get(n).filter(|h| h.room_gpus < a.gpus.max(1) && a.gpus > 0) {
            let why = if h.why.is_empty() { format!("rack {} has room for {} GPUs", h.rack, h.room_gpus) } else { h.why.clone() };
            failed.insert(n.clone(), format!("tramuntana: {why}"));
        }
    }
    let stays = |n: &String| !failed.contains_key(n);
    let nodes = a.items.as_ref().map(|items| {
        let name = |v: &Value| v.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        Value::Object(
            [("Items".to_owned(), Value::Array(items.iter().filter(|v| name(v).is_none_or(|n| stays(&n))).cloned().collect()))]
                .into_iter()
                .collect(),
        )
    });
    let node_names = Some(a.nodes.iter().filter(|n| stays(n)).cloned().collect());
    FilterAnswer { nodes, node_names, failed_nodes: failed, error: String::new() }
}

/// Scores by band: 10, 7, 5, 2, 0.
pub fn prioritize(a: &Args, hints: &BTreeMap<String, NodeHint>) -> Vec<HostPriority> {
    let score = |n: &String| {
        hints.get(n).map_or(SCORE_UNKNOWN, |h| match h.band {
            1 => SCORE_MAX,
            2 => 7,
            3 => 5,
            4 => 2,
            _ => 0,
        })
    };
    a.nodes.iter().map(|n| HostPriority { host: n.clone(), score: score(n) }).collect()
}

/// A manifest that labels and annotates nodes, for `kubectl apply --server-side`. Every value is quoted; names that are no
/// Kubernetes names are left out and said.
pub fn labels(hints: &BTreeMap<String, NodeHint>, valid_until: &str) -> String {
    let mut out =
        format!("# Placement hints, valid until {valid_until}. Look, then: kubectl apply --server-side --field-manager=tramuntana -f -\n");
    for (node, h) in hints {
        let fits =
            !node.is_empty() && node.len() <= 253 && node.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
        if !fits {
            out.push_str(&format!("# {}: no Kubernetes node name, left out\n", node.escape_default()));
            continue;
        }
        let quoted = |s: &str| serde_json::to_string(s).unwrap_or_default();
        out.push_str(&format!(
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {}\n  labels:\n    tramuntana.io/band: \"{}\"\n  annotations:\n    tramuntana.io/site: {}\n    tramuntana.io/rack: {}\n    tramuntana.io/marginal-kwh-per-gpu-hour: \"{:.4}\"\n    tramuntana.io/valid-until: {}\n",
            quoted(node), h.band, quoted(&h.site), quoted(&h.rack), h.marginal_kwh_per_gpu_hour, quoted(valid_until)
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hints() -> BTreeMap<String, NodeHint> {
        let h = |band, room_gpus| NodeHint {
            band,
            marginal_kwh_per_gpu_hour: 1.9,
            room_gpus,
            why: String::new(),
            site: "s".into(),
            rack: "r".into(),
        };
        [("n1".to_owned(), h(1, 64)), ("n2".to_owned(), h(5, 0)), ("n3".to_owned(), h(4, 6))].into_iter().collect()
    }

    #[test]
    fn both_spellings_are_read_and_unknown_nodes_pass() {
        let pod = json!({"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "8"}}}]}});
        let a = args(&json!({"Pod": pod, "Nodes": null, "NodeNames": ["n1", "n2", "n3", "x"]})).unwrap();
        assert_eq!(a.gpus, 8);
        let f = filter(&a, &hints());
        assert_eq!(f.node_names.as_deref(), Some(["n1", "x"].map(String::from).as_slice()));
        assert!(f.failed_nodes["n2"].starts_with("tramuntana: rack r") && f.failed_nodes.len() == 2);
        let text = serde_json::to_string(&f).unwrap();
        assert!(text.contains("\"NodeNames\"") && text.contains("\"FailedNodes\"") && text.contains("\"Error\":\"\""), "{text}");
        let scores: Vec<i64> = prioritize(&a, &hints()).iter().map(|p| p.score).collect();
        assert_eq!(scores, [10, 0, 2, 5]);
        let lower = args(&json!({"pod": {}, "nodes": {"items": [{"metadata": {"name": "n2"}}]}})).unwrap();
        assert_eq!((lower.gpus, lower.nodes.as_slice()), (0, ["n2".to_owned()].as_slice()));
        // A pod without GPUs makes no heat worth a filter.
        assert!(filter(&lower, &hints()).failed_nodes.is_empty());
        assert_eq!(args(&json!({"Pod": {}})).unwrap_err().0, "NodeNames");
    }

    #[test]
    fn labels_are_quoted() {
        let text = labels(
            &[("n1".to_owned(), hints()["n1"].clone()), ("N_x\n".to_owned(), hints()["n2"].clone())].into_iter().collect(),
            "2026-07-14T12:00:00Z",
        );
        assert!(text.contains("tramuntana.io/band: \"1\"") && text.contains("left out") && !text.contains("N_x\n:"), "{text}");
    }
}
