//! `slurm hook`: Slurm's `job_submit.lua`, with the service's address put in.

use std::path::Path;

/// The script, as it stands in the repository.
const SCRIPT: &str = include_str!("../../../dashboards/slurm/job_submit.lua");

/// Host and port of an address such as `http://127.0.0.1:8080`.
fn host_port(api: &str) -> Option<(&str, u16)> {
    let rest = api.strip_prefix("http://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    Some((host, port.parse().ok()?)).filter(|_| plain)
}

/// The script for one service.
pub fn script(api: &str, token_file: Option<&Path>) -> Result<String, String> {
    let (host, port) = host_port(api).ok_or_else(|| {
        format!("--api {api:?}: give http://HOST:PORT; the hook speaks plain HTTP (use an IP address: it does not wait for a name server)")
    })?;
    let script = SCRIPT.replace("\"127.0.0.1\", 8080", &format!("\"{host}\", {port}"));
    let Some(file) = token_file else { return Ok(script) };
    let file =
        file.to_str().filter(|f| f.chars().all(|c| !c.is_control() && !"\"\\".contains(c))).ok_or("--token-file: give a plain path")?;
    Ok(script.replace("local TOKEN_FILE = nil", &format!("local TOKEN_FILE = \"{file}\"")))
}

pub fn print(api: &str, token_file: Option<&Path>) -> Result<(), String> {
    print!("{}", script(api, token_file)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_put_in() {
        let s = script("http://10.0.0.7:9090", Some(Path::new("/etc/slurm/token"))).unwrap();
        assert!(
            s.contains("\"10.0.0.7\", 9090") && !s.contains("\"127.0.0.1\", 8080") && s.contains("TOKEN_FILE = \"/etc/slurm/token\""),
            "{s}"
        );
        for bad in ["10.0.0.7:9090", "https://x:1", "http://a\"b:1", "http://x"] {
            assert!(script(bad, None).is_err(), "{bad}");
        }
    }
}
