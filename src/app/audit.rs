//! The audit trail: every act of an operator as a link of a hash chain, one chain a site; `audit verify`.
//!
//! Words: an *entry* is one act; its *hash* is BLAKE3 over the entry before and everything in this one.
//! Invariants: numbers run from 1 without a gap; an entry is filed before the act is answered; a changed, removed or
//! inserted entry breaks every link after it. What a chain alone cannot show is a cut tail: keep the newest hash
//! elsewhere (`audit verify` prints it) to see that too.

use super::cli::{AuditArgs, AuditCommand};
use crate::api::model::AuditEntry;
use crate::store::{Embedded, Store, StoreError};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const KIND: &str = "audit";
/// Entries of one site that are read: more than operators can make in the years that a store is kept.
const ENTRIES_MAX: usize = 10_000_000;

/// The hash before the first entry.
fn nothing() -> String {
    "0".repeat(64)
}

/// The hash of an entry: over its JSON without the hash itself. Keys stand in a fixed order, that of the type.
fn hash(entry: &AuditEntry) -> String {
    let bare = AuditEntry { hash: String::new(), ..entry.clone() };
    blake3::hash(&serde_json::to_vec(&bare).unwrap_or_default()).to_hex().to_string()
}

/// What an operator did.
pub struct ActOf<'a> {
    pub site: &'a str,
    /// The site's clock.
    pub at: Timestamp,
    pub who: &'a str,
    pub why: &'a str,
    pub act: serde_json::Value,
}

/// Files acts.
pub struct Audit {
    store: Arc<dyn Store>,
    /// Newest number and hash of each site.
    heads: Mutex<BTreeMap<String, (u64, String)>>,
}

impl Audit {
    pub fn new(store: Arc<dyn Store>) -> Audit {
        Audit { store, heads: Mutex::default() }
    }

    /// Files an act. `now` is the host's clock, by which entries are filed.
    pub fn file(&self, act: ActOf, now: Timestamp) -> Result<(), StoreError> {
        let mut heads = self.heads.lock().unwrap_or_else(|e| e.into_inner());
        let (seq, prev) = match heads.get(act.site) {
            Some(head) => head.clone(),
            None => {
                let newest = entries(&*self.store, act.site, ENTRIES_MAX)?.pop();
                newest.map_or_else(|| (0, nothing()), |e| (e.seq, e.hash))
            }
        };
        let (who, why) = (act.who.to_owned(), act.why.to_owned());
        let mut entry = AuditEntry {
            seq: seq + 1,
            host_at: now.0,
            at: act.at.0,
            site: act.site.to_owned(),
            who,
            why,
            act: act.act,
            prev,
            hash: String::new(),
        };
        entry.hash = hash(&entry);
        let json = serde_json::to_vec(&entry).unwrap_or_default();
        self.store.put_record(KIND, act.site, now, &format!("{:012}", entry.seq), &json)?;
        self.store.sync()?;
        heads.insert(act.site.to_owned(), (entry.seq, entry.hash));
        Ok(())
    }

    /// The newest entries of a site, newest first.
    pub fn newest(&self, site: &str, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let mut list = entries(&*self.store, site, limit)?;
        list.reverse();
        Ok(list)
    }
}

/// The newest `limit` entries by number, in order. What no entry can be read from is left to [`verify`].
fn entries(store: &dyn Store, site: &str, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
    let records = store.records(KIND, site, Timestamp(0), Timestamp(i64::MAX), limit)?;
    let mut list: Vec<AuditEntry> = records.iter().filter_map(|r| serde_json::from_slice(&r.json).ok()).collect();
    list.sort_by_key(|e| e.seq);
    Ok(list)
}

/// What a chain is worth.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    pub entries: u64,
    /// Newest hash.
    pub head: String,
    /// What is broken, in order.
    pub faults: Vec<String>,
}

