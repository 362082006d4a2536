//! Integration tests of the link against a real Mosquitto: both versions of MQTT, TLS, mutual TLS, shared subscriptions,
//! sessions that outlive a connection, messages that are too large.
//!
//! They say SKIPPED where Mosquitto or openssl are missing. Each test brings its own broker on a free port.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tramuntana::ingest::mqtt::{
    BrokerAddress, Delivery, LinkError, LinkOptions, LinkState, MqttLink, MqttVersion, TlsFiles, check_connection,
};
use tramuntana::time::Timestamp;

const LIMIT: Duration = Duration::from_secs(10);

/// A broker with its folder; both go with the test.
struct Broker {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tramuntana-link-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Mosquitto with more lines in its configuration; `None` where it is not installed.
fn mosquitto(dir: PathBuf, more: &str) -> Option<Broker> {
    let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|p| Path::new(p).exists());
    let Some(program) = program else {
        println!("SKIPPED: mosquitto is not installed");
        return None;
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = dir.join("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_dest none\nuser root\n{more}\n");
    std::fs::write(&conf, text).unwrap();
    let child = Command::new(program).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + LIMIT;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "mosquitto does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(Broker { child, dir, port })
}

fn options(address: &str, version: MqttVersion, id: &str) -> LinkOptions {
    LinkOptions { version, ..LinkOptions::new(BrokerAddress::parse(address).unwrap(), id, vec!["t/#".into()]) }
}

/// A running link.
struct Running {
    inbox: mpsc::Receiver<Delivery>,
    state: watch::Receiver<LinkState>,
    task: JoinHandle<()>,
}

impl Running {
    async fn up(o: LinkOptions) -> Running {
        let (tx, inbox) = mpsc::channel(1);
        let (link, _publisher, mut state) = MqttLink::new(o, "US", tx);
        let task = tokio::spawn(link.run(|| Timestamp(0)));
        let up = tokio::time::timeout(LIMIT, state.wait_for(|s| matches!(s, LinkState::Up { .. }))).await;
        assert!(up.is_ok(), "not up");
        drop(up);
        Running { inbox, state, task }
    }

    /// The next delivery.
    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(LIMIT, self.inbox.recv()).await;
        next.unwrap_or_else(|_| panic!("nothing came; {:?}", *self.state.borrow())).expect("the link runs")
    }

    async fn end(self) {
        drop(self.inbox);
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
    }
}

/// Publishes numbers on `t/<n>` and waits until the broker has them all.
async fn publish(port: u16, numbers: std::ops::Range<u32>) {
    let mut o = rumqttc::MqttOptions::new(format!("publisher-{}", numbers.start), "127.0.0.1", port);
    o.set_max_packet_size(4 << 20, 4 << 20).set_inflight(16);
    let (client, mut events) = rumqttc::AsyncClient::new(o, 16);
    let all = numbers.clone();
    let feed = tokio::spawn(async move {
        for n in all {
            client.publish(format!("t/{}", n % 7), rumqttc::QoS::AtLeastOnce, false, n.to_string()).await.unwrap();
        }
        client
    });
    let mut confirmed = 0;
    while confirmed < numbers.len() {
        if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)) = events.poll().await.unwrap() {
            confirmed += 1;
        }
    }
    drop(feed.await.unwrap());
}

