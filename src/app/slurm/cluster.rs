//! Slurm's commands, each with a time limit: nodes, jobs, updates.

use crate::scheduler::slurm::{Change, Job, Node, job, licence, node};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that one command of Slurm may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nodes that one `scontrol update` names at most.
const NODES_PER_UPDATE: usize = 200;

/// Runs a command to its end or to the time limit; its standard output.
fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program}: {e}; Slurm's client commands must be in PATH (Debian: apt-get install slurm-client)"))?;
    // Both pipes are drained beside the wait: a full pipe would hold the command up.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut p) = pipe {
                let _ = p.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = drain(child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>));
    let err = drain(child.stderr.take().map(|p| Box::new(p) as Box<dyn Read + Send>));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(|e| format!("{program}: {e}"))? {
            Some(status) => break status,
            None if Instant::now() > end => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} {} gave no answer within {} s", args.join(" "), PATIENCE.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if !status.success() {
        let line = err.lines().chain(out.lines()).find(|l| !l.trim().is_empty()).unwrap_or("no word").to_owned();
        return Err(format!("{program} {}: {line}", args.iter().take(3).copied().collect::<Vec<_>>().join(" ")));
    }
    Ok(out)
}

/// All nodes.
pub fn nodes() -> Result<Vec<Node>, String> {
    let (nodes, bad) = node::parse(&output("scontrol", &["show", "node", "--details", "--oneliner"])?);
    if bad > 0 {
        tracing::warn!("{bad} lines of scontrol show node could not be read");
    }
    if nodes.is_empty() {
        return Err("scontrol show node names no node".into());
    }
    Ok(nodes)
}

/// What wait or run, from `squeue`, `sacct`, a file, or slurmrestd's address (`http://…/slurm/v0.0.38/jobs`).
pub fn jobs(from: &str) -> Result<(Vec<Job>, usize), String> {
    let text = match from {
        "squeue" => output("squeue", &["--json"])?,
        "sacct" => output("sacct", &["--json", "--allusers", "--state=RUNNING,PENDING"])?,
        url if url.starts_with("http://") || url.starts_with("https://") => {
            let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
            let mut request = agent.get(url);
            // slurmrestd's own names of the headers and of the variable that scontrol token prints.
            if let Ok(token) = std::env::var("SLURM_JWT") {
                request = request
                    .header("X-SLURM-USER-NAME", std::env::var("USER").unwrap_or_else(|_| "root".into()))
                    .header("X-SLURM-USER-TOKEN", token);
            }
            let mut answer = request.call().map_err(|e| format!("{url}: {e}; SLURM_JWT must hold a token (scontrol token)"))?;
            answer.body_mut().with_config().limit(256 << 20).read_to_string().map_err(|e| format!("{url}: {e}"))?
        }
        file => std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}; give squeue, sacct, a file or an address"))?,
    };
    job::parse(&text).map_err(|e| format!("{from}: {e}"))
}

/// `slurm jobs`.
pub fn print_jobs(from: &str) -> Result<(), String> {
    let (jobs, bad) = jobs(from)?;
    if bad > 0 {
        tracing::warn!("{bad} jobs could not be read");
    }
    println!("{}", serde_json::to_string_pretty(&jobs).map_err(|e| e.to_string())?);
    Ok(())
}

/// Commands that bring changes about: nodes that get the same are named together.
pub fn commands(changes: &[Change]) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<(u32, Option<&str>), Vec<&str>> = BTreeMap::new();
    for c in changes {
        groups.entry((c.weight, c.features.as_deref())).or_default().push(&c.node);
    }
    let mut out = vec![];
    for ((weight, features), nodes) in groups {
        for some in nodes.chunks(NODES_PER_UPDATE) {
            let mut args = vec!["update".to_owned(), format!("NodeName={}", some.join(",")), format!("Weight={weight}")];
            if let Some(f) = features {
                // Slurm takes an empty list as "none".
                args.extend([format!("AvailableFeatures={f}"), format!("ActiveFeatures={f}")]);
            }
            out.push(args);
        }
    }
    out
}

/// Sets changes in Slurm; what failed, in words.
pub fn set(changes: &[Change]) -> Vec<String> {
    let run = |args: Vec<String>| output("scontrol", &args.iter().map(String::as_str).collect::<Vec<_>>()).err();
    commands(changes).into_iter().filter_map(run).collect()
}

/// What our reservation of power licences holds; `None` = there is none.
fn held(name: &str) -> Result<Option<u32>, String> {
    Ok(licence::held(&output("scontrol", &["show", "reservation", "--oneliner"])?, name))
}

/// Holds power licences back so that no more than the headroom may be added (`None` = nothing bounds it).
pub fn hold_licences(name: &str, headroom_kw: Option<f64>) -> Result<(), String> {
    let text = output("scontrol", &["show", "license", "--oneliner"])?;
    let all = licence::parse(&text, name)
        .ok_or_else(|| format!("Slurm knows no licence {name:?}: put Licenses={name}:KW into slurm.conf, one for each kW of the site"))?;
    let now = held(name)?;
    let want = licence::hold(all, headroom_kw, now.unwrap_or(0));
    if want == now.unwrap_or(0) && (want > 0 || now.is_none()) {
        return Ok(());
    }
    if want == 0 {
        return free_licences();
    }
    let (reservation, licences) = (format!("ReservationName={}", licence::RESERVATION), format!("Licenses={name}:{want}"));
    tracing::info!(
        "{want} of {} {name} held back: {} in use, room for {:.0} kW",
        all.total,
        all.used,
        headroom_kw.unwrap_or(f64::INFINITY)
    );
    match now {
        Some(_) => output("scontrol", &["update", &reservation, &licences])?,
        None => output(
            "scontrol",
            &["create", "reservation", &reservation, "StartTime=now", "Duration=infinite", "Users=root", &licences, "Flags=ANY_NODES"],
        )?,
    };
    Ok(())
}

/// Gives power licences back: ends our reservation, where there is one.
pub fn free_licences() -> Result<(), String> {
    if held("")?.is_some() {
        output("scontrol", &["delete", &format!("ReservationName={}", licence::RESERVATION)])?;
        tracing::info!("power licences given back");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_get_the_same_share_a_command() {
        let c = |n: &str, weight| Change { node: n.into(), weight, features: None, why: String::new() };
        let got = commands(&[c("a", 10), c("b", 20), c("c", 10)]);
        assert_eq!(got, [["update", "NodeName=a,c", "Weight=10"], ["update", "NodeName=b", "Weight=20"]]);
    }
}
