//! MQTT packets as bytes: what arrives is read here, what leaves is written by rumqttc's codec.
//!
//! Only PUBLISH is hot: its topic and payload are taken out of the read buffer without copying the payload. All reading is
//! total: any bytes give a frame, "more is needed", or a static reason.
//! A message above [`PACKET_MAX`] is not kept: its bytes are passed over as they come, it is counted, and acknowledged, so
//! that the broker does not send it for ever.

use super::options::{LinkOptions, MqttVersion, Will};
use crate::ingest::Packet;
use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

/// Largest MQTT packet that is kept, bytes.
pub const PACKET_MAX: usize = 1024 * 1024;
/// Longest topic that is kept, bytes: topics become names of points, which stay in memory.
pub const TOPIC_MAX: usize = 4096;
/// Seconds without traffic after which the broker may forget the connection.
pub const KEEP_ALIVE_S: u16 = 10;

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message, with its packet identifier where it wants an acknowledgement.
    Publish(Packet, Option<u16>),
    /// A message that was not kept, and why.
    Refused(Option<u16>, &'static str),
    /// Return code, 0 = accepted.
    ConnAck(u8),
    /// True where every subscription was granted.
    SubAck(bool),
    Pong,
    /// The broker ends the connection; its reason code (MQTT 5).
    Disconnect(u8),
    /// Anything that asks nothing of us.
    Other,
}

/// Cuts the stream into frames.
pub struct Frames {
    version: MqttVersion,
    /// Bytes of a refused message still to come.
    skip: usize,
}

/// A variable byte integer at the front: value and length; `Ok(None)` = more is needed.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut value = 0;
    for (i, b) in bytes.iter().take(4).enumerate() {
        value |= usize::from(b & 0x7f) << (7 * i);
        if b & 0x80 == 0 {
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= 4 { Err("a length of more than 4 bytes") } else { Ok(None) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

impl Frames {
    pub fn new(version: MqttVersion) -> Frames {
        Frames { version, skip: 0 }
    }

    /// The next frame of the buffer, which loses its bytes; `Ok(None)` = more is needed.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, &'static str> {
        if self.skip > 0 {
            let n = self.skip.min(buffer.len());
            let _ = buffer.split_to(n);
            self.skip -= n;
        }
        let Some(first) = buffer.first().copied() else { return Ok(None) };
        let Some((length, length_bytes)) = varint(&buffer[1..])? else { return Ok(None) };
        let (head, whole) = (1 + length_bytes, 1 + length_bytes + length);
        if whole > PACKET_MAX {
            return self.oversize(first, head, whole, buffer);
        }
        if buffer.len() < whole {
            return Ok(None);
        }
        if first >> 4 == 3 {
            let frame = buffer.split_to(whole).freeze();
            return self.publish(first, &frame, head).map(Some);
        }
        let frame = buffer.split_to(whole);
        let body = &frame[head..];
        Ok(Some(match first >> 4 {
            2 => Frame::ConnAck(*body.get(1).ok_or("a CONNACK without a code")?),
            9 => Frame::SubAck(self.granted(body)?),
            13 => Frame::Pong,
            14 => Frame::Disconnect(body.first().copied().unwrap_or(0)),
            4..=7 | 11 | 15 => Frame::Other,
            _ => return Err("a packet that only clients send"),
        }))
    }

    /// How long the properties at `at` are, their own length included; 0 in MQTT 3.1.1.
    fn properties(&self, frame: &[u8], at: usize) -> Result<usize, &'static str> {
        if self.version == MqttVersion::V311 {
            return Ok(0);
        }
        let (length, bytes) = varint(frame.get(at..).unwrap_or_default())?.ok_or("properties cut short")?;
        Ok(length + bytes)
    }

    fn publish(&self, first: u8, frame: &Bytes, head: usize) -> Result<Frame, &'static str> {
        let topic_end = head + 2 + usize::from(u16_at(frame, head).ok_or("a PUBLISH without a topic")?);
        let topic = frame.get(head + 2..topic_end).ok_or("a topic cut short")?;
        let (id, after) = match first >> 1 & 3 {
            0 => (None, topic_end),
            1 => (Some(u16_at(frame, topic_end).ok_or("a PUBLISH without an identifier")?), topic_end + 2),
            _ => return Err("a PUBLISH at a quality of service that was not asked for"),
        };
        let payload = after + self.properties(frame, after)?;
        if payload > frame.len() {
            return Err("properties cut short");
        }
        if topic.len() > TOPIC_MAX {
            return Ok(Frame::Refused(id, "topic above 4 KiB"));
        }
        let Ok(topic) = std::str::from_utf8(topic) else { return Ok(Frame::Refused(id, "topic not UTF-8")) };
        let packet = Packet { topic: topic.to_owned(), payload: frame.slice(payload..), retain: first & 1 == 1 };
        Ok(Frame::Publish(packet, id))
    }

    /// Passes over a packet that is too large, once its identifier is known.
    fn oversize(&mut self, first: u8, head: usize, whole: usize, buffer: &mut BytesMut) -> Result<Option<Frame>, &'static str> {
        if first >> 4 != 3 {
            return Err("a packet that is too large and no message");
        }
        let Some(topic) = u16_at(buffer, head) else { return Ok(None) };
        let id_at = head + 2 + usize::from(topic);
        let id = match first >> 1 & 3 {
            0 => None,
            _ => match u16_at(buffer, id_at) {
                Some(id) => Some(id),
                None => return Ok(None),
            },
        };
        let here = whole.min(buffer.len());
        let _ = buffer.split_to(here);
        self.skip = whole - here;
        Ok(Some(Frame::Refused(id, "message above 1 MiB")))
    }

    fn granted(&self, body: &[u8]) -> Result<bool, &'static str> {
        let codes = body.get(2 + self.properties(body, 2)?..).unwrap_or_default();
        Ok(!codes.is_empty() && codes.iter().all(|c| *c < 0x80))
    }
}

