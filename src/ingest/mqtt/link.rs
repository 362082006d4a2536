//! The loop that keeps one connection and hands over its packets in batches.
//!
//! How batches come about: whatever rumqttc has read is gathered without waiting; when nothing more is there, or the
//! batch is full, it is handed over. While the consumer is busy the batch goes on growing, so that a slow consumer sees
//! few large batches and a fast one small ones; a full batch stops reading, and the broker's flow control does the rest.
//! The future of a poll is never dropped half-way: rumqttc may hold a message in it.
//! A lost connection is thrown away with its event loop and client, so that nothing of a dead session (a stashed
//! publish, an acknowledgement) reaches the next one; the broker's session sends again what was not acknowledged.

use super::{BrokerAddress, LinkError};
use crate::ingest::Packet;
use crate::ingest::publish::{Outgoing, may_go_out};
use crate::time::{Span, Timestamp};
use backon::{BackoffBuilder, ExponentialBuilder};
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, NetworkOptions, Publish, QoS, SubscribeReasonCode};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Messages handed over at once, at most.
pub const BATCH_MAX: usize = 4096;
/// Requests (publishes, acknowledgements) that may wait for the connection.
const OUTBOX_MAX: usize = 8192;
/// Largest MQTT packet in either direction, bytes.
const PACKET_MAX: usize = 1024 * 1024;

/// How to connect.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    pub broker: BrokerAddress,
    /// Stable over restarts: the broker keeps our session under it.
    pub client_id: String,
    pub filters: Vec<String>,
    /// Subscribe at QoS 1 (default): what was published at QoS 1 is sent again until we have stored it. At QoS 0 nothing
    /// needs an acknowledgement; rumqttd, unlike other brokers, raises every message to the QoS of the subscription and
    /// stops after 100 messages that are not acknowledged, so that the demo asks for QoS 0.
    pub at_least_once: bool,
    /// Ask the broker to forget us on disconnection (the demo and short commands do).
    pub clean_session: bool,
    /// First and longest pause between two attempts.
    pub retry_first: Duration,
    pub retry_longest: Duration,
}

impl LinkOptions {
    pub fn new(broker: BrokerAddress, client_id: impl Into<String>, filters: Vec<String>) -> LinkOptions {
        LinkOptions {
            broker,
            client_id: client_id.into(),
            filters,
            at_least_once: true,
            clean_session: false,
            retry_first: Duration::from_millis(250),
            retry_longest: Duration::from_secs(30),
        }
    }

    fn qos(&self) -> QoS {
        if self.at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce }
    }

    fn mqtt(&self) -> MqttOptions {
        let mut o = MqttOptions::new(self.client_id.as_str(), self.broker.host.as_str(), self.broker.port);
        o.set_keep_alive(Duration::from_secs(10))
            .set_clean_session(self.clean_session)
            .set_manual_acks(true)
            .set_inflight(16)
            .set_pending_throttle(Duration::ZERO)
            .set_max_packet_size(PACKET_MAX, PACKET_MAX);
        if let Some(user) = &self.broker.user {
            o.set_credentials(user.as_str(), self.broker.password.as_deref().unwrap_or_default());
        }
        o
    }
}

/// State of a link, for `/health` and the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    Connecting,
    Up { since: Timestamp },
    Down { since: Timestamp, why: LinkError, retry_at: Timestamp },
}

/// A batch of packets. Store it, then call [`Receipt::acknowledge`].
#[derive(Debug)]
pub struct Delivery {
    pub packets: Vec<Packet>,
    pub receipt: Receipt,
}

/// Acknowledges the QoS 1 packets of a delivery.
#[derive(Debug, Default)]
#[must_use = "packets that are not acknowledged are sent again by the broker"]
pub struct Receipt {
    acks: Vec<(AsyncClient, Publish)>,
}

impl Receipt {
    /// Tells the broker that the batch is stored. On a connection that is gone it does nothing: the broker sends again.
    /// Returns the number of packets acknowledged.
    pub async fn acknowledge(self) -> usize {
        let mut done = 0;
        for (client, publish) in &self.acks {
            done += usize::from(client.ack(publish).await.is_ok());
        }
        done
    }
    /// Takes over another receipt, so that one sync serves several deliveries.
    pub fn join(&mut self, other: Receipt) {
        self.acks.extend(other.acks);
    }
    pub fn len(&self) -> usize {
        self.acks.len()
    }
    pub fn is_empty(&self) -> bool {
        self.acks.is_empty()
    }
}

