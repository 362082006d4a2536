//! Integration tests of `serve`.
