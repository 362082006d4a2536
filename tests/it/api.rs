//! Integration tests of `api`.
