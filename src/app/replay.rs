//! `replay`: publishes a recorded DSX exchange.

use super::cli::ReplayArgs;
use super::site_task::host_now;
use crate::ingest::mqtt::BrokerAddress;
use crate::ingest::replay::Recording;
use crate::time::Timestamp;
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use std::time::Duration;

/// How long the broker may take to confirm what was sent.
const PATIENCE: Duration = Duration::from_secs(20);
const PACKET_MAX: usize = 1024 * 1024;

/// Publishes the recording at QoS 1 in its order; metadata is retained, as a BMS does it.
pub fn run(args: ReplayArgs) -> Result<(), String> {
    let recording = Recording::load(&args.file).map_err(|e| e.to_string())?;
    let speed = match args.speed.as_str() {
        "max" => f64::INFINITY,
        s => s
            .trim_end_matches('x')
            .parse()
            .ok()
            .filter(|v: &f64| *v > 0.0)
            .ok_or_else(|| format!("--speed {s:?}: give a multiple of the recorded pace such as 1 or 10, or `max`"))?,
    };
    let start = match &args.start {
        Some(text) => Timestamp::parse(text).ok_or_else(|| format!("--start {text:?}: give an instant such as 2026-07-14T00:00:00Z"))?,
        None => host_now(),
    };
    let mut broker = BrokerAddress::parse(&args.broker).map_err(|e| e.to_string())?;
    if broker.tls {
        return Err(format!("--broker {broker}: replay speaks plain MQTT only, for a broker on this host; give its mqtt:// address"));
    }
    broker.user = args.user.clone().or(broker.user);
    broker.password = broker.password.or_else(|| std::env::var("TRAMUNTANA_PASSWORD").ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (sent, metadata, took) = runtime.block_on(publish(&broker, &recording, start, speed))?;
    println!("{sent} messages published to {broker} in {:.1} s: {metadata} metadata, {} values", took.as_secs_f64(), sent - metadata);
    Ok(())
}

async fn publish(broker: &BrokerAddress, recording: &Recording, start: Timestamp, speed: f64) -> Result<(usize, usize, Duration), String> {
    let mut options = MqttOptions::new(format!("tramuntana-replay-{}", std::process::id()), broker.host.as_str(), broker.port);
    options.set_keep_alive(Duration::from_secs(30)).set_inflight(64).set_max_packet_size(PACKET_MAX, PACKET_MAX);
    if let Some(user) = &broker.user {
        options.set_credentials(user.as_str(), broker.password.as_deref().unwrap_or_default());
    }
    let (client, mut events) = AsyncClient::new(options, 64);
    let total = recording.messages.len();
    let length = recording.messages.last().map_or(Duration::ZERO, |m| m.offset);
    let began = std::time::Instant::now();
    let feeder = async {
        for m in &recording.messages {
            if speed.is_finite() {
                let due = m.offset.div_f64(speed);
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            let payload = m.payload_at(start);
            if client.publish(m.topic.as_str(), QoS::AtLeastOnce, m.is_metadata(), payload).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut acknowledged = 0;
    let mut connected = false;
    let confirmed = async {
        while acknowledged < total {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => connected = true,
                Ok(Event::Incoming(Packet::PubAck(_))) => acknowledged += 1,
                Ok(Event::Outgoing(Outgoing::Disconnect)) => break,
                Ok(_) => {}
                Err(e) if connected => {
                    return Err(format!("the connection to {broker} was lost after {acknowledged} of {total} messages: {e}"));
                }
                Err(e) => {
                    return Err(format!(
                        "cannot reach the broker {broker}: {e}; check --broker, and --user with TRAMUNTANA_PASSWORD where it asks who you are"
                    ));
                }
            }
        }
        Ok(())
    };
    let limit = if speed.is_finite() { length.div_f64(speed) + PATIENCE } else { PATIENCE + Duration::from_millis(total as u64) };
    tokio::select! {
        done = confirmed => done?,
        () = feeder => {}
        () = tokio::time::sleep(limit) => return Err(format!("the broker {broker} confirmed only part of the messages within {:.0} s", limit.as_secs_f64())),
    }
    let took = began.elapsed();
    let _ = client.try_disconnect();
    let _ = tokio::time::timeout(Duration::from_millis(500), events.poll()).await;
    let metadata = recording.messages.iter().filter(|m| m.is_metadata()).count();
    Ok((acknowledged, metadata, took))
}
