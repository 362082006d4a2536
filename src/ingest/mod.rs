//! MQTT bytes to readings.