fn numbers(d: &Delivery) -> Vec<u32> {
    d.packets.iter().map(|p| std::str::from_utf8(&p.payload).unwrap().parse().unwrap()).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn what_was_not_acknowledged_comes_again_in_both_versions() {
    let Some(broker) = mosquitto(scratch("again"), "max_inflight_messages 50") else { return };
    runtime().block_on(async {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            let address = format!("mqtt://127.0.0.1:{}", broker.port);
            let o = options(&address, version, &format!("again-{version:?}"));
            let mut link = Running::up(o.clone()).await;
            publish(broker.port, 0..30).await;
            // The first is acknowledged, the others are not when the connection goes.
            let mut got = Vec::new();
            let mut first = true;
            while got.len() < 30 {
                let d = link.next().await;
                got.extend(numbers(&d));
                if std::mem::take(&mut first) {
                    assert_eq!(d.receipt.acknowledge(), d.packets.len());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            assert_eq!(got, (0..30).collect::<Vec<_>>());
            link.end().await;
            // What is published meanwhile waits in the session too.
            publish(broker.port, 30..40).await;
            let mut link = Running::up(o.clone()).await;
            let mut again = Vec::new();
            while again.last() != Some(&39) {
                let d = link.next().await;
                again.extend(numbers(&d));
                d.receipt.acknowledge();
            }
            assert!(again.windows(2).all(|w| w[0] + 1 == w[1]) && again[0] > 0, "{again:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            link.end().await;
            // All acknowledged: nothing comes a third time.
            let mut link = Running::up(o.clone()).await;
            assert!(tokio::time::timeout(Duration::from_millis(300), link.inbox.recv()).await.is_err());
            link.end().await;
            check_connection(&LinkOptions { clean_session: true, ..o }, LIMIT).await.unwrap();
        }
    });
}

#[test]
fn members_of_a_group_share_one_stream() {
    let Some(broker) = mosquitto(scratch("shared"), "") else { return };
    runtime().block_on(async {
        let address = format!("mqtt://127.0.0.1:{}", broker.port);
        for version in [MqttVersion::V311, MqttVersion::V5] {
            let member = |n: u8| LinkOptions {
                shared_group: Some("collectors".into()),
                clean_session: true,
                ..options(&address, version, &format!("member-{version:?}-{n}"))
            };
            let (mut a, mut b) = (Running::up(member(1)).await, Running::up(member(2)).await);
            publish(broker.port, 0..400).await;
            let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
            while of_a.len() + of_b.len() < 400 {
                let (d, got) = tokio::select! {
                    d = a.inbox.recv() => (d.unwrap(), &mut of_a),
                    d = b.inbox.recv() => (d.unwrap(), &mut of_b),
                    () = tokio::time::sleep(LIMIT) => panic!("{} of 400", of_a.len() + of_b.len()),
                };
                got.extend(numbers(&d));
                d.receipt.acknowledge();
            }
            assert!(!of_a.is_empty() && !of_b.is_empty(), "{} and {}", of_a.len(), of_b.len());
            assert_eq!(of_a.into_iter().chain(of_b).collect::<BTreeSet<_>>(), (0..400).collect());
            a.end().await;
            b.end().await;
        }
    });
}

#[test]
fn a_message_of_100_mb_costs_a_count_and_not_the_connection() {
    let Some(broker) = mosquitto(scratch("large"), "") else { return };
    runtime().block_on(async {
        for (version, away) in [(MqttVersion::V311, false), (MqttVersion::V311, true), (MqttVersion::V5, true)] {
            let o = options(&format!("mqtt://127.0.0.1:{}", broker.port), version, &format!("large-{version:?}"));
            let first = Running::up(o.clone()).await;
            let mut here = None;
            if away {
                first.end().await
            } else {
                here = Some(first)
            }
            let mut p = rumqttc::MqttOptions::new("publisher", "127.0.0.1", broker.port);
            p.set_max_packet_size(128 << 20, 128 << 20);
            let (client, mut events) = rumqttc::AsyncClient::new(p, 16);
            client.publish("t/large", rumqttc::QoS::AtLeastOnce, false, vec![b'1'; 100_000_000]).await.unwrap();
            client.publish("t/small", rumqttc::QoS::AtLeastOnce, false, "7").await.unwrap();
            let pump = tokio::spawn(async move {
                let mut confirmed = 0;
                while confirmed < 2 {
                    confirmed += u32::from(matches!(events.poll().await, Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)))));
                }
            });
            if away {
                tokio::time::timeout(LIMIT, pump).await.expect("the broker has both").unwrap();
            }
            let mut link = match here {
                Some(link) => link,
                None => Running::up(o.clone()).await,
            };
            let (mut refused, mut got) = (Vec::new(), Vec::new());
            while got.is_empty() {
                let d = link.next().await;
                got.extend(numbers(&d));
                refused.extend(d.refused.clone());
                d.receipt.acknowledge();
            }
            assert_eq!((got, refused), (vec![7], vec![("message above 1 MiB", 1)]));
            assert!(matches!(*link.state.borrow(), LinkState::Up { .. }));
            tokio::time::sleep(Duration::from_millis(100)).await;
            link.end().await;
            // It was acknowledged: the session does not hold it any more.
            let mut link = Running::up(o.clone()).await;
            assert!(tokio::time::timeout(Duration::from_millis(300), link.inbox.recv()).await.is_err());
            link.end().await;
            check_connection(&LinkOptions { clean_session: true, ..o }, LIMIT).await.unwrap();
        }
    });
}

