//! Integration tests of `tidy`.