/// CONNECT, with a session that outlives the connection unless a clean one is asked for.
pub fn connect(o: &LinkOptions, out: &mut BytesMut) -> Result<(), String> {
    let login = o.broker.user.as_deref().map(|u| (u, o.broker.password.as_deref().unwrap_or_default()));
    match o.version {
        MqttVersion::V311 => {
            let mut c = v4::Connect::new(o.client_id.as_str());
            (c.keep_alive, c.clean_session) = (KEEP_ALIVE_S, o.clean_session);
            if let Some((user, password)) = login {
                c.set_login(user, password);
            }
            let will = |w: &Will| v4::LastWill::new(&w.topic, w.payload.clone(), rumqttc::QoS::AtLeastOnce, true);
            c.last_will = o.will.as_ref().map(will);
            v4::Packet::Connect(c).write(out, PACKET_MAX).map_err(|e| e.to_string())?;
        }
        MqttVersion::V5 => {
            let mut properties = v5::ConnectProperties::new();
            properties.session_expiry_interval = Some(if o.clean_session { 0 } else { u32::MAX });
            let c = v5::Connect {
                keep_alive: KEEP_ALIVE_S,
                client_id: o.client_id.clone(),
                clean_start: o.clean_session,
                properties: Some(properties),
            };
            let login = login.map(|(user, password)| v5::Login::new(user, password));
            let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
            let will = o.will.as_ref().map(|w| v5::LastWill::new(w.topic.as_str(), w.payload.clone(), qos, true, None));
            v5::Packet::Connect(c, will, login).write(out, None).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// SUBSCRIBE to all filters of a link at once.
pub fn subscribe(o: &LinkOptions, out: &mut BytesMut) -> Result<(), String> {
    let filters = o.filters.iter().map(|f| match &o.shared_group {
        Some(group) if !f.starts_with("$share/") => format!("$share/{group}/{f}"),
        _ => f.clone(),
    });
    match o.version {
        MqttVersion::V311 => {
            let qos = if o.at_least_once { rumqttc::QoS::AtLeastOnce } else { rumqttc::QoS::AtMostOnce };
            let mut s = v4::Subscribe::new_many(filters.map(|f| v4::SubscribeFilter::new(f, qos)));
            s.pkid = 1;
            v4::Packet::Subscribe(s).write(out, PACKET_MAX).map_err(|e| e.to_string())?;
        }
        MqttVersion::V5 => {
            use rumqttc::v5::mqttbytes::QoS;
            let qos = if o.at_least_once { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let filter = |f| {
                let mut filter = v5::Filter::new(f, qos);
                // A retained message that a bridge hands on says still that it is retained.
                filter.preserve_retain = true;
                filter
            };
            let mut s = v5::Subscribe::new_many(filters.map(filter), None);
            s.pkid = 1;
            v5::Packet::Subscribe(s).write(out, None).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// PUBLISH at QoS 0. False where topic or payload are too long for a packet.
pub fn publish(version: MqttVersion, topic: &str, payload: &[u8], retain: bool, out: &mut BytesMut) -> bool {
    let properties = usize::from(version == MqttVersion::V5);
    let mut length = 2 + topic.len() + properties + payload.len();
    let Ok(topic_length) = u16::try_from(topic.len()) else { return false };
    if length > PACKET_MAX {
        return false;
    }
    out.put_u8(0x30 | u8::from(retain));
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
    out.put_u16(topic_length);
    out.put_slice(topic.as_bytes());
    out.put_bytes(0, properties);
    out.put_slice(payload);
    true
}

/// PUBACK: the same bytes in both versions.
pub fn puback(id: u16, out: &mut BytesMut) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(id);
}

pub const PINGREQ: [u8; 2] = [0xc0, 0];
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn all(version: MqttVersion, bytes: &[u8], step: usize) -> Result<Vec<Frame>, &'static str> {
        let (mut frames, mut buffer, mut out) = (Frames::new(version), BytesMut::new(), Vec::new());
        for part in bytes.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(f) = frames.next(&mut buffer)? {
                out.push(f);
            }
        }
        Ok(out)
    }

    fn message(topic: &str, payload: &[u8]) -> Packet {
        Packet { topic: topic.into(), payload: Bytes::copy_from_slice(payload), retain: false }
    }

    #[test]
    fn messages_come_out_however_the_stream_is_cut() {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            let mut wire = BytesMut::new();
            assert!(publish(version, "a/b", b"1", false, &mut wire));
            wire.extend_from_slice(&[0xd0, 0]);
            let p: &[u8] = if version == MqttVersion::V5 {
                &[0x32, 9, 0, 1, b'c', 0, 7, 1, 2, b'x', b'y']
            } else {
                &[0x32, 7, 0, 1, b'c', 0, 7, b'x', b'y']
            };
            wire.extend_from_slice(if version == MqttVersion::V5 { &[0x32, 9, 0, 1, b'c', 0, 7, 1, 1, b'x', b'y'] } else { p });
            let expected = [Frame::Publish(message("a/b", b"1"), None), Frame::Pong, Frame::Publish(message("c", b"xy"), Some(7))];
            for step in [1, 3, wire.len()] {
                assert_eq!(all(version, &wire, step).unwrap(), expected, "{version:?}, {step}");
            }
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_passed_over_and_can_be_acknowledged() {
        let mut wire = vec![0x32, 0x80, 0x80, 0x80, 0x01, 0, 1, b'x', 0, 9];
        wire.resize(5 + (1 << 21), 0);
        let mut next = BytesMut::new();
        publish(MqttVersion::V311, "a", b"1", false, &mut next);
        wire.extend_from_slice(&next);
        let expected = [Frame::Refused(Some(9), "message above 1 MiB"), Frame::Publish(message("a", b"1"), None)];
        assert_eq!(all(MqttVersion::V311, &wire, 70_000).unwrap(), expected);
    }

    #[test]
    fn a_topic_that_is_too_long_is_refused_and_the_next_message_is_not() {
        let mut wire = BytesMut::new();
        assert!(publish(MqttVersion::V311, &"x".repeat(TOPIC_MAX + 1), b"1", false, &mut wire));
        assert!(publish(MqttVersion::V311, "a", b"1", false, &mut wire));
        let expected = [Frame::Refused(None, "topic above 4 KiB"), Frame::Publish(message("a", b"1"), None)];
        assert_eq!(all(MqttVersion::V311, &wire, 1000).unwrap(), expected);
    }

    #[test]
    fn any_bytes_end_in_a_frame_or_a_reason() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(3);
        for _ in 0..50_000 {
            let noise: Vec<u8> = (0..rng.random_range(0..60)).map(|_| if rng.random_bool(0.5) { rng.random() } else { 0x32 }).collect();
            let _ = (all(MqttVersion::V311, &noise, 7), all(MqttVersion::V5, &noise, 60));
        }
        assert_eq!(
            all(MqttVersion::V311, &[0x34, 5, 0, 1, b'c', 0, 7], 9),
            Err("a PUBLISH at a quality of service that was not asked for")
        );
        assert_eq!(all(MqttVersion::V5, &[0x90, 4, 0, 1, 0, 0x87], 9), Ok(vec![Frame::SubAck(false)]));
        assert_eq!(all(MqttVersion::V311, &[0x90, 3, 0, 1, 1], 9), Ok(vec![Frame::SubAck(true)]));
    }
}