/// Why a message did not go out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    #[error("{topic}: not sent: the link to the broker is down")]
    Down { topic: String },
    #[error("{topic}: not sent: {OUTBOX_MAX} messages already wait for the broker")]
    Full { topic: String },
    #[error("{topic}: not sent: it is neither under BMS/v1/{us}/Value/ nor a request to a Sparkplug edge")]
    NotOurs { topic: String, us: String },
}

/// Publishes on a link's connection, in order. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    client: Arc<Mutex<Option<AsyncClient>>>,
    us: Arc<str>,
}

impl Publisher {
    /// Queues a message (QoS 0, not retained) and returns at once. Refused while the link is down: an old request must not
    /// go out later.
    pub fn send(&self, out: Outgoing) -> Result<(), SendRefused> {
        if !may_go_out(&out.topic, &self.us) {
            return Err(SendRefused::NotOurs { topic: out.topic, us: self.us.to_string() });
        }
        let client = self.client.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let Some(client) = client else { return Err(SendRefused::Down { topic: out.topic }) };
        client.try_publish(out.topic.as_str(), QoS::AtMostOnce, false, out.payload).map_err(|_| SendRefused::Full { topic: out.topic })
    }
}

/// One site's link. [`MqttLink::run`] is the task that `app` spawns.
pub struct MqttLink {
    options: LinkOptions,
    state: watch::Sender<LinkState>,
    client: Arc<Mutex<Option<AsyncClient>>>,
    deliveries: mpsc::Sender<Delivery>,
}

impl MqttLink {
    /// `integration` is our identifier: the publisher sends nothing but what [`may_go_out`] says.
    /// `deliveries` should have room for 1 or 2: the batch grows while the consumer is busy.
    pub fn new(
        options: LinkOptions,
        integration: &str,
        deliveries: mpsc::Sender<Delivery>,
    ) -> (MqttLink, Publisher, watch::Receiver<LinkState>) {
        let (state, watcher) = watch::channel(LinkState::Connecting);
        let client = Arc::new(Mutex::new(None));
        let publisher = Publisher { client: client.clone(), us: integration.into() };
        (MqttLink { options, state, client, deliveries }, publisher, watcher)
    }