/// Follows a chain from its first entry.
pub fn verify(list: &[AuditEntry]) -> Verdict {
    let (mut seq, mut prev) = (0, nothing());
    let mut faults = Vec::new();
    for e in list {
        if e.seq != seq + 1 {
            faults.push(format!(
                "entry {}: follows {seq}; {} missing or filed twice",
                e.seq,
                if e.seq > seq + 1 { "entries are" } else { "one is" }
            ));
        }
        if e.prev != prev {
            faults.push(format!("entry {}: is not chained to the one before", e.seq));
        }
        if hash(e) != e.hash {
            faults.push(format!("entry {}: was changed after it was filed ({} at {})", e.seq, e.who, Timestamp(e.host_at)));
        }
        (seq, prev) = (e.seq, e.hash.clone());
    }
    Verdict { entries: list.len() as u64, head: prev, faults }
}

/// Runs an `audit` command, while no service has the data directory open.
pub fn run(args: AuditArgs) -> Result<(), String> {
    if !args.data_dir.join("FORMAT").exists() {
        return Err(format!("{}: no data directory; name it with --data-dir", args.data_dir.display()));
    }
    let store = Embedded::open(&args.data_dir).map_err(|e| e.to_string())?;
    let known = store.sites().map_err(|e| e.to_string())?;
    // A site of which nothing has been heard has its trail all the same, where somebody has acted.
    let has_trail = |s: &str| entries(&store, s, 1).is_ok_and(|list| !list.is_empty());
    if let Some(odd) = args.sites.iter().find(|s| !known.contains(s) && !has_trail(s)) {
        return Err(format!("--site {odd:?}: not in {}; it has {}", args.data_dir.display(), known.join(", ")));
    }
    let sites = if args.sites.is_empty() { known } else { args.sites.clone() };
    let mut broken = 0;
    for site in &sites {
        let list = entries(&store, site, ENTRIES_MAX).map_err(|e| e.to_string())?;
        match args.command {
            AuditCommand::Show => {
                for e in &list {
                    let why = if e.why.is_empty() { String::new() } else { format!(" ({})", e.why) };
                    println!("{} {} #{} {}: {}{why}", Timestamp(e.host_at), e.site, e.seq, e.who, e.act);
                }
            }
            AuditCommand::Verify => {
                let v = verify(&list);
                v.faults.iter().for_each(|f| println!("{site}: {f}"));
                println!("{site}: {} entries, {}, newest hash {}", v.entries, if v.faults.is_empty() { "whole" } else { "BROKEN" }, v.head);
                broken += v.faults.len();
            }
        }
    }
    if broken > 0 { Err(format!("{broken} faults in the audit trail: compare with a backup")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(n: u64) -> Vec<AuditEntry> {
        let mut prev = nothing();
        (1..=n)
            .map(|seq| {
                let act = serde_json::json!({"order": "hold", "n": seq});
                let (site, who) = ("s".into(), "Maria".into());
                let mut e = AuditEntry {
                    seq,
                    host_at: 1000 * seq as i64,
                    at: 5,
                    site,
                    who,
                    why: String::new(),
                    act,
                    prev: prev.clone(),
                    hash: String::new(),
                };
                e.hash = hash(&e);
                prev = e.hash.clone();
                e
            })
            .collect()
    }

    #[test]
    fn a_changed_removed_or_moved_entry_breaks_the_chain() {
        let whole = chain(5);
        assert_eq!(verify(&whole).faults, Vec::<String>::new());
        let mut changed = whole.clone();
        changed[2].who = "somebody else".into();
        assert!(verify(&changed).faults[0].contains("entry 3: was changed"));
        let mut rehashed = changed.clone();
        rehashed[2].hash = hash(&rehashed[2]);
        assert!(verify(&rehashed).faults[0].contains("entry 4: is not chained"));
        let mut removed = whole.clone();
        removed.remove(1);
        assert_eq!(verify(&removed).faults.len(), 2, "a gap and a broken link");
        assert_eq!(verify(&whole[..4]).head, whole[3].hash, "a cut tail shows only by the head");
    }
}