/// Keys and certificates by openssl: an authority, the broker's for `localhost`, ours, and a stranger's authority.
pub fn certificates(dir: &Path) -> bool {
    let script = r#"
        set -e
        for ca in ca stranger; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$ca" -keyout $ca.key -out $ca.pem \
                -addext basicConstraints=critical,CA:TRUE
        done
        for name in broker client; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' > ext
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.pem
        done"#;
    let made = Command::new("sh").args(["-c", script]).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null()).status();
    made.is_ok_and(|s| s.success())
}

#[test]
fn tls_and_mutual_tls_connect_whom_they_should_and_say_why_not() {
    let dir = scratch("tls");
    if !certificates(&dir) {
        println!("SKIPPED: openssl is not installed");
        return;
    }
    let file = |name: &str| dir.join(name);
    let server = format!(
        "cafile {0}/ca.pem\ncertfile {0}/broker.pem\nkeyfile {0}/broker.key\nrequire_certificate true\nuse_identity_as_username true",
        dir.display()
    );
    let Some(broker) = mosquitto(dir.clone(), &server) else { return };
    runtime().block_on(async {
        let tls = TlsFiles { ca: Some(file("ca.pem")), cert: Some(file("client.pem")), key: Some(file("client.key")) };
        let with = |host: &str, tls: TlsFiles, version| LinkOptions {
            tls,
            clean_session: true,
            ..options(&format!("mqtts://{host}:{}", broker.port), version, "tls")
        };
        for version in [MqttVersion::V311, MqttVersion::V5] {
            check_connection(&with("localhost", tls.clone(), version), LIMIT).await.unwrap();
            let link = Running::up(with("127.0.0.1", tls.clone(), version)).await;
            link.end().await;
        }
        let why = |o: LinkOptions| async move { check_connection(&o, LIMIT).await.unwrap_err() };
        let v = MqttVersion::V311;
        let stranger = why(with("localhost", TlsFiles { ca: Some(file("stranger.pem")), ..tls.clone() }, v)).await;
        assert!(matches!(stranger, LinkError::Tls { .. }) && stranger.to_string().contains("`ca`"), "{stranger}");
        let nobody = why(with("localhost", TlsFiles { cert: None, key: None, ..tls.clone() }, v)).await;
        assert!(!matches!(nobody, LinkError::Timeout { .. }), "{nobody}");
        let missing = why(with("localhost", TlsFiles { ca: Some(file("none.pem")), ..tls.clone() }, v)).await;
        assert!(missing.to_string().contains("none.pem"), "{missing}");
        let plain = why(LinkOptions { clean_session: true, ..options(&format!("mqtt://127.0.0.1:{}", broker.port), v, "plain") }).await;
        assert!(matches!(plain, LinkError::Closed { .. } | LinkError::Protocol { .. }), "{plain}");
    });
}
