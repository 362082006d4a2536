//! HTTP API, metrics and the page.
