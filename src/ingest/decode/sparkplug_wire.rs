//! Sparkplug B's messages as protobuf: the part of Eclipse Tahu's `sparkplug_b.proto` that carries readings.
//!
//! Absent: data sets, templates and metadata are read over; a metric that is one of them has no value here.

/// A message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// Epoch ms.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub seq: Option<u64>,
    /// What the body is, where the message is not of metrics.
    #[prost(string, optional, tag = "4")]
    pub uuid: Option<String>,
}

/// One metric.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub is_historical: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub properties: Option<Properties>,
    #[prost(oneof = "Sent", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub value: Option<Sent>,
}

/// A metric's value as it travels.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Sent {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    Text(String),
    #[prost(bytes = "vec", tag = "16")]
    Bytes(Vec<u8>),
    #[prost(bytes = "vec", tag = "17")]
    DataSet(Vec<u8>),
    #[prost(bytes = "vec", tag = "18")]
    Template(Vec<u8>),
}

/// A metric's properties.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Properties {
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<Property>,
}

/// One property: only whole numbers are of use here (`Quality`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Property {
    #[prost(uint32, optional, tag = "3")]
    pub int: Option<u32>,
}

/// Datatypes (Sparkplug 3.0 §6.4.16).
pub mod datatype {
    pub const INT8: u32 = 1;
    pub const INT16: u32 = 2;
    pub const INT32: u32 = 3;
    pub const INT64: u32 = 4;
    pub const UINT8: u32 = 5;
    pub const UINT64: u32 = 8;
    pub const FLOAT: u32 = 9;
    pub const DOUBLE: u32 = 10;
    pub const BOOLEAN: u32 = 11;
    pub const STRING: u32 = 12;
    pub const DATE_TIME: u32 = 13;
    pub const TEXT: u32 = 14;
}
