//! Nodes as `scontrol show node --details --oneliner` prints them (Slurm 21.08 to 24.x). GPUs stand in `CfgTRES` and
//! `AllocTRES` only where the cluster accounts for them; `Gres` and `GresUsed` always do.
//!
//! Invariant: reading is total; a line without a name or a weight is left out and counted.

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub name: String,
    pub weight: u32,
    /// As Slurm prints them; empty = none.
    pub features: String,
    pub partitions: Vec<String>,
    /// First word of the state, lower case, without its marks: `idle`, `mixed`, `allocated`, `down`, …
    pub state: String,
    /// Takes no new job: down, drained, failing, not responding.
    pub out: bool,
    pub gpus: u32,
    pub gpus_used: u32,
}

/// All nodes of the text, and how many lines could not be read.
pub fn parse(text: &str) -> (Vec<Node>, usize) {
    let (mut nodes, mut bad) = (vec![], 0);
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        match one(line) {
            Some(n) => nodes.push(n),
            None => bad += 1,
        }
    }
    (nodes, bad)
}

/// The value after ` key=`, to the next blank.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(i) = line[from..].find(key).map(|i| from + i) {
        let starts = i == 0 || line.as_bytes()[i - 1] == b' ';
        let end = i + key.len();
        if starts && line.as_bytes().get(end) == Some(&b'=') {
            let value = &line[end + 1..];
            return Some(value.split(' ').next().unwrap_or(""));
        }
        from = end;
    }
    None
}

fn one(line: &str) -> Option<Node> {
    let name = field(line, "NodeName").filter(|n| !n.is_empty())?;
    let weight = field(line, "Weight")?.parse().ok()?;
    let text = |key: &str| field(line, key).filter(|v| *v != "(null)").unwrap_or("").to_owned();
    let state = text("State").to_lowercase();
    let word: String = state.chars().take_while(char::is_ascii_alphabetic).collect();
    let out = ["down", "drain", "fail", "error", "unknown", "future", "power", "maint", "reboot"].iter().any(|w| state.contains(w))
        || state.contains('*');
    Some(Node {
        name: name.to_owned(),
        weight,
        features: text("AvailableFeatures"),
        partitions: text("Partitions").split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect(),
        gpus: gpus(&text("CfgTRES")).unwrap_or_else(|| gres(&text("Gres"))),
        gpus_used: gpus(&text("AllocTRES")).unwrap_or_else(|| gres(&text("GresUsed"))),
        state: word,
        out,
    })
}

/// `gres/gpu=8` in a list of trackable resources.
pub(super) fn gpus(tres: &str) -> Option<u32> {
    tres.split(',').find_map(|t| t.strip_prefix("gres/gpu=")).and_then(|n| n.parse().ok())
}

/// `gpu:h100:8(S:0-1),nic:2`: GPUs of all types.
pub(super) fn gres(text: &str) -> u32 {
    let count = |g: &str| {
        let g = g.split('(').next().unwrap_or("");
        if g != "gpu" && !g.starts_with("gpu:") {
            return 0;
        }
        g.rsplit(':').next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(1)
    };
    // A comma inside brackets separates indices (`gpu:h100:3(IDX:0,4-5)`).
    let (mut sum, mut depth, mut from) = (0_u32, 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                sum = sum.saturating_add(count(&text[from..i]));
                from = i + 1;
            }
            _ => {}
        }
    }
    sum.saturating_add(count(&text[from..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_scontrol_are_read() {
        let text = "NodeName=n01 Arch=x86_64 CoresPerSocket=16  CPUAlloc=2 CPUTot=16 AvailableFeatures=a,b ActiveFeatures=a,b Gres=gpu:h100:8 NodeAddr=127.0.0.1 OS=Linux 5.10 Weight lies=9 State=MIXED ThreadsPerCore=1 TmpDisk=0 Weight=10 Owner=N/A Partitions=train,all CfgTRES=cpu=16,mem=1M,billing=16,gres/gpu=8 AllocTRES=cpu=2,gres/gpu=3\n\
                    NodeName=n02 AvailableFeatures=(null) Gres=gpu:2(S:0),gpu:a100:2 State=IDLE+DRAIN Weight=1 Partitions=train Reason=x\n\nNodeName= Weight=3\n";
        let (nodes, bad) = parse(text);
        assert_eq!((nodes.len(), bad), (2, 1));
        assert_eq!((nodes[0].weight, nodes[0].gpus, nodes[0].gpus_used, nodes[0].out), (10, 8, 3, false));
        assert_eq!((nodes[0].features.as_str(), nodes[0].state.as_str()), ("a,b", "mixed"));
        let (used, _) = parse("NodeName=n Weight=1 Gres=gpu:h100:8 GresUsed=gpu:h100:3(IDX:0,4-5),nic:1 State=MIXED");
        assert_eq!((used[0].gpus, used[0].gpus_used), (8, 3));
        assert_eq!((nodes[1].gpus, nodes[1].out, nodes[1].features.as_str()), (4, true, ""));
    }
}
