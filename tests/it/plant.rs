//! Integration tests of `plant`.