    /// Keeps the link until the consumer drops its end of `deliveries`. `now` reads the host's clock.
    pub async fn run(self, now: impl Fn() -> Timestamp + Send) {
        let delays = || {
            ExponentialBuilder::default()
                .with_min_delay(self.options.retry_first)
                .with_max_delay(self.options.retry_longest)
                .with_factor(2.0)
                .without_max_times()
                .build()
        };
        let mut backoff = delays();
        let mut down_since = None;
        while !self.deliveries.is_closed() {
            let mut was_up = false;
            let why = self.session(&now, &mut was_up).await;
            self.set_client(None);
            let Some(why) = why else { return };
            if was_up {
                backoff = delays();
                down_since = None;
            }
            let pause = backoff.next().unwrap_or(self.options.retry_longest);
            let at = now();
            let since = *down_since.get_or_insert(at);
            self.state.send_replace(LinkState::Down { since, why, retry_at: at + Span((pause.as_secs_f64() * 1e3).round() as i64) });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.deliveries.closed() => return,
            }
        }
    }

    fn set_client(&self, client: Option<AsyncClient>) {
        *self.client.lock().unwrap_or_else(|e| e.into_inner()) = client;
    }

    /// One connection, from connect to loss. `None` = the consumer is gone.
    async fn session(&self, now: &impl Fn() -> Timestamp, was_up: &mut bool) -> Option<LinkError> {
        let broker = self.options.broker.to_string();
        let (client, mut events) = AsyncClient::new(self.options.mqtt(), OUTBOX_MAX);
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(10).set_tcp_nodelay(true);
        events.set_network_options(network);
        let mut batch = Batch::default();
        loop {
            let event = match self.next(&mut events, &mut batch).await {
                Next::Event(event) => event,
                Next::Lost(e) => {
                    // What was read before the loss is still good; its receipt will find the connection gone.
                    self.hand_over(&mut batch).await;
                    return Some(LinkError::sort(&broker, &e, *was_up));
                }
                Next::ConsumerGone => {
                    let _ = client.try_disconnect();
                    // Two polls: one sends the disconnect, or fails because the connection is gone already.
                    let _ = tokio::time::timeout(Duration::from_secs(1), events.poll()).await;
                    return None;
                }
            };
            match event {
                Event::Incoming(Incoming::Publish(mut publish)) => {
                    let packet =
                        Packet { topic: std::mem::take(&mut publish.topic), payload: publish.payload.clone(), retain: publish.retain };
                    if publish.qos != QoS::AtMostOnce {
                        publish.payload.clear();
                        batch.acks.push((client.clone(), publish));
                    }
                    batch.packets.push(packet);
                }
                Event::Incoming(Incoming::ConnAck(_)) => {
                    // Also on a resumed session: it costs little and brings the retained metadata.
                    for filter in &self.options.filters {
                        if client.try_subscribe(filter.as_str(), self.options.qos()).is_err() {
                            return Some(LinkError::SubscriptionRefused { broker, filter: filter.clone() });
                        }
                    }
                    *was_up = true;
                    if self.options.filters.is_empty() {
                        self.up(&client, now());
                    }
                }
                Event::Incoming(Incoming::SubAck(ack)) => {
                    if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                        *was_up = false;
                        return Some(LinkError::SubscriptionRefused { broker, filter: self.options.filters.join(", ") });
                    }
                    self.up(&client, now());
                }
                _ => {}
            }
        }
    }

    fn up(&self, client: &AsyncClient, now: Timestamp) {
        self.set_client(Some(client.clone()));
        self.state.send_if_modified(|state| {
            let change = !matches!(state, LinkState::Up { .. });
            if change {
                *state = LinkState::Up { since: now };
            }
            change
        });
    }

    /// The next event; hands the batch over whenever nothing more is there to add.
    async fn next(&self, events: &mut EventLoop, batch: &mut Batch) -> Next {
        if batch.packets.len() >= BATCH_MAX && !self.hand_over(batch).await {
            return Next::ConsumerGone;
        }
        let mut poll = pin!(events.poll());
        if !batch.packets.is_empty() {
            // One look without waiting.
            let ready = poll_fn(|cx| {
                Poll::Ready(match poll.as_mut().poll(cx) {
                    Poll::Ready(event) => Some(event),
                    Poll::Pending => None,
                })
            });
            if let Some(event) = ready.await {
                return event.map_or_else(|e| Next::Lost(Box::new(e)), Next::Event);
            }
            tokio::select! {
                biased;
                permit = self.deliveries.reserve() => match permit {
                    Ok(permit) => permit.send(batch.take()),
                    Err(_) => return Next::ConsumerGone,
                },
                event = &mut poll => return event.map_or_else(|e| Next::Lost(Box::new(e)), Next::Event),
            }
        }
        tokio::select! {
            event = &mut poll => event.map_or_else(|e| Next::Lost(Box::new(e)), Next::Event),
            () = self.deliveries.closed() => Next::ConsumerGone,
        }
    }

    /// Hands the batch over, waiting for room. False where the consumer is gone.
    async fn hand_over(&self, batch: &mut Batch) -> bool {
        batch.packets.is_empty() || self.deliveries.send(batch.take()).await.is_ok()
    }
}

enum Next {
    Event(Event),
    Lost(Box<rumqttc::ConnectionError>),
    ConsumerGone,
}

#[derive(Default)]
struct Batch {
    packets: Vec<Packet>,
    acks: Vec<(AsyncClient, Publish)>,
}

impl Batch {
    fn take(&mut self) -> Delivery {
        Delivery { packets: std::mem::take(&mut self.packets), receipt: Receipt { acks: std::mem::take(&mut self.acks) } }
    }
}

/// Connects, subscribes and disconnects again: `check --config`. Uses a clean session under `client_id` + `-check`.
pub async fn check_connection(options: &LinkOptions, timeout: Duration) -> Result<(), LinkError> {
    let mut options = options.clone();
    options.client_id.push_str("-check");
    options.clean_session = true;
    let broker = options.broker.to_string();
    let (client, mut events) = AsyncClient::new(options.mqtt(), 16);
    let attempt = async {
        let mut connected = false;
        loop {
            match events.poll().await.map_err(|e| LinkError::sort(&broker, &e, connected))? {
                Event::Incoming(Incoming::ConnAck(_)) => {
                    connected = true;
                    if options.filters.is_empty() {
                        return Ok(());
                    }
                    let filters = options.filters.iter().map(|f| rumqttc::SubscribeFilter::new(f.clone(), options.qos()));
                    if client.try_subscribe_many(filters).is_err() {
                        return Err(LinkError::SubscriptionRefused { broker: broker.clone(), filter: options.filters.join(", ") });
                    }
                }
                Event::Incoming(Incoming::SubAck(ack)) => {
                    return if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                        Err(LinkError::SubscriptionRefused { broker: broker.clone(), filter: options.filters.join(", ") })
                    } else {
                        Ok(())
                    };
                }
                _ => {}
            }
        }
    };
    let result = tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(LinkError::Timeout { broker: broker.clone() }));
    if result.is_ok() && client.try_disconnect().is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(1), events.poll()).await;
    }
    result
}
