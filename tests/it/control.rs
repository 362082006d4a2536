//! Integration tests of `control`.
