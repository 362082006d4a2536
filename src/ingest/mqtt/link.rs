//! The loop that keeps one connection and hands over its packets in batches.
//!
//! How batches come about: what one read brought is handed over at once; while the consumer is busy the batch goes on
//! growing, so that a slow consumer sees few large batches and a fast one small ones. Under load a read waits a moment for
//! more ([`LinkOptions::gather`]), which saves most of the system calls and wake-ups. A full batch stops reading, and the
//! broker's flow control does the rest; pings go on meanwhile.
//! A lost connection is thrown away with its outbox, so that nothing of a dead session (an acknowledgement) reaches the next
//! one; the broker's session sends again what was not acknowledged.

use super::LinkError;
use super::frame::{self, Frame, KEEP_ALIVE_S};
use super::options::LinkOptions;
use super::outbox::{Outbox, Publisher, Receipt};
use super::stream::Stream;
use crate::ingest::Packet;
use crate::time::{Span, Timestamp};
use backon::{BackoffBuilder, ExponentialBuilder};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Messages, and their bytes, handed over at once at most.
pub const BATCH_MAX: usize = 4096;
const BATCH_BYTES: usize = 8 << 20;
/// A read that brought so many messages is worth waiting before the next.
const GATHER_FROM: usize = 32;

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
    /// Messages that were not kept, by reason (above the size limit, a topic that is no text).
    pub refused: Vec<(&'static str, u64)>,
}

/// One site's link. [`MqttLink::run`] is the task that `app` spawns.
pub struct MqttLink {
    options: LinkOptions,
    state: watch::Sender<LinkState>,
    publisher: Publisher,
    deliveries: mpsc::Sender<Delivery>,
}

/// What is gathered for the next delivery.
#[derive(Default)]
struct Batch {
    packets: Vec<Packet>,
    ids: Vec<u16>,
    bytes: usize,
    refused: Vec<(&'static str, u64)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.refused.is_empty()
    }
    fn is_full(&self) -> bool {
        self.packets.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES
    }
    fn take(&mut self, outbox: &Arc<Outbox>) -> Delivery {
        let b = std::mem::take(self);
        Delivery { packets: b.packets, receipt: Receipt::new(outbox, b.ids), refused: b.refused }
    }
}

