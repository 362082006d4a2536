//! Integration tests of `demo`.
