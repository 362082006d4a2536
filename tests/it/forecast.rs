//! Integration tests of `forecast`.