impl MqttLink {
    /// `integration` is our identifier: the publisher sends nothing but what [`crate::ingest::publish::may_go_out`] says.
    /// `deliveries` should have room for 1 or 2: the batch grows while the consumer is busy.
    pub fn new(
        options: LinkOptions,
        integration: &str,
        deliveries: mpsc::Sender<Delivery>,
    ) -> (MqttLink, Publisher, watch::Receiver<LinkState>) {
        let (state, watcher) = watch::channel(LinkState::Connecting);
        let publisher = Publisher::new(options.version, integration);
        (MqttLink { options, state, publisher: publisher.clone(), deliveries }, publisher, watcher)
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
            let outbox = Arc::new(Outbox::default());
            let mut was_up = false;
            let why = self.session(&now, &outbox, &mut was_up).await;
            self.publisher.set(None);
            outbox.close();
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

    /// One connection, from connect to loss. `None` = the consumer is gone.
    async fn session(&self, now: &impl Fn() -> Timestamp, outbox: &Arc<Outbox>, was_up: &mut bool) -> Option<LinkError> {
        let broker = self.options.broker.to_string();
        let mut stream = tokio::select! {
            opened = Stream::open(&self.options) => match opened {
                Ok(stream) => stream,
                Err(e) => return Some(e),
            },
            () = self.deliveries.closed() => return None,
        };
        // Also on a resumed session: it costs little and brings the retained metadata.
        if !self.options.filters.is_empty() {
            let mut out = bytes::BytesMut::new();
            if let Err(why) = frame::subscribe(&self.options, &mut out) {
                return Some(LinkError::Refused { broker, why });
            }
            if let Err(e) = stream.write(&out).await {
                return Some(LinkError::of_stream(broker, &e));
            }
        } else {
            *was_up = true;
            self.up(outbox, now());
        }
        let mut batch = Batch::default();
        let lost = self.exchange(&mut stream, outbox, &mut batch, now, was_up).await;
        // What was read before the loss is still good, however it came; its receipt will find the connection gone.
        if lost.is_some() && !batch.is_empty() {
            let _ = self.deliveries.send(batch.take(outbox)).await;
        }
        match lost {
            Some(Lost::Connection(e)) => Some(LinkError::of_stream(broker, &e)),
            Some(Lost::Silence) => Some(LinkError::Timeout { broker }),
            Some(Lost::Ended(code)) => Some(LinkError::ended(broker, code)),
            Some(Lost::NotGranted) => Some(LinkError::SubscriptionRefused { broker, filter: self.options.filters.join(", ") }),
            None => {
                stream.close().await;
                None
            }
        }
    }

    /// Reads, hands over, writes, pings until the connection is lost. `None` = the consumer is gone.
    async fn exchange(
        &self,
        stream: &mut Stream,
        outbox: &Arc<Outbox>,
        batch: &mut Batch,
        now: &impl Fn() -> Timestamp,
        was_up: &mut bool,
    ) -> Option<Lost> {
        let beat = Duration::from_secs(u64::from(KEEP_ALIVE_S)) / 2;
        let mut pings = tokio::time::interval(beat);
        // The first tick is now.
        pings.tick().await;
        // Pings since anything was read.
        let mut unanswered = 0;
        let gather = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(gather);
        let mut gathering = false;
        loop {
            let reading = !batch.is_full();
            tokio::select! {
                biased;
                () = outbox.ready.notified() => {
                    let out = outbox.take();
                    if !out.is_empty() && let Err(e) = stream.write(&out).await {
                        return Some(Lost::Connection(e));
                    }
                }
                _ = pings.tick() => {
                    // While we do not read, the answers wait with the rest.
                    if reading && unanswered >= 3 {
                        return Some(Lost::Silence);
                    }
                    unanswered += u32::from(reading);
                    if let Err(e) = stream.write(&frame::PINGREQ).await {
                        return Some(Lost::Connection(e));
                    }
                }
                permit = self.deliveries.reserve(), if !batch.is_empty() => match permit {
                    Ok(permit) => permit.send(batch.take(outbox)),
                    Err(_) => return None,
                },
                () = &mut gather, if gathering => gathering = false,
                read = stream.read(), if reading && !gathering => {
                    if let Err(e) = read {
                        return Some(Lost::Connection(e));
                    }
                    unanswered = 0;
                    let before = batch.packets.len();
                    if let Err(lost) = self.take(stream, outbox, batch, now, was_up) {
                        return Some(lost);
                    }
                    if batch.packets.len() - before >= GATHER_FROM && !self.options.gather.is_zero() {
                        gather.set(tokio::time::sleep(self.options.gather));
                        gathering = true;
                    }
                }
                () = self.deliveries.closed(), if batch.is_empty() => return None,
            }
        }
    }

    /// Takes the whole frames out of the stream's buffer into the batch.
    fn take(
        &self,
        stream: &mut Stream,
        outbox: &Arc<Outbox>,
        batch: &mut Batch,
        now: &impl Fn() -> Timestamp,
        was_up: &mut bool,
    ) -> Result<(), Lost> {
        while let Some(frame) = stream.next().map_err(Lost::Connection)? {
            match frame {
                Frame::Publish(packet, id) => {
                    batch.bytes += packet.payload.len() + packet.topic.len();
                    batch.packets.push(packet);
                    batch.ids.extend(id);
                }
                Frame::Refused(id, why) => {
                    match batch.refused.iter_mut().find(|(w, _)| *w == why) {
                        Some((_, n)) => *n += 1,
                        None => batch.refused.push((why, 1)),
                    }
                    batch.ids.extend(id);
                }
                Frame::SubAck(true) => {
                    *was_up = true;
                    self.up(outbox, now());
                }
                Frame::SubAck(false) => return Err(Lost::NotGranted),
                Frame::Disconnect(code) => return Err(Lost::Ended(code)),
                Frame::Pong | Frame::ConnAck(_) | Frame::Other => {}
            }
        }
        Ok(())
    }

    fn up(&self, outbox: &Arc<Outbox>, now: Timestamp) {
        self.publisher.set(Some(Arc::clone(outbox)));
        self.state.send_if_modified(|state| {
            let change = !matches!(state, LinkState::Up { .. });
            if change {
                *state = LinkState::Up { since: now };
            }
            change
        });
    }
}

enum Lost {
    Connection(std::io::Error),
    Silence,
    Ended(u8),
    NotGranted,
}

/// Connects, subscribes and disconnects again: `check --config`. Uses a clean session under `client_id` + `-check`.
pub async fn check_connection(options: &LinkOptions, timeout: Duration) -> Result<(), LinkError> {
    let mut options = options.clone();
    options.client_id.push_str("-check");
    options.clean_session = true;
    let broker = options.broker.to_string();
    let attempt = async {
        let mut stream = Stream::open(&options).await?;
        if !options.filters.is_empty() {
            let mut out = bytes::BytesMut::new();
            frame::subscribe(&options, &mut out).map_err(|why| LinkError::Refused { broker: broker.clone(), why })?;
            stream.write(&out).await.map_err(|e| LinkError::of_stream(broker.clone(), &e))?;
            loop {
                match stream.frame().await.map_err(|e| LinkError::of_stream(broker.clone(), &e))? {
                    Frame::SubAck(true) => break,
                    Frame::SubAck(false) => {
                        return Err(LinkError::SubscriptionRefused { broker: broker.clone(), filter: options.filters.join(", ") });
                    }
                    Frame::Disconnect(code) => return Err(LinkError::ended(broker.clone(), code)),
                    _ => {}
                }
            }
        }
        stream.close().await;
        Ok(())
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(LinkError::Timeout { broker: broker.clone() }))
}
