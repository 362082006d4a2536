//! What operators ordered outlives a restart: a hold, a pin, a loop taken out of auto, a mode.
//!
//! Words: *kept* is what a successor must know ([`Handed`]), filed as a record of the store after each order and each tick that asked for
//! something. Invariants: what was ordered is in force again before the first tick; a request that has lapsed meanwhile is let go there; a
//! site file whose `mode` was changed since speaks before the mode that was ordered. Services with a lease tell one another instead.

use crate::control::controller::{Controller, Handed};
use crate::control::mode::Operation;
use crate::site::SiteFile;
use crate::store::Store;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

const KIND: &str = "orders";
/// One record a site, written over each time: its key is always this instant.
const PLACE: Timestamp = Timestamp(0);

#[derive(Deserialize, Serialize)]
struct Kept {
    /// The site file's mode when it was filed.
    configured: Operation,
    handed: Handed,
}

/// Files what stands now.
pub fn keep(store: &dyn Store, site: &SiteFile, controller: &Controller) {
    let kept = Kept { configured: site.control.mode.into(), handed: controller.handed() };
    let filed = serde_json::to_vec(&kept)
        .map_err(|e| e.to_string())
        .and_then(|json| store.put_record(KIND, &site.site.id, PLACE, "newest", &json).map_err(|e| e.to_string()));
    if let Err(e) = filed {
        tracing::error!(site = site.site.id, "what operators ordered is not filed, a restart would forget it: {e}");
    }
}

/// Puts in force what was filed before a restart.
pub fn restore(store: &dyn Store, site: &SiteFile, controller: &mut Controller) {
    let found = store.records(KIND, &site.site.id, PLACE, Timestamp(PLACE.0 + 1), 1).map_err(|e| e.to_string());
    let kept = found.and_then(|r| r.last().map(|r| serde_json::from_slice::<Kept>(&r.json).map_err(|e| e.to_string())).transpose());
    match kept {
        Ok(None) => {}
        Ok(Some(mut kept)) => {
            let configured = Operation::from(site.control.mode);
            if kept.configured != configured {
                kept.handed.wanted = configured;
            }
            let h = &kept.handed;
            if h.wanted != configured || h.orders != Default::default() {
                tracing::info!(
                    site = site.site.id,
                    "as ordered before the restart: {:?}, {} pins, {} loops apart{}",
                    h.wanted,
                    h.orders.pins.len(),
                    h.orders.loops.len(),
                    h.orders.hold.as_ref().map_or(String::new(), |x| format!(", held by {}", x.who))
                );
            }
            controller.take_over(Some(kept.handed));
        }
        Err(e) => tracing::error!(site = site.site.id, "orders from before the restart cannot be read: {e}; give them again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::mode::Order;
    use crate::event::Tally;
    use crate::store::Embedded;
    use std::path::Path;

    #[test]
    fn a_restart_forgets_no_order_and_a_changed_site_file_speaks_first() {
        let dir = std::env::temp_dir().join(format!("tramuntana-kept-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let store = Embedded::open(&dir).unwrap();
        let mut site = SiteFile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/bsc-hq/site.toml")).unwrap();
        let mut before = Controller::new(&site, Timestamp(0));
        let pin = Order::Pin { actuator: site.actuators[0].id.clone(), value: site.actuators[0].lo };
        for order in [Order::Leave, pin, Order::Hold] {
            before.order(order, "Maria", "pump on test", Timestamp(1), &Tally::new()).unwrap();
            keep(&store, &site, &before);
        }
        let again = |site: &SiteFile| {
            let mut c = Controller::new(site, Timestamp(9));
            restore(&store, site, &mut c);
            c
        };
        let after = again(&site);
        assert_eq!((after.wanted(), after.orders()), (Operation::Shadow, before.orders()));
        let other =
            if site.control.mode == crate::site::StartMode::Advise { crate::site::StartMode::Auto } else { crate::site::StartMode::Advise };
        site.control.mode = other;
        assert_eq!(again(&site).wanted(), other.into(), "the mode was changed in the site file since");
        assert_eq!(again(&site).orders(), before.orders());
        drop(store);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
