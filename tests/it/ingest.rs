//! Integration tests of `ingest`.
