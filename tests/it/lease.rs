//! Integration tests of the lease with two services, a real Mosquitto and a plant that only beats: who is in charge, what a
//! successor knows, and that nothing of ours comes from the other one. `tests/failover` forces many with a plant that is controlled.
//!
//! They say SKIPPED where Mosquitto is missing.

use crate::common::{Service, free_port, get, mosquitto, scratch, serve_logged, site, wait};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tramuntana::time::Timestamp;

const BEAT: f64 = 0.5;
const HEARTBEAT: &str = "System/HeartbeatTimestampIntegration/bsc-hq/integration";

/// The shipped site with a lease.
fn config(dir: &Path, name: &str) -> PathBuf {
    let (sensors, path) = (crate::common::repository().join("sensors"), dir.join(format!("{name}.toml")));
    let text = format!(
        "format = 1\nbroker = \"mqtt://127.0.0.1:1\"\nsites = [{:?}]\nmodels_dir = {:?}\n[lease]\nname = {name:?}\nbeat_s = {BEAT}\n",
        sensors.join("bsc-hq/site.toml"),
        sensors.join("../models")
    );
    std::fs::write(&path, text).expect("written");
    path
}

fn serve(dir: &Path, name: &str, config: &Path, broker: u16) -> Service {
    serve_logged(config, &["--broker", &format!("mqtt://127.0.0.1:{broker}")], &dir.join(name), &dir.join(format!("{name}.log")))
}

/// What a service says of its standing: `Null` = in charge.
fn stands_by(s: &Service) -> Value {
    site(&s.api, "bsc-hq")["stands_by"].clone()
}

fn hold(s: &Service) -> u16 {
    let answer = ureq::post(format!("{}/api/v1/sites/bsc-hq/hold", s.api))
        .config()
        .http_status_as_error(false)
        .build()
        .send_json(json!({"hold": true, "who": "Maria", "why": "works on the pumps"}));
    answer.map(|a| a.status().as_u16()).unwrap_or(0)
}

/// Keeps what is published under our name, and publishes the metadata that make the heartbeat ours.
fn plant(port: u16) -> Arc<Mutex<Vec<(String, Vec<u8>)>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (client, mut events) = rumqttc::Client::new(rumqttc::MqttOptions::new("lease-plant", "127.0.0.1", port), 20);
    let metadata = json!({"objectType": "System", "pointType": "HeartbeatTimestampIntegration", "engUnit": "ms", "objectName": "hq",
        "objectId": "hq", "integration": "TRAMUNTANA"});
    client.subscribe("BMS/v1/TRAMUNTANA/Value/#", rumqttc::QoS::AtMostOnce).expect("subscribed");
    client.subscribe("TRAMUNTANA/lease/#", rumqttc::QoS::AtMostOnce).expect("subscribed");
    let topic = format!("BMS/v1/PUB/Metadata/{HEARTBEAT}");
    client.publish(topic, rumqttc::QoS::AtLeastOnce, true, metadata.to_string()).expect("published");
    let list = Arc::clone(&heard);
    std::thread::spawn(move || {
        let _client = client;
        for e in events.iter() {
            match e {
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::Publish(p))) => {
                    list.lock().expect("the list").push((p.topic, p.payload.to_vec()));
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    heard
}

#[test]
fn one_of_two_is_in_charge_and_the_other_takes_over_with_its_orders() {
    let dir = scratch("lease");
    let port = free_port();
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true\nset_tcp_nodelay true") else { return };
    let heard = plant(port);
    let (for_a, for_b) = (config(&dir, "a"), config(&dir, "b"));
    let a = serve(&dir, "a", &for_a, port);
    wait("a in charge", || stands_by(&a).is_null());
    let b = serve(&dir, "b", &for_b, port);
    wait("b stands by", || stands_by(&b).as_str().is_some_and(|t| t.contains("a is in charge")));
    let beats = || heard.lock().expect("the list").iter().filter(|(t, _)| t.ends_with(HEARTBEAT)).count();
    wait("heartbeats", || beats() > 3);
    assert_eq!(site(&b.api, "bsc-hq")["mode"], "warming");
    // Orders count where they are carried out, and a successor knows them.
    assert_eq!(hold(&b), 409);
    assert_eq!(hold(&a), 200);
    std::thread::sleep(std::time::Duration::from_secs_f64(BEAT));

    // Killed: the broker says so.
    drop(a);
    wait("b in charge", || stands_by(&b).is_null());
    assert!(site(&b.api, "bsc-hq")["held"].as_str().is_some_and(|h| h.contains("Maria")), "{}", site(&b.api, "bsc-hq"));
    let a = serve(&dir, "a", &for_a, port);
    wait("a stands by", || stands_by(&a).as_str().is_some_and(|t| t.contains("b is in charge")));

    // Hangs without knowing it: the silence says so, and when it goes on it finds itself out.
    let pid = b.child.0.id().to_string();
    let signal = |name: &str| assert!(std::process::Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    signal("-STOP");
    wait("a in charge", || stands_by(&a).is_null());
    let n = beats();
    wait("heartbeats of a", || beats() > n + 3);
    signal("-CONT");
    wait("b stands by", || stands_by(&b).as_str().is_some_and(|t| t.contains("a is in charge")));
    assert!(stands_by(&a).is_null());

    // Ended in order: at once.
    let pid = a.child.0.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().expect("kill runs").success());
    wait("b in charge", || stands_by(&b).is_null());
    let metrics = ureq::get(&format!("{}/metrics", b.api)).call().expect("metrics").body_mut().read_to_string().expect("text");
    assert!(metrics.contains("tramuntana_in_charge{site=\"bsc-hq\"} 1"), "{metrics}");
    assert!(get(&format!("{}/api/v1/sites", b.api)).is_some());

    // What the plant heard: epochs only rise, and each change is one of the three.
    let heard = heard.lock().expect("the list");
    let leases: Vec<Value> =
        heard.iter().filter(|(t, _)| t.contains("/lease/")).filter_map(|(_, p)| serde_json::from_slice(p).ok()).collect();
    let reigns: Vec<(u64, String)> = leases
        .iter()
        .filter(|l| l["released"] == false)
        .map(|l| (l["epoch"].as_u64().unwrap_or(0), l["name"].as_str().unwrap_or("").to_owned()))
        .collect();
    let mut changes = reigns.clone();
    changes.dedup();
    assert_eq!(changes, [(1, "a".to_owned()), (2, "b".to_owned()), (3, "a".to_owned()), (4, "b".to_owned())]);
    let times: Vec<i64> = heard
        .iter()
        .filter(|(t, _)| t.ends_with(HEARTBEAT))
        .filter_map(|(_, p)| serde_json::from_slice::<Value>(p).ok()?["value"].as_i64())
        .collect();
    assert!(times.windows(2).all(|w| w[0] <= w[1]), "a heartbeat of the past came late");
    assert!(times.last().is_some_and(|t| Timestamp(*t) > Timestamp(0)));
    drop((a, b));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
